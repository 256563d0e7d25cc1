"""Colour gradients: a galaxy whose bulge and disk have different colours.

The morphology I_i that a model draws for the i band becomes, in band b,

    I_b(x) = I_i(x) [s_b B(x) + (1 - s_b) D(x)] / [s_i B(x) + (1 - s_i) D(x)],

with the catalogue's profiles B (de Vaucouleurs) and D (exponential) of unit flux, and the bulge's
share s of the flux. That is a sum of two profiles with weights that depend on the band,
I_b = s_b P + (1 - s_b) Q, so two profiles are drawn for a galaxy however many bands there are.
"""

import numpy as np
from astropy.table import Table

from btk_generative.catalogs.schema import values
from btk_generative.errors import CatalogError
from btk_generative.models import LightProfiles
from btk_generative.sersic import surface_brightness


def bulge_shares(table: Table, bands: list[str]) -> tuple[np.ndarray, np.ndarray]:
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
    profiles: LightProfiles, table: Table, share: np.ndarray, angle: dict[str, np.ndarray]
) -> tuple[LightProfiles, LightProfiles, np.ndarray, np.ndarray]:
    """Splits light profiles by the catalogue's bulge and disk.

    Args:
        profiles: i-band profiles of galaxies with both a bulge and a disk, length n.
        table: Their rows in the CatSim schema.
        share: Share of the bulge in the i band, ``[n]``.
        angle: Angle of the major axis of the catalogue's ``bulge`` and ``disk`` in the profiles'
            frames, radians, ``[n]`` each.

    Returns:
        Profiles P and Q of the module's formula, each scaled to unit sum, and those sums, ``[n]``.
    """
    size = profiles.images.shape[-1]
    axis = (np.arange(size) - (size - 1) / 2) * profiles.pixel_scale[:, None]
    x, y = axis[:, None, :], axis[:, :, None]

    def component(part, n):
        a, b = (np.asarray(table[f"{axis}_{part[0]}"], float)[:, None, None] for axis in "ab")
        turn = np.asarray(angle[part])
        cosine, sine = (f(turn)[:, None, None] for f in (np.cos, np.sin))
        major, minor = x * cosine + y * sine, y * cosine - x * sine
        return surface_brightness(np.hypot(major / a, minor / b), n) / (a * b)

    bulge, disk = component("bulge", 4), component("disk", 1)
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
