"""Builds descwl's galaxy models with generative profiles.

WeakLensingDeblending is at github.com/LSSTDESC/WeakLensingDeblending, and in no package index.
"""

import math
from importlib import import_module
from typing import Any

import galsim
import numpy as np
from astropy.table import Row, Table

from btk_generative.catalogs.schema import values
from btk_generative.conditions import check_catsim
from btk_generative.errors import CatalogError, ConfigError
from btk_generative.galaxies import Galaxies, GalaxySampler
from btk_generative.models import GenerativeModel, LightProfiles

_PARTS = ("disk", "bulge", "agn")


class GenerativeGalaxyBuilder:
    """Builds galaxy models, in place of `descwl.model.GalaxyBuilder`.

    A galaxy's morphology is a function of the seed, its ``galtileid`` and its row of the
    catalogue, so it is the same in every band.

    Example:
        >>> builder = GenerativeGalaxyBuilder(survey, False, False, False, False)  # doctest: +SKIP
        >>> builder.prepare(catalog)                                               # doctest: +SKIP
        >>> galaxy = builder.from_catalog(catalog[0], 1.5, -2.0, "i")              # doctest: +SKIP
        >>> engine.render_galaxy(galaxy)                                           # doctest: +SKIP
    """

    def __init__(
        self,
        survey: Any,
        no_disk: bool,
        no_bulge: bool,
        no_agn: bool,
        verbose_model: bool,
        model: str | GenerativeModel = "default",
        seed: int = 0,
    ) -> None:
        """Initialises the builder; the first five arguments are those of descwl's.

        Args:
            survey: A `descwl.survey.Survey`, for flux normalisation and cosmic shear.
            no_disk: Whether to leave the disks out.
            no_bulge: Whether to leave the bulges out.
            no_agn: Whether to leave the AGNs out.
            verbose_model: Whether to print a line for every galaxy.
            model: Name or path for `load_model`, or a model that it returned.
            seed: Seed of the morphologies.

        Raises:
            ConfigError: If descwl cannot be imported, or nothing of a galaxy is left.
            ModelError: If the model cannot be loaded.
        """
        if no_disk and no_bulge and no_agn:
            raise ConfigError("no_disk, no_bulge and no_agn together leave nothing of a galaxy")
        try:
            import_module("descwl.model")
        except ImportError as error:
            raise ConfigError(
                f"WeakLensingDeblending cannot be imported ({error}): clone "
                "https://github.com/LSSTDESC/WeakLensingDeblending, install lmfit and fitsio, and"
                " put the clone on PYTHONPATH"
            ) from error
        self.survey, self.verbose_model = survey, verbose_model
        self.no_disk, self.no_bulge, self.no_agn = no_disk, no_bulge, no_agn
        self._sampler = GalaxySampler(model, seed=seed)
        self._prepared: dict[int, Galaxies] = {}

    @property
    def _descwl(self):
        return import_module("descwl.model")  # a module cannot be pickled

    def prepare(self, catalog: Table) -> None:
        """Draws the morphologies of a whole catalogue together, which is much faster.

        Args:
            catalog: Rows that `from_catalog` will be asked for, in the CatSim schema.

        Raises:
            CatalogError: If a galaxy cannot be drawn from a row, or ``galtileid`` is not unique.
        """
        table = Table(catalog)
        check_catsim(table)
        if len(np.unique(table["galtileid"])) < len(table):
            raise CatalogError("column 'galtileid' is not unique, but it identifies a galaxy")
        kept, fluxes = self._kept(table)
        extended = fluxes[:, 0] + fluxes[:, 1] > 0
        self._prepared = {}
        if extended.any():
            galaxies = self._sample(kept[extended])
            identifiers = map(int, table["galtileid"][extended])
            for index, identifier in enumerate(identifiers):
                self._prepared[identifier] = galaxies[index : index + 1]

    def from_catalog(
        self, entry: Row, dx_arcsecs: float, dy_arcsecs: float, filter_band: str
    ) -> Any:
        """Builds the model of one galaxy.

        Args:
            entry: Row of a catalogue.
            dx_arcsecs: Horizontal offset of the centroid from the image's centre.
            dy_arcsecs: Vertical offset.
            filter_band: Band of which to take the flux.

        Returns:
            A `descwl.model.Galaxy`. Its ``second_moments`` are the profile's own, unweighted, and
            sheared; as in descwl, an AGN counts with none.

        Raises:
            descwl.model.SourceNotVisible: If all of the galaxy is left out.
            RuntimeError: If the row has no magnitude in the band, as descwl does.
            CatalogError: If no galaxy can be drawn from the row.
        """
        table = Table(entry)
        needed = (f"{filter_band}_ab", "r_ab", "i_ab")
        if not set(needed) <= set(table.colnames):
            raise RuntimeError("Catalog entry is missing required AB magnitudes.")
        check_catsim(table, (filter_band, "r"))
        ab_magnitude, r_ab, i_ab = (values(table, name)[0] for name in needed)
        kept, fluxes = self._kept(table)
        disk, bulge, agn = fluxes[0] * self.survey.get_flux(ab_magnitude)
        total = disk + bulge + agn
        if total == 0:
            raise self._descwl.SourceNotVisible
        galaxy = self._descwl.Galaxy.__new__(self._descwl.Galaxy)
        galaxy.identifier, galaxy.redshift = entry["galtileid"], values(table, "redshift")[0]
        galaxy.ab_magnitude, galaxy.ri_color = ab_magnitude, r_ab - i_ab
        galaxy.dx_arcsecs, galaxy.dy_arcsecs = dx_arcsecs, dy_arcsecs
        galaxy.cosmic_shear_g1 = self.survey.cosmic_shear_g1
        galaxy.cosmic_shear_g2 = self.survey.cosmic_shear_g2
        galaxy.disk_fraction, galaxy.bulge_fraction = disk / total, bulge / total
        components, moments = [], np.zeros((2, 2))
        if disk + bulge > 0:
            drawn = self._prepared.get(int(entry["galtileid"])) or self._sample(kept)
            components += drawn.to_galsim([disk + bulge])
            moments = second_moments(drawn.profiles, drawn.rotation[0]) * (disk + bulge) / total
        if agn > 0:
            # as descwl does for its point sources
            components.append(galsim.Gaussian(flux=agn, sigma=1e-8))
        galaxy.profile = galsim.Add(components)
        galaxy.model = galaxy.get_transformed_model()
        galaxy.second_moments = self._descwl.sheared_second_moments(
            moments, galaxy.cosmic_shear_g1, galaxy.cosmic_shear_g2
        )
        if self.verbose_model:
            print(
                f"Generative galaxy id={galaxy.identifier} z={galaxy.redshift:.3f} {filter_band}="
                f"{ab_magnitude:.1f}: disk {disk:.3g}, bulge {bulge:.3g}, AGN {agn:.3g} electrons"
            )
        return galaxy

    def _kept(self, table: Table) -> tuple[Table, np.ndarray]:
        """Returns the rows without what is left out, and each part's share of the whole flux."""
        norms = np.stack([values(table, f"fluxnorm_{part}") for part in _PARTS], axis=1)
        out = [self.no_disk, self.no_bulge, self.no_agn]
        shares = np.where(out, 0.0, norms) / norms.sum(axis=1, keepdims=True)
        kept = table.copy()
        for index, part in enumerate(_PARTS):
            kept[f"fluxnorm_{part}"] = shares[:, index]
        left = shares.sum(axis=1)
        kept["i_ab"] = values(table, "i_ab") - 2.5 * np.log10(np.where(left > 0, left, 1.0))
        return kept, shares

    def _sample(self, kept: Table) -> Galaxies:
        """Returns the galaxies of some rows."""
        keys = [(int(identifier) % 2**63,) for identifier in kept["galtileid"]]
        return self._sampler.draw(self._sampler.from_catalog(kept), keys)


def second_moments(profile: LightProfiles, angle: float) -> np.ndarray:
    """Returns the unweighted second moments of one profile, turned by an angle.

    Args:
        profile: A single profile.
        angle: Angle from +x towards +y, radians.

    Returns:
        Symmetric matrix, arcsec^2, shape ``[2, 2]``.
    """
    image = profile.images[0].astype(np.float64)
    image /= image.sum()
    x = np.arange(len(image)) * profile.pixel_scale[0]
    along_x, along_y = image.sum(0), image.sum(1)
    mean_x, mean_y = along_x @ x, along_y @ x
    xx, yy = along_x @ x**2 - mean_x**2, along_y @ x**2 - mean_y**2
    xy = x @ image @ x - mean_x * mean_y
    c, s = math.cos(angle), math.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    return turn @ np.array([[xx, xy], [xy, yy]]) @ turn.T
