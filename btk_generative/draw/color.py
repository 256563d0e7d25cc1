"""Colour gradients: a galaxy whose bulge and disk have different colours.

The morphology I_i that a model draws for the i band becomes, in band b,

    I_b(x) = I_i(x) [s_b B(x) + (1 - s_b) D(x)] / [s_i B(x) + (1 - s_i) D(x)],

with the catalogue's profiles B (de Vaucouleurs) and D (exponential) of unit flux, and the bulge's
share s of the flux. That is a sum of two profiles with weights that depend on the band,
I_b = s_b P + (1 - s_b) Q, so two profiles are drawn for a galaxy however many bands there are.
"""

import numpy as np
from astropy.table import Table

from btk_generative.errors import CatalogError
from btk_generative.models import LightProfiles
from btk_generative.schema import values

_B1, _B4 = 1.6783469900166605, 7.669249442500804  # Sersic's b of the half-light radius, n = 1, 4
# flux of exp(-b r^(1/n)) within all radii, for a half-light radius of 1
_FLUX1 = 2 * np.pi / _B1**2
_FLUX4 = 8 * np.pi * 5040 / _B4**8


def bulge_shares(table: Table, bands) -> tuple[np.ndarray, np.ndarray]:
    """Returns the bulge's share of bulge and disk together.

    Args:
        table: Catalogue in the CatSim schema with ``bulge_share_{band}`` for every band.
        bands: Names of the bands.

    Returns:
        The share in the i band, from ``fluxnorm_bulge`` and ``fluxnorm_disk``, ``[n]``, and in
        every band, ``[n, bands]``.

    Raises:
        CatalogError: If a column is missing or a share is not between 0 and 1.
    """
    shares = []
    for band in bands:
        name = f"bulge_share_{band}"
        if name not in table.colnames:
            raise CatalogError(
                f"{table.meta.get('path', 'the catalogue')}: color='components' needs the bulge's"
                f" share of the {band} band, column '{name}'; it is missing. Use color='flat'"
            )
        share = values(table, name)
        bad = ~((share >= 0) & (share <= 1))
        if bad.any():
            row = int(np.argmax(bad))
            raise CatalogError(
                f"{table.meta.get('path', 'the catalogue')}: column '{name}', row {row}: value"
                f" {share[row]} is not a share, from 0 to 1"
            )
        shares.append(share)
    bulge, disk = (np.asarray(table[f"fluxnorm_{c}"], dtype=float) for c in ("bulge", "disk"))
    total = np.where(bulge + disk > 0, bulge + disk, 1.0)
    return bulge / total, np.stack(shares, axis=1)


def split(
    profiles: LightProfiles, table: Table, share: np.ndarray, angle: np.ndarray
) -> tuple[LightProfiles, LightProfiles, np.ndarray, np.ndarray]:
    """Splits light profiles by the catalogue's bulge and disk.

    Args:
        profiles: i-band profiles of galaxies with both a bulge and a disk, length n.
        table: Their rows in the CatSim schema.
        share: Share of the bulge in the i band, ``[n]``.
        angle: Angle of the catalogue's major axis in the profiles' frames, radians, ``[n]``.

    Returns:
        Profiles P and Q of the module's formula, each scaled to unit sum, and those sums, ``[n]``.
    """
    size = profiles.images.shape[-1]
    axis = (np.arange(size) - (size - 1) / 2) * profiles.pixel_scale[:, None]
    x, y = axis[:, None, :], axis[:, :, None]
    cosine, sine = (f(angle)[:, None, None] for f in (np.cos, np.sin))
    major, minor = x * cosine + y * sine, y * cosine - x * sine

    def component(letter, n):
        a, b = (np.asarray(table[f"{axis}_{letter}"], float)[:, None, None] for axis in "ab")
        radius = np.hypot(major / a, minor / b)
        if n == 1:
            return np.exp(-_B1 * radius) / (_FLUX1 * a * b)
        return np.exp(-_B4 * radius**0.25) / (_FLUX4 * a * b)

    bulge, disk = component("b", 4), component("d", 1)
    share = share[:, None, None]
    whole = np.maximum(share * bulge + (1 - share) * disk, np.finfo(float).tiny)
    parts, sums = [], []
    for part in (bulge, disk):
        images = profiles.images * (part / whole)
        total = images.sum(axis=(1, 2))
        sums.append(total)
        images /= np.maximum(total, np.finfo(float).tiny)[:, None, None]
        parts.append(LightProfiles(images, profiles.pixel_scale, profiles.oriented))
    return *parts, *sums
