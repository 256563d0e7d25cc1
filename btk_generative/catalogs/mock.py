"""A mock catalogue in the CatSim schema, drawn from published relations.

The steps, in the order in which a galaxy gets its properties:

1. **i-band magnitude.** Counts rise as 10^(0.31 i) at the faint end, with 46 galaxies per square
   arcminute brighter than i = 25 (LSST Science Collaborations 2009, arXiv:0912.0201, section
   3.7.2), and as the Euclidean 10^(0.6 i) at the bright end (Yasuda et al. 2001, AJ 122, 1104);
   the two meet at i = 19.5.
2. **Spectral type and redshift.** P(type | i) and P(z | type, i) of Benitez 2000 (ApJ 536, 571,
   table 1, astro-ph/9811189), calibrated on the Hubble Deep Field North and the CFRS, for E/S0,
   spiral, and irregular or starburst galaxies.
3. **Bulge share.** 26 % of the early types are ellipticals, all bulge, the others lenticulars
   (Cappellari et al. 2011, MNRAS 413, 813). Bulge-to-total ratios are log-normal around 0.25 for
   lenticulars and 0.1 for spirals (Graham & Worley 2008, MNRAS 388, 1708); irregulars have none.
4. **Colours.** Spectra of Coleman, Wu & Weedman 1980 (ApJS 43, 393), as GalSim ships them: the
   elliptical for bulges, a mixture of neighbours along the sequence for disks. Disks of irregulars
   reach beyond the bluest of them, made bluer until their ultraviolet slope is the beta = -2.2 of
   the faintest galaxies (Bouwens et al. 2014, ApJ 793, 115). Absorption by intergalactic hydrogen
   follows Madau 1995 (ApJ 441, 18).
5. **Sizes.** Stellar masses from rest-frame g - i and M_i (Taylor et al. 2011, MNRAS 418, 1587),
   then half-light radii along the major axis from van der Wel et al. 2014 (ApJ 788, 28): the late
   type relation at the galaxy's mass for disks, the early type relation at the bulge's mass for
   bulges, the latter flattened to the late type slope below 2e10 solar masses.
6. **Axis ratios.** Oblate spheroids at random inclinations, with intrinsic thickness 0.21 +- 0.05
   for disks and 0.57 +- 0.21 for bulges (Padilla & Strauss 2008, MNRAS 388, 1321).
"""

import os
from functools import cache

import galsim
import numpy as np
from astropy.cosmology import FlatLambdaCDM
from astropy.table import Table
from btk.catalog import CatsimCatalog
from numpy.typing import ArrayLike
from scipy.special import gammainc, gammaincinv

BANDS = "ugrizy"
COSMOLOGY = FlatLambdaCDM(H0=70, Om0=0.3)

_MAG_MIN, _MAG_MAX, _MAG_BREAK = 15.0, 27.0, 19.5
_DENSITY_25 = 46.0  # galaxies per square arcminute with i < 25
_Z_MIN, _Z_MAX = 0.02, 6.0
_FAINTEST_COLOUR = 8.0  # a band is at most this many magnitudes fainter than i

# Benitez 2000, table 1: fraction and its decline with magnitude, then alpha, z0, k of the redshifts
_EARLY, _SPIRAL, _IRREGULAR = range(3)
_FRACTION = np.array([0.35, 0.50])
_DECLINE = np.array([0.450, 0.147])
_ALPHA = np.array([2.465, 1.806, 0.906])
_Z0 = np.array([0.431, 0.390, 0.0626])
_KM = np.array([0.0913, 0.0636, 0.123])

_TEMPLATES = ("E", "Sbc", "Scd", "Im")
_BLUEST = len(_TEMPLATES)  # index of the irregular template with its slope made bluer
_BLUER_SLOPE = -0.9


def mock_catsim(n: int, seed: int = 0) -> CatsimCatalog:
    """Draws a mock catalogue of galaxies in the CatSim schema.

    Number counts, redshifts, bulge shares, colours, sizes and axis ratios follow the published
    relations that the module's docstring lists, from i = 15 to i = 27. The galaxies lie at random,
    without clustering, on a square around (ra, dec) = (0.5, 0.5) degrees whose area gives them
    their density on the sky. There are no AGN. Besides CatSim's columns, ``bulge_share_{band}``
    holds the bulge's share of the flux in each band.

    Args:
        n: Number of galaxies.
        seed: Seed of everything that is drawn.

    Returns:
        The catalogue; its `table` has `n` rows with magnitudes [AB], sizes [arcsec, half-light
        semi-axes] and angles [degrees].

    Raises:
        ValueError: If `n` is not positive.
    """
    if n < 1:
        raise ValueError(f"n is the number of galaxies and must be positive, not {n}")
    rng = np.random.default_rng(seed)
    i_mag = _magnitudes(n, rng)
    kind = _types(i_mag, rng)
    redshift = _redshifts(i_mag, kind, rng)
    share = _bulge_shares(kind, rng)

    disk_spectrum = _disk_spectra(kind, rng)
    bulge_spectrum = np.zeros(n)
    colours = _Colours.load()
    # flux of each component in each band relative to the galaxy's i-band flux
    disk = (1 - share)[:, None] * colours.relative_flux(disk_spectrum, redshift)
    bulge = share[:, None] * colours.relative_flux(bulge_spectrum, redshift)
    magnitudes = i_mag[:, None] - 2.5 * np.log10(disk + bulge)
    magnitudes = np.minimum(magnitudes, i_mag[:, None] + _FAINTEST_COLOUR)

    disk_mass = colours.stellar_mass(i_mag, disk_spectrum, redshift)
    bulge_mass = colours.stellar_mass(i_mag, bulge_spectrum, redshift)
    total_mass = (1 - share) * disk_mass + share * bulge_mass
    a_d = _arcsec(_late_radius(total_mass, redshift) * _scatter(n, 0.17, rng), redshift)
    a_b = _arcsec(
        _early_radius(np.maximum(share * bulge_mass, 1.0), redshift) * _scatter(n, 0.12, rng),
        redshift,
    )
    # a galaxy's components share its inclination
    cosine = rng.uniform(0, 1, n)
    q_d = _axis_ratio(cosine, rng.normal(0.21, 0.05, n))
    q_b = _axis_ratio(cosine, rng.normal(0.57, 0.21, n))
    angle = rng.uniform(0, 180, n)

    side = np.sqrt(n / number_density(_MAG_MAX)) / 60
    has_bulge, has_disk = share > 0, share < 1
    i_flux = 10 ** (-0.4 * (i_mag - 22.5))
    columns = {
        "galtileid": np.arange(n),
        "ra": 0.5 + side * rng.uniform(-0.5, 0.5, n),
        "dec": 0.5 + side * rng.uniform(-0.5, 0.5, n),
        "redshift": redshift,
        "fluxnorm_bulge": i_flux * share,
        "fluxnorm_disk": i_flux * (1 - share),
        "fluxnorm_agn": np.zeros(n),
        "a_b": np.where(has_bulge, a_b, 0.0),
        "a_d": np.where(has_disk, a_d, 0.0),
        "b_b": np.where(has_bulge, a_b * q_b, 0.0),
        "b_d": np.where(has_disk, a_d * q_d, 0.0),
        "pa_bulge": np.where(has_bulge, angle, 0.0),
        "pa_disk": np.where(has_disk, angle, 0.0),
    }
    columns |= {f"{band}_ab": magnitudes[:, k] for k, band in enumerate(BANDS)}
    bulge_share = bulge / (bulge + disk)
    columns |= {f"bulge_share_{band}": bulge_share[:, k] for k, band in enumerate(BANDS)}
    return CatsimCatalog(Table(columns, meta={"path": f"mock_catsim({n}, seed={seed})"}))


def number_density(i_mag: ArrayLike) -> np.ndarray:
    """Galaxies per square arcminute brighter than an i-band magnitude, between 15 and 27.

    LSST Science Book's 46 x 10^(0.31 (i - 25)) at the faint end; see the module's docstring.
    """
    grid, cumulative = _counts()
    return np.interp(np.asarray(i_mag, dtype=float), grid, cumulative)


@cache
def _counts():
    grid = np.linspace(_MAG_MIN, _MAG_MAX, 2401)
    # a harmonic mean of the two power laws
    density = 1 / (10 ** (-0.31 * (grid - _MAG_BREAK)) + 10 ** (-0.6 * (grid - _MAG_BREAK)))
    cumulative = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return grid, cumulative * _DENSITY_25 / np.interp(25.0, grid, cumulative)


def _magnitudes(n, rng):
    grid, cumulative = _counts()
    return np.interp(rng.uniform(0, cumulative[-1], n), cumulative, grid)


def _types(i_mag, rng):
    early, spiral = (_FRACTION * np.exp(-_DECLINE * np.maximum(i_mag - 20, 0)[:, None])).T
    u = rng.uniform(size=len(i_mag))
    return np.where(u < early, _EARLY, np.where(u < early + spiral, _SPIRAL, _IRREGULAR))


def _redshifts(i_mag, kind, rng):
    """Draws from p(z) ~ z^alpha exp(-(z / zm)^alpha), the inverse of which is a gamma quantile."""
    alpha = _ALPHA[kind]
    zm = np.maximum(_Z0[kind] + _KM[kind] * (i_mag - 20), 0.03)
    shape = (alpha + 1) / alpha  # t = (z / zm)^alpha is a gamma variate of this shape
    low, high = (gammainc(shape, (z / zm) ** alpha) for z in (_Z_MIN, _Z_MAX))
    t = gammaincinv(shape, low + (high - low) * rng.uniform(size=len(i_mag)))
    return np.clip(zm * t ** (1 / alpha), _Z_MIN, _Z_MAX)


def _bulge_shares(kind, rng):
    n = len(kind)
    early = np.where(rng.uniform(size=n) < 0.26, 1.0, 0.25 * _scatter(n, 0.2, rng))
    spiral = 0.1 * _scatter(n, 0.35, rng)
    share = np.select([kind == _EARLY, kind == _SPIRAL], [early, spiral], 0.0)
    return np.where(share < 1, np.minimum(share, 0.95), 1.0)


def _disk_spectra(kind, rng):
    """Place of each disk along the sequence of templates: 0 elliptical, 3 irregular, 4 bluer."""
    u = rng.uniform(size=len(kind))
    return np.select([kind == _EARLY, kind == _SPIRAL], [u, 1 + u], 2 + 2 * u)


def _scatter(n, dex, rng):
    return 10 ** rng.normal(0, dex, n)


def _late_radius(mass, redshift):
    return 8.9 * (1 + redshift) ** -0.75 * (mass / 5e10) ** 0.22


def _early_radius(mass, redshift):
    knee = 2e10
    slope = np.where(mass > knee, 0.75, 0.22)
    return 5.6 * (1 + redshift) ** -1.48 * (knee / 5e10) ** 0.75 * (mass / knee) ** slope


def _arcsec(kpc, redshift):
    grid = np.geomspace(_Z_MIN, _Z_MAX, 200)
    return kpc * np.interp(redshift, grid, COSMOLOGY.arcsec_per_kpc_proper(grid).value)


def _axis_ratio(cosine, thickness):
    """Projected axis ratio of an oblate spheroid seen at an inclination of this cosine."""
    thickness = np.clip(thickness, 0.05, 1.0)
    return np.sqrt(thickness**2 + (1 - thickness**2) * cosine**2)


class _Colours:
    """LSST colours and masses of the templates on a grid of redshift.

    Attributes:
        redshift: Grid [z].
        log_flux: log10 of each band's flux density (AB) relative to i, [template, z, band].
        k_correction: Observed minus rest-frame i magnitude without the distance, [template, z].
        rest_g_minus_i: [template].
    """

    def __init__(self, redshift, log_flux, k_correction, rest_g_minus_i):
        self.redshift = redshift
        self.log_flux = log_flux
        self.k_correction = k_correction
        self.rest_g_minus_i = rest_g_minus_i

    @classmethod
    @cache
    def load(cls) -> "_Colours":
        """Integrates GalSim's copies of the templates over its LSST passbands."""
        share = galsim.meta_data.share_dir
        spectra = [
            np.loadtxt(os.path.join(share, "SEDs", f"CWW_{name}_ext.sed")).T for name in _TEMPLATES
        ]
        passbands = [
            np.loadtxt(os.path.join(share, "bandpasses", f"LSST_{band}.dat")).T for band in BANDS
        ]
        redshift = np.linspace(0, _Z_MAX, 181)
        flux = np.empty((_BLUEST + 1, len(redshift), len(BANDS)))
        for t in range(_BLUEST + 1):
            wavelength, f_lambda = spectra[min(t, _BLUEST - 1)]
            if t == _BLUEST:
                f_lambda = f_lambda * (wavelength / 5000) ** _BLUER_SLOPE
            for k, (nm, transmission) in enumerate(passbands):
                angstrom = np.linspace(nm[0], nm[-1], 400) * 10
                weight = np.interp(angstrom, nm * 10, transmission)
                rest = angstrom / (1 + redshift[:, None])
                f_nu = np.interp(rest, wavelength, f_lambda) * rest**2
                f_nu *= np.exp(-_madau(angstrom, redshift[:, None]))
                # photon-counting mean of f_nu, the AB convention
                flux[t, :, k] = np.sum(f_nu * weight / angstrom, axis=1) / np.sum(weight / angstrom)
        i_band = BANDS.index("i")
        relative = np.maximum(flux / flux[..., i_band, None], 10 ** (-0.4 * _FAINTEST_COLOUR))
        # (1 + z) f_nu(observed i) against f_nu(rest-frame i)
        ratio = flux[:, :, i_band] / flux[:, :1, i_band] * (1 + redshift)
        g_minus_i = -2.5 * np.log10(relative[:, 0, BANDS.index("g")])
        return cls(redshift, np.log10(relative), -2.5 * np.log10(ratio), g_minus_i)

    def _interpolate(self, table, spectrum, redshift):
        """Bilinear interpolation of [template, z, ...] along both of its grids."""
        t = np.minimum(spectrum.astype(int), _BLUEST - 1)
        step = self.redshift[1]
        z = np.minimum((redshift / step).astype(int), len(self.redshift) - 2)
        extra = (1,) * (table.ndim - 2)
        u = (spectrum - t).reshape(-1, *extra)
        v = (redshift / step - z).reshape(-1, *extra)
        low = (1 - v) * table[t, z] + v * table[t, z + 1]
        high = (1 - v) * table[t + 1, z] + v * table[t + 1, z + 1]
        return (1 - u) * low + u * high

    def relative_flux(self, spectrum, redshift):
        """Flux in each band relative to i [n, bands]."""
        return 10 ** self._interpolate(self.log_flux, spectrum, redshift)

    def stellar_mass(self, i_mag, spectrum, redshift):
        """Stellar mass [solar] of a galaxy of this magnitude and spectrum, Taylor et al. 2011."""
        modulus = np.interp(redshift, self.redshift[1:], COSMOLOGY.distmod(self.redshift[1:]).value)
        absolute = i_mag - modulus - self._interpolate(self.k_correction, spectrum, redshift)
        colour = np.interp(spectrum, np.arange(_BLUEST + 1), self.rest_g_minus_i)
        return 10 ** (1.15 + 0.70 * colour - 0.4 * absolute)


def _madau(wavelength, redshift):
    """Mean optical depth of intergalactic hydrogen at observed wavelengths [angstrom]."""
    depth = np.zeros(np.broadcast_shapes(wavelength.shape, redshift.shape))
    lines = ((1215.67, 3.6e-3), (1025.72, 1.7e-3), (972.54, 1.2e-3), (949.74, 9.3e-4))
    for line, strength in lines:
        depth += strength * (wavelength / line) ** 3.46 * (wavelength < line * (1 + redshift))
    emitted = 1 + redshift
    x = np.clip(wavelength / 911.75, 1, emitted)  # 1 + redshift of the absorber at the limit
    continuum = (
        0.25 * x**3 * (emitted**0.46 - x**0.46)
        + 9.4 * x**1.5 * (emitted**0.18 - x**0.18)
        - 0.7 * x**3 * (x**-1.32 - emitted**-1.32)
        - 0.023 * (emitted**1.68 - x**1.68)
    )
    return depth + np.maximum(continuum, 0)
