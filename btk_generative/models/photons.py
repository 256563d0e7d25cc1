"""Light profiles that shoot photons of positive flux only."""

import galsim
import numpy as np

_FINER = 8  # cells in a pixel along an axis; a uniform cell adds a pixel^2 / 768 to the variance
_REACH = 8  # pixels beyond the image to which an interpolant is followed


class ProfileImage(galsim.InterpolatedImage):
    """A `galsim.InterpolatedImage` of pixels that are not negative, without negative photons.

    GalSim shoots the negative lobes of the interpolant with photons of negative flux, over a
    quarter of all, though they cancel nearly everywhere: and `galsim.Sum` (2.8) makes the photons
    of its parts all positive, so that the flux of a sum with an image in it comes out half too
    large. This class shoots from the interpolated surface brightness itself, on cells of an eighth
    of a pixel. What is below zero there is cut off, the flux stays exact.

    An image that has negative pixels, as one with noise, is shot as GalSim does.
    """

    @property
    def _is_positive(self) -> bool:
        return self._flux > 0 and self._xim.array.min() >= 0

    @property
    def _positive_flux(self):
        return self._flux if self._is_positive else super()._positive_flux

    @property
    def _negative_flux(self):
        return 0.0 if self._is_positive else super()._negative_flux

    @property
    def _flux_per_photon(self):
        return self._calculate_flux_per_photon()

    def _shoot(self, photons, rng):
        if not self._is_positive:
            super()._shoot(photons, rng)
            return
        cell = self.image.wcs.minLinearScale() / _FINER
        reach = min(int(np.ceil(self.x_interpolant.xrange)), _REACH)
        size = (max(self.image.array.shape) + 2 * reach) * _FINER
        light = self.drawImage(nx=size, ny=size, scale=cell, method="no_pixel", dtype=float).array
        inside = np.cumsum(np.maximum(light, 0))
        random = np.empty(3 * len(photons))
        galsim.UniformDeviate(rng).generate(random)
        share, dx, dy = random.reshape(3, -1)
        row, column = np.divmod(np.searchsorted(inside, share * inside[-1], "right"), size)
        photons.x, photons.y = (column + dx - size / 2) * cell, (row + dy - size / 2) * cell
        photons.flux = self._flux / len(photons)
