"""A fit of scarlet2's model with fixed shapes, compiled once for all blends.

The model is scarlet2's: a scene of sources, each a sum of components, each the outer product of a
spectrum and of a non-negative image on the pixels of the model frame (Melchior et al. 2018, A&C 24,
129), rendered by scarlet2's `ConvolutionRenderer`. What differs from `scarlet2.Scene.fit` is how
the likelihood is maximised. The images are updated by accelerated projected gradients (FISTA, Beck
& Teboulle 2009, with the restart of O'Donoghue & Candes 2015), the spectra by linear least
squares. All arrays have the same shape in every blend, absent sources being masked, so that JAX
compiles one loop instead of one for each blend.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

_SMOOTHING = 1.5  # pixels, of the image in which a source's footprint is found
_CORE = 2  # radius in pixels that always belongs to a source's footprint
_MARGIN = 2  # pixels by which a footprint is grown
_SPECTRA_EVERY = 20  # steps between two solutions for the spectra
_RIDGE = 1e-3  # of the diagonal: holds spectra that the data do not tell apart where they are
_SPLIT = 0.25  # of the peak: brightness where a second component starts


class Settings(NamedTuple):
    """What is compiled into the fit."""

    box: int
    """Side of a component's image in pixels, odd."""
    components: int
    monotonic: bool
    max_iter: int
    e_rel: float
    thresh: float
    min_snr: float


class Fit(NamedTuple):
    """A fitted scene; K sources, C components, B bands, M the box, N the stamp."""

    images: jax.Array
    """Model of each source as observed, ``[K, B, N, N]``."""
    spectra: jax.Array
    """``[K, C, B]``."""
    morphologies: jax.Array
    """``[K, C, M, M]``, zero outside the footprint."""
    iterations: jax.Array


@eqx.filter_jit
def fit(
    settings: Settings,
    renderer: Callable,
    data: np.ndarray | jax.Array,
    weights: np.ndarray | jax.Array,
    centers: np.ndarray | jax.Array,
    present: np.ndarray | jax.Array,
) -> Fit:
    """Fits a blend.

    Args:
        settings: Static settings.
        renderer: scarlet2's renderer from the model frame to the observation.
        data: Image, ``[B, N, N]``, finite.
        weights: Inverse variances, ``[B, N, N]``, zero where a pixel is to be ignored.
        centers: Central pixel (row, column) of each source, int, ``[K, 2]``.
        present: Which sources exist, ``[K]``.
    """
    n_bands, size, _ = data.shape
    half, count = settings.box // 2, settings.components
    owner = np.repeat(np.arange(len(centers)), count)  # source of each component
    project_rings = _monotone(half)

    # In units of each band's noise, where light in all bands weighs the same.
    band_weight = jnp.max(weights, axis=(1, 2))
    noise = jnp.where(band_weight > 0, 1 / jnp.sqrt(jnp.where(band_weight > 0, band_weight, 1)), 0)
    relative = weights * (noise**2)[:, None, None]
    data = data * jnp.where(noise > 0, 1 / jnp.where(noise > 0, noise, 1), 0)[:, None, None]

    def cut(image, source):
        """The box of a source, out of ``[..., N, N]``."""
        padding = [(0, 0)] * (image.ndim - 2) + [(half, half)] * 2
        start = (0,) * (image.ndim - 2) + (centers[source, 0], centers[source, 1])
        shape = image.shape[:-2] + (settings.box,) * 2
        return jax.lax.dynamic_slice(jnp.pad(image, padding), start, shape)

    def place(morphologies):
        """Component images ``[K C, M, M]`` on the model frame, ``[K C, N, N]``."""
        wide = jnp.zeros((size + 2 * half,) * 2)
        inner = slice(half, half + size)
        return jnp.stack(
            [
                jax.lax.dynamic_update_slice(wide, image, tuple(centers[k]))[inner, inner]
                for image, k in zip(morphologies, owner, strict=True)
            ]
        )

    def loss(morphologies, spectra):
        scene = jnp.einsum("kb,kyx->byx", spectra, place(morphologies))
        return jnp.sum(relative * (renderer(scene) - data) ** 2) / 2

    def observed(morphologies):
        """Each component as every band sees it, for a flat spectrum: ``[K C, B, N, N]``."""
        flat = jnp.broadcast_to(place(morphologies)[:, None], (len(owner), n_bands, size, size))
        return jnp.stack([renderer(cube) for cube in flat])

    def solve_spectra(spectra, morphologies):
        """Best spectra for these images; each spectrum keeps unit length, the image its flux."""
        seen = observed(morphologies)
        matrix = jnp.einsum("kbyx,jbyx,byx->bkj", seen, seen, relative)
        vector = jnp.einsum("kbyx,byx->bk", seen, relative * data)
        diagonal = jnp.einsum("bkk->bk", matrix)
        ridge = jnp.where(diagonal > 0, _RIDGE * diagonal, 1.0)
        matrix += ridge[:, :, None] * jnp.eye(len(owner))
        vector += ridge * spectra.T  # held there, not drawn to zero
        solved = jnp.maximum(jnp.linalg.solve(matrix, vector[..., None])[..., 0].T, 0)
        length = jnp.linalg.norm(solved, axis=1)
        lit = length > 0
        spectra = jnp.where(lit[:, None], solved / jnp.where(lit, length, 1)[:, None], spectra)
        return spectra, morphologies * jnp.where(lit, length, 1)[:, None, None]

    def initialise():
        peak = jnp.stack(
            [cut(data, k)[:, half - 1 : half + 2, half - 1 : half + 2] for k in range(len(centers))]
        ).mean((2, 3))
        colour = jnp.maximum(peak, 0.01 * jnp.abs(peak).max(1, keepdims=True)) + 1e-6
        colour /= jnp.linalg.norm(colour, axis=1, keepdims=True)
        combined = jnp.stack(
            [
                jnp.einsum("b,byx->yx", colour[k], cut(relative * data, k))
                for k in range(len(centers))
            ]
        )
        y, x = jnp.mgrid[-half : half + 1, -half : half + 1]
        core = y**2 + x**2 <= _CORE**2
        smooth = project_rings(_symmetric(_smoothed(combined)))
        inside = jnp.stack([cut(jnp.ones((size, size)), k) > 0 for k in range(len(centers))])
        footprint = (_grown(smooth > settings.thresh) | core) & inside & present[:, None, None]
        image = project_rings(_symmetric(combined))
        image = jnp.where(core, jnp.maximum(image, 0.05 * image[:, half, half, None, None]), image)
        image = jnp.where(footprint, image, 0)
        if count == 1:
            return colour, image, footprint
        outer = jnp.minimum(image, _SPLIT * image[:, half, half, None, None])
        bright = jnp.sqrt(jnp.sum(image**2, axis=(1, 2))) > settings.min_snr
        second = footprint & bright[:, None, None]
        inner = jnp.where(second, image - outer, 0)
        outer = jnp.where(bright[:, None, None], outer, image)
        images = jnp.stack([outer, inner], axis=1).reshape(-1, settings.box, settings.box)
        footprints = jnp.stack([footprint, second], axis=1).reshape(images.shape)
        return jnp.repeat(colour, 2, axis=0), images, footprints

    def project(morphologies, footprint):
        morphologies = jnp.where(footprint, jnp.maximum(morphologies, 0), 0)
        return project_rings(morphologies) if settings.monotonic else morphologies

    def step(state):
        iteration, spectra, current, ahead, momentum, _ = state
        # An upper limit of the curvature: all components that look alike lie on one pixel.
        curvature = jnp.sum(jnp.abs(spectra @ spectra.T) * exists[None], axis=1)
        gradient = jax.grad(loss)(ahead, spectra)
        new = project(ahead - gradient / curvature[:, None, None], footprint)
        restart = jnp.sum((ahead - new) * (new - current)) > 0
        grown = jnp.where(restart, 1.0, (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2)
        push = jnp.where(restart, 0.0, (momentum - 1) / grown)
        change = jnp.linalg.norm(new - current) / (jnp.linalg.norm(new) + 1e-12)

        def with_spectra(_):
            better, scaled = solve_spectra(spectra, new)
            return better, scaled, scaled, 1.0

        spectra, new, ahead, momentum = jax.lax.cond(
            (iteration + 1) % _SPECTRA_EVERY == 0,
            with_spectra,
            lambda _: (spectra, new, new + push * (new - current), grown),
            None,
        )
        return iteration + 1, spectra, new, ahead, momentum, change

    def unfinished(state):
        iteration, change = state[0], state[-1]
        return (iteration < settings.max_iter) & (
            (change > settings.e_rel) | (iteration < _SPECTRA_EVERY)
        )

    spectra, morphologies, footprint = initialise()
    exists = jnp.any(footprint, axis=(1, 2))
    spectra, morphologies = solve_spectra(spectra, morphologies)
    state = (jnp.asarray(0), spectra, morphologies, morphologies, 1.0, jnp.inf)
    iterations, spectra, morphologies = jax.lax.while_loop(unfinished, step, state)[:3]
    spectra, morphologies = solve_spectra(spectra, morphologies)

    spectra = spectra * noise
    images = observed(morphologies) * spectra[:, :, None, None]
    shape = (len(centers), count)
    return Fit(
        images.reshape(*shape, *images.shape[1:]).sum(1),
        spectra.reshape(*shape, n_bands),
        morphologies.reshape(*shape, settings.box, settings.box),
        iterations,
    )


def _symmetric(images):
    """The smaller of each pixel and its opposite, not negative, with something in the middle."""
    half = images.shape[-1] // 2
    images = jnp.maximum(jnp.minimum(images, images[:, ::-1, ::-1]), 0)
    return images.at[:, half, half].max(0.1)


def _smoothed(images):
    """Gaussian smoothing that leaves the variance of white noise as it is."""
    x = jnp.arange(-6, 7)
    kernel = jnp.exp(-0.5 * (x / _SMOOTHING) ** 2)
    kernel = kernel[:, None] * kernel[None]
    kernel /= jnp.sqrt(jnp.sum(kernel**2))
    return jax.vmap(lambda image: jax.scipy.signal.convolve2d(image, kernel, mode="same"))(images)


def _grown(mask):
    window = (1,) + (2 * _MARGIN + 1,) * 2
    ones = mask.astype(jnp.float32)
    return jax.lax.reduce_window(ones, 0.0, jax.lax.max, window, (1, 1, 1), "SAME") > 0


def _monotone(half: int) -> Callable[[jax.Array], jax.Array]:
    """Returns a function that makes images ``[n, 2 half + 1, 2 half + 1]`` fall off outwards.

    Going out ring by ring (squares around the central pixel), no pixel may be brighter than the
    ring inside of it, smoothed by (1, 2, 1) / 4 and interpolated towards the centre. The four
    triangles between the diagonals are worked on together.
    """
    across = np.arange(-half, half + 1)
    ring = np.arange(1, half + 1)[:, None]
    in_ring = np.abs(across) <= ring
    inward = np.where(in_ring, across * (ring - 1) / ring, 0)  # position across in the inner ring
    left = np.clip(np.floor(inward).astype(int), -half, half - 1)
    weight = (inward - left).astype(np.float32)
    taps = [
        jnp.asarray(np.clip(left + offset, 1 - ring, ring - 1) + half) for offset in (-1, 0, 1, 2)
    ]
    weights = [
        jnp.asarray(w / 4) for w in (1 - weight, 2 - weight, 1 + weight, weight)
    ]  # interpolation times smoothing
    in_ring = jnp.asarray(in_ring)
    # each diagonal belongs to one triangle only
    own = (across[:, None] > -ring.T) & (across[:, None] <= ring.T)

    def limit(inner, outer):
        column, inside, *rest = outer
        taps, weights = rest[:4], rest[4:]
        most = sum(w * inner[..., tap] for tap, w in zip(taps, weights, strict=True))
        column = jnp.where(inside, jnp.minimum(column, most), 0)
        return column, column

    def project(images):
        turned = jnp.stack([jnp.rot90(images, k, axes=(1, 2)) for k in range(4)])
        outwards = jnp.moveaxis(turned[..., half + 1 :], -1, 0)
        center = jnp.broadcast_to(turned[..., half, half, None], turned.shape[:-1])
        _, rings = jax.lax.scan(limit, center, (outwards, in_ring, *taps, *weights))
        rings = jnp.where(own, jnp.moveaxis(rings, 0, -1), 0)
        wide = jnp.pad(rings, [(0, 0)] * 3 + [(half + 1, 0)])
        whole = sum((jnp.rot90(wide[k], -k, axes=(1, 2)) for k in range(4)), start=jnp.asarray(0))
        return whole.at[:, half, half].set(images[:, half, half])

    return project
