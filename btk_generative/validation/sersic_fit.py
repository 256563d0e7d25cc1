"""Least-squares fit of one Sersic profile to an HST stamp."""

from dataclasses import dataclass

import galsim
import numpy as np
from scipy.optimize import least_squares

from btk_generative.validation.morphology import PIXEL_SCALE, STAMP_SIZE
from btk_generative.validation.stamps import convolved

_STEPS = np.array([1e-3, 1e-3, 1.0, 1e-3, 1e-3, 1e-3, 1e-3])
_LOWER = np.array([-np.inf, np.log(0.02), 0.0, -0.9, -0.9, -0.5, -0.5])
_UPPER = np.array([np.inf, np.log(3.0), 59.0, 0.9, 0.9, 0.5, 0.5])
_START_INDEX = 24.0


@dataclass(frozen=True)
class SersicFit:
    """A Sersic profile; angles run from +x, the centre is relative to the stamp's."""

    flux: float
    """Counts."""

    hlr: float
    """Half-light radius, arcsec, circularised."""

    n: float
    """Sersic index, on a logarithmic grid from 0.3 to 6 in steps of 5 %."""

    q: float
    """Axis ratio."""

    angle: float
    """Angle of the major axis, radians."""

    x: float
    """Centre, arcsec."""

    y: float
    """Centre, arcsec."""

    def galaxy(self) -> galsim.GSObject:
        """Returns the profile at its place."""
        profile = galsim.Sersic(self.n, half_light_radius=self.hlr, flux=self.flux)
        profile = profile.shear(q=self.q, beta=self.angle * galsim.radians)
        return profile.shift(self.x, self.y)


def fit_sersic(stamp: np.ndarray, psf: galsim.GSObject, seen: np.ndarray) -> SersicFit:
    """Returns the profile that minimises the squared residuals.

    Args:
        stamp: Counts per pixel, shape ``[128, 128]``.
        psf: PSF, with the pixel's response.
        seen: Pixels that count, bool, shape ``[128, 128]``.
    """
    flux = max(stamp[seen].sum(), 0.1)

    def image(parameters):
        return convolved(_profile(parameters).galaxy(), psf)[seen]

    def residuals(parameters):
        return image(parameters) - stamp[seen]

    def slopes(parameters):
        here, columns = image(parameters), []
        for k, step in enumerate(_STEPS):
            step = -step if parameters[k] + step > _UPPER[k] else step
            columns.append((image(parameters + step * (np.arange(len(_STEPS)) == k)) - here) / step)
        return np.stack(columns, axis=1)

    start = np.array([np.log(flux), np.log(_start_size(stamp)), _START_INDEX, 0, 0, 0, 0])
    start[5:] = _start_centre(stamp)
    found = least_squares(
        residuals,
        np.clip(start, _LOWER + 1e-6, _UPPER - 1e-6),
        jac=slopes,
        bounds=(_LOWER, _UPPER),
        x_scale=np.array([0.1, 0.1, 5.0, 0.1, 0.1, 0.02, 0.02]),
        xtol=1e-4,
        ftol=1e-5,
        max_nfev=40,
    )
    return _profile(found.x)


def _profile(parameters: np.ndarray) -> SersicFit:
    """Returns the profile of log flux, log size, position on the grid of n, g1, g2, x, y."""
    g = complex(parameters[3], parameters[4])
    size = min(abs(g), 0.9)
    return SersicFit(
        flux=float(np.exp(parameters[0])),
        hlr=float(np.exp(parameters[1])),
        n=float(0.3 * 20 ** (round(parameters[2]) / 59)),
        q=(1 - size) / (1 + size),
        angle=float(0.5 * np.angle(g)),
        x=float(parameters[5]),
        y=float(parameters[6]),
    )


def _moments(stamp: np.ndarray) -> galsim.hsm.ShapeData:
    image = galsim.Image(np.asarray(stamp, dtype=float), scale=PIXEL_SCALE)
    return galsim.hsm.FindAdaptiveMom(image, strict=False)


def _start_size(stamp: np.ndarray) -> float:
    found = _moments(stamp)
    size = found.moments_sigma * PIXEL_SCALE if found.moments_status == 0 else 0.2
    return np.sqrt(max(size**2 - 0.05**2, 0.03**2))


def _start_centre(stamp: np.ndarray) -> tuple[float, float]:
    found = _moments(stamp)
    if found.moments_status != 0:
        return 0.0, 0.0
    middle = (STAMP_SIZE + 1) / 2
    centre = found.moments_centroid
    return (centre.x - middle) * PIXEL_SCALE, (centre.y - middle) * PIXEL_SCALE
