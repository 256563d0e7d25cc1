"""The renderer as a TensorFlow graph, for a GPU."""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from btk_generative.errors import ConfigError
from btk_generative.render import loops
from btk_generative.render.renderer import SurveyRenderer

if TYPE_CHECKING:
    import galsim

CHUNK = 8
"""Galaxies that are drawn at once. Chunks are filled up to this size."""

_log = logging.getLogger(__name__)


def make_renderer(
    psfs: "Sequence[galsim.GSObject]", pixel_scale: float, stamp_size: int, device: str = "auto"
) -> SurveyRenderer:
    """Returns a renderer for a device.

    Args:
        psfs: See `SurveyRenderer`.
        pixel_scale: See `SurveyRenderer`.
        stamp_size: See `SurveyRenderer`.
        device: "cpu" for the compiled loops; "gpu" or "auto" for TensorFlow where it finds a GPU,
            else the compiled loops, "gpu" with a line in the log.

    Raises:
        ConfigError: If ``device`` is something else.
    """
    if device not in ("auto", "cpu", "gpu"):
        raise ConfigError(f"device must be 'auto', 'cpu' or 'gpu', not {device!r}")
    if device != "cpu":
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return GraphRenderer(psfs, pixel_scale, stamp_size)
        if device == "gpu":
            _log.warning("TensorFlow finds no GPU: galaxies are drawn on the CPU")
    return SurveyRenderer(psfs, pixel_scale, stamp_size)


class GraphRenderer(SurveyRenderer):
    """Draws what `SurveyRenderer` draws, with TensorFlow, within 1e-5 of the peak.

    On a GPU the sums over a profile's pixels have no fixed order, so that images agree between
    runs to float32 accuracy, not to the bit.
    """

    def __init__(
        self, psfs: "Sequence[galsim.GSObject]", pixel_scale: float, stamp_size: int
    ) -> None:
        """Prepares the transfer functions; see `SurveyRenderer`."""
        super().__init__(psfs, pixel_scale, stamp_size)
        self._graphs: dict[int, Callable] = {}

    def _part(self) -> list:
        return []

    def _draw(
        self,
        lie: tuple,
        sizes: np.ndarray,
        flux: Any,
        point: Any,
        out: np.ndarray,
        rows: np.ndarray,
    ) -> None:
        images, centre, slope, _ = lie
        for size in np.unique(sizes[:, 0]):
            group = np.flatnonzero(sizes[:, 0] == size)
            for start in range(0, len(group), CHUNK):
                part = group[start : start + CHUNK]
                filled = np.append(part, [part[0]] * (CHUNK - len(part)))
                drawn = self._graph(int(size))(
                    images[filled],
                    centre[filled],
                    slope[filled],
                    flux[filled].astype(np.complex64),
                    point[filled].astype(np.complex64),
                )
                for i, image in zip(part, drawn.numpy(), strict=False):
                    out[rows[i]] = image

    def _graph(self, size: int) -> Callable:
        with self._lock:
            if size not in self._graphs:
                import tensorflow as tf

                render = functools.partial(self._render, self._make_box("whole", size))
                self._graphs[size] = tf.function(render, reduce_retracing=True)
            return self._graphs[size]

    def _render(
        self, box: loops.Box, images: Any, centre: Any, slope: Any, flux: Any, point: Any
    ) -> Any:
        """Draws a chunk: profiles ``[n, S, S]`` to images ``[n, bands, N, N]``."""
        import tensorflow as tf

        half, stamp = len(box.kernel) // 2, self.stamp_size
        spectrum = self._spectra(box, images, centre, slope)
        turns = np.arange(-half, half + 1) / box.size
        waves = tf.cast(-2 * np.pi * centre[..., None] * turns, tf.float32)
        waves = tf.complex(tf.cos(waves), tf.sin(waves)) * box.kernel.astype(np.complex64)
        points = waves[:, 1, :, None] * waves[:, 0, None, half:]
        bands = (
            flux[:, :, None, None] * spectrum[:, None] + point[:, :, None, None] * points[:, None]
        ) * box.transfer
        # Drawing on a finer grid and keeping every n-th pixel folds the frequencies beyond Nyquist.
        finer = -(-(2 * half + 2) // box.size)
        fine = finer * box.size
        rows = tf.concat(
            [
                bands[..., half:, :],
                tf.zeros_like(bands[..., :1, :]) * tf.ones([fine - 2 * half - 1, 1], tf.complex64),
                bands[..., :half, :],
            ],
            axis=-2,
        )
        drawn = tf.signal.irfft2d(rows, fft_length=[fine, fine]) * finer**2
        return drawn[..., : stamp * finer : finer, : stamp * finer : finer]

    def _spectra(self, box: loops.Box, images: Any, centre: Any, slope: Any) -> Any:
        """Returns the transforms of a chunk of profiles, ``[n, 2 K + 1, K + 1]``."""
        import tensorflow as tf

        n, side, half = images.shape[0], images.shape[1], len(box.kernel) // 2
        step, grid, width = box.grid / box.size, box.grid, loops.WIDTH
        kernel, interpolant = self._tables.spreading, self._tables.interpolant
        offset = np.arange(side) - (side - 1) / 2
        j, i = np.meshgrid(offset, offset, indexing="ij")
        x = centre[:, 0, None, None] + slope[:, 0, None, None] * i + slope[:, 1, None, None] * j
        y = centre[:, 1, None, None] + slope[:, 2, None, None] * i + slope[:, 3, None, None] * j
        reach = box.size - self.stamp_size / 2
        middle = self.stamp_size / 2
        near = (tf.abs(x - middle) <= reach) & (tf.abs(y - middle) <= reach)
        light = tf.where(near, images, tf.zeros_like(images))
        places, weights = [], []
        for position in (y * step, x * step):
            low = tf.floor(position)
            places.append(
                (tf.cast(low, tf.int32)[..., None] + np.arange(width) - width // 2 + 1) % grid
            )
            sample = (position - low) * (len(kernel) - 1)
            index = tf.cast(sample, tf.int32)
            rest = tf.cast(sample - tf.floor(sample), tf.float32)[..., None]
            first, second = tf.gather(kernel, index), tf.gather(kernel, index + 1)
            weights.append(first + rest * (second - first))
        spread = light[..., None, None] * weights[0][..., :, None] * weights[1][..., None, :]
        index = places[0][..., :, None] * grid + places[1][..., None, :]
        index += np.arange(n, dtype=np.int32).reshape(n, 1, 1, 1, 1) * grid**2
        spread = tf.math.unsorted_segment_sum(
            tf.reshape(spread, [-1]), tf.reshape(index, [-1]), n * grid**2
        )
        full = tf.signal.rfft2d(tf.reshape(spread, [n, grid, grid]))
        full = tf.concat([full[:, grid - half :], full[:, : half + 1]], axis=1)[..., : half + 1]
        ky, kx = np.arange(-half, half + 1)[:, None] / box.size, np.arange(half + 1) / box.size
        for a, b in ((0, 2), (1, 3)):
            cycles = tf.abs(slope[:, a, None, None] * kx + slope[:, b, None, None] * ky)
            sample = tf.minimum(cycles * loops.INTERPOLANT_STEPS, len(interpolant) - 2.0)
            index = tf.cast(sample, tf.int32)
            rest = tf.cast(sample - tf.floor(sample), tf.float32)
            first = tf.gather(interpolant, index)
            second = tf.gather(interpolant, index + 1)
            full *= tf.cast(first + rest * (second - first), tf.complex64)
        return full
