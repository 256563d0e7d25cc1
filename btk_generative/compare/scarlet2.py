"""A BTK deblender that fits scarlet2's model."""

from typing import Any

import galsim
import numpy as np
from astropy.table import Table
from btk.blend_batch import BlendBatch, DeblendBatch, DeblendExample
from btk.deblend import Deblender

from btk_generative.errors import ConfigError, need
from btk_generative.runs.processes import refuse_inherited_jax
from btk_generative.surveys import pixel_scale, sky_levels

_MODEL_PSF = 0.7  # pixels, Gaussian width of the model frame's PSF in a well sampled survey


def survey_psfs(batch: BlendBatch) -> np.ndarray:
    """Draws each band's PSF with the survey's pixels, centred on the middle one.

    Args:
        batch: Blends with PSFs as GalSim objects, or, once loaded from a file, as images.

    Returns:
        Array ``[bands, P, P]``, P odd and 15 times the widest full width at half maximum.

    Raises:
        ConfigError: If the PSFs are images with an even number of pixels.
    """
    if isinstance(batch.psf[0], galsim.Image):
        images = np.array([image.array for image in batch.psf], dtype=np.float64)
        if images.shape[-1] % 2 == 0:
            raise ConfigError(
                f"the batch holds PSF images of {images.shape[-1]} pixels, which have no central "
                "pixel: draw the blends anew, or save them with btk_generative's generators"
            )
        return images
    scale = pixel_scale(batch.survey)
    size = int(15 * max(_fwhm(batch)) / scale)
    size = min(max(size, 21), batch.image_size) // 2 * 2 + 1
    return np.array([p.drawImage(nx=size, ny=size, scale=scale).array for p in batch.psf])


def _fwhm(batch: BlendBatch) -> list[float]:
    """Nominal full width at half maximum of each band's PSF, arcsec."""
    survey = batch.survey
    return [survey.get_filter(b).psf_fwhm.to_value("arcsec") for b in survey.available_filters]


class Scarlet2Deblender(Deblender):
    """Deblends with scarlet2's model of spectra and non-negative images, at half a second a blend.

    The fit is compiled once for a stamp size, number of bands and ``max_n_sources`` (a few
    seconds) and then serves all blends. Fits run one after the other in this process whatever
    ``njobs`` says: a process that has used JAX must not be forked.

    `DeblendExample.extra_data` has the fitted ``scene`` (`scarlet2.Scene`) and the number of
    ``iterations``.

    Example:
        >>> import btk, btk_generative as bg
        >>> sampling = btk.sampling_functions.DefaultSampling(max_number=2, stamp_size=12, seed=1)
        >>> survey = btk.survey.get_surveys("HSC")
        >>> blends = bg.ParametricGenerator(
        ...     bg.catalogs.mock_catsim(50, seed=0), sampling, survey, batch_size=1, seed=1
        ... )
        >>> deblender = Scarlet2Deblender(max_n_sources=2, box=41, max_iter=5)
        >>> deblender(next(blends)).deblended_images.shape
        (1, 2, 5, 71, 71)
    """

    def __init__(
        self,
        max_n_sources: int,
        components: int = 1,
        monotonic: bool = True,
        box: int = 101,
        max_iter: int = 100,
        e_rel: float = 1e-3,
        thresh: float = 1.0,
        min_snr: float = 50.0,
    ):
        """Initialises the deblender.

        Args:
            max_n_sources: See parent class; blends with more sources raise a ValueError.
            components: Components of a source, 1 or 2, each with a spectrum of its own.
            monotonic: Whether the images of components fall off from the centre.
            box: Side of the largest image of a component in pixels, odd.
            max_iter: Most iterations.
            e_rel: Relative change of the images at which the fit has converged.
            thresh: Brightness, in units of the noise after smoothing, at which a source's
                footprint ends.
            min_snr: Signal-to-noise ratio from which a source gets its second component.

        Raises:
            ConfigError: If an argument is out of range.
            PackageMissing: If scarlet2 is not installed.
        """
        if components not in (1, 2):
            raise ConfigError(f"scarlet2: components must be 1 or 2, not {components!r}")
        if box % 2 == 0 or box < 11:
            raise ConfigError(f"scarlet2: box must be odd and at least 11, not {box!r}")
        need("jax", "scarlet2", extra="compare", what="deblender 'scarlet2'")
        super().__init__(max_n_sources)
        from btk_generative.compare.scarlet2_fit import Settings

        self._settings = Settings(box, components, monotonic, max_iter, e_rel, thresh, min_snr)
        self._frames: tuple[Any, Any, Any] = (None, None, None)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_frames": (None, None, None)}

    def batch_call(self, blend_batch: BlendBatch, njobs: int = 1, **kwargs: Any) -> DeblendBatch:
        """Deblends a batch; ``njobs`` has no effect. See `deblend` for the other arguments."""
        return super().batch_call(blend_batch, 1, **kwargs)

    def deblend(
        self,
        ii: int,
        blend_batch: BlendBatch,
        reference_catalogs: list[Table] | None = None,
        weights: np.ndarray | None = None,
    ) -> DeblendExample:
        """Deblends one blend of a batch.

        Args:
            ii: Index of the blend.
            blend_batch: The batch.
            reference_catalogs: For each blend a table of positions ``ra``, ``dec`` [arcsec from
                the centre]; the truth where not given.
            weights: Inverse variances ``[blends, bands, N, N]``, the sky's where not given.
                Pixels without a finite, positive weight or without a finite value are ignored.

        Returns:
            Catalogue of positions and images ``[max_n_sources, bands, N, N]``.

        Raises:
            ValueError: If there are more sources than ``max_n_sources``.
            ConfigError: In a process that was forked from one that has used JAX.
        """
        catalog = (reference_catalogs or blend_batch.catalog_list)[ii]
        data = np.asarray(blend_batch.blend_images[ii])
        n_bands, size, _ = data.shape
        if len(catalog) > self.max_n_sources:
            raise ValueError(
                f"blend {ii} has {len(catalog)} sources, more than "
                f"max_n_sources={self.max_n_sources}"
            )
        images = np.zeros((self.max_n_sources, n_bands, size, size))
        extra = {"scene": None, "iterations": 0}
        if len(catalog):
            if weights is None:
                noise = sky_levels(blend_batch.survey)[:, None, None]
                weight = np.broadcast_to(1 / noise, data.shape)
            else:
                weight = np.asarray(weights[ii])
            images[:], extra = self._fit(blend_batch, catalog, data, weight)
        return DeblendExample(
            self.max_n_sources, catalog, n_bands, size, None, images, extra_data=extra
        )

    def _fit(self, batch, catalog, data, weights):
        refuse_inherited_jax()
        from btk_generative.compare.scarlet2_fit import fit

        good = np.isfinite(data) & np.isfinite(weights) & (weights > 0)
        size = data.shape[-1]
        x, y = batch.wcs.world_to_pixel_values(
            np.asarray(catalog["ra"]) / 3600, np.asarray(catalog["dec"]) / 3600
        )
        centers = np.full((self.max_n_sources, 2), size // 2)
        centers[: len(catalog)] = np.rint(np.stack([y, x], axis=1)).clip(0, size - 1)
        frame, renderer = self._frame(batch)
        fitted = fit(
            self._settings,
            renderer,
            np.where(good, data, 0).astype(np.float32),
            np.where(good, weights, 0).astype(np.float32),
            centers.astype(np.int32),
            np.arange(self.max_n_sources) < len(catalog),
        )
        scene = _scene(frame, fitted, centers[: len(catalog)])
        return np.asarray(fitted.images), {"scene": scene, "iterations": int(fitted.iterations)}

    def _frame(self, batch):
        """The model frame and its renderer, which are kept as long as the PSFs stay the same."""
        import scarlet2

        known, frame, renderer = self._frames
        if known is None or known[0] != batch.image_size or known[1] != batch.psf:
            psf = survey_psfs(batch)
            n_bands, width = psf.shape[:2]
            shape = (n_bands, batch.image_size, batch.image_size)
            scale = pixel_scale(batch.survey)
            sigma = min(_MODEL_PSF, 0.3 * min(_fwhm(batch)) / scale)
            model_psf = scarlet2.GaussianMorphology(sigma, shape=(width, width))()
            bands = list(batch.survey.available_filters)
            frame = scarlet2.Frame(scarlet2.Box(shape), psf=model_psf, channels=bands)
            seen = scarlet2.Frame(scarlet2.Box(shape), psf=psf, channels=bands)
            renderer = scarlet2.renderer.ConvolutionRenderer(frame, seen)
            self._frames = ((batch.image_size, batch.psf), frame, renderer)
        return frame, renderer


def _scene(frame, fitted, centers):
    """The fit as a scarlet2 scene."""
    import jax.numpy as jnp
    from scarlet2 import Component, Scene, Source

    with Scene(frame) as scene:
        for center, spectra, morphologies in zip(
            centers, fitted.spectra, fitted.morphologies, strict=False
        ):
            position = jnp.asarray(center, dtype=float)
            source = Source(position, spectra[0], morphologies[0])
            for spectrum, morphology in zip(spectra[1:], morphologies[1:], strict=True):
                source += Component(position, spectrum, morphology)
    return scene
