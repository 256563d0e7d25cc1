"""A model that gives GalSim objects, with the interface of galsim_hub."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import galsim
import numpy as np

from btk_generative.errors import ConfigError
from btk_generative.inputs import component_of
from btk_generative.runs.processes import Lock
from btk_generative.simulators.galsim.conditions import flux, normals, table

if TYPE_CHECKING:
    from astropy.table import Table

    from btk_generative.galaxies import Galaxies
    from btk_generative.simulators.galsim.server import Server


class GenerativeGalaxyModel:
    """A generative model as a source of GalSim objects; takes the place of galsim_hub's.

    Example:
        >>> import btk_generative as bg
        >>> from astropy.table import Table
        >>> model = bg.GenerativeGalaxyModel("hub:Lanusse2020")     # doctest: +SKIP
        >>> catalog = Table({"flux_radius": [5.0, 10.0], "mag_auto": [24.0, 24.0],
        ...                  "zphot": [0.5, 0.5]})                  # doctest: +SKIP
        >>> galaxies = model.sample(catalog, rng=galsim.BaseDeviate(1))  # doctest: +SKIP
    """

    _req_params = {"file_name": str}  # noqa: RUF012  names that GalSim's driver looks up
    _opt_params = {"catalog": str, "out_of_domain": str}  # noqa: RUF012
    _single_params: list[dict[str, type]] = []  # noqa: RUF012
    _takes_rng = False

    def __init__(
        self,
        file_name: str = "default",
        catalog: str | None = None,
        out_of_domain: str = "clip",
    ):
        """Loads a model.

        Args:
            file_name: Name or path for `btk_generative.load_model`.
            catalog: File of a catalogue, for `row`.
            out_of_domain: What `draw` does with a galaxy that the model was not trained on; see
                `btk_generative.galaxies.GalaxySampler`.

        Raises:
            ModelError: If the model cannot be loaded.
            CatalogError: If the catalogue cannot be read.
            ConfigError: If ``out_of_domain`` is out of range.
        """
        from btk_generative.galaxies import GalaxySampler

        self._sampler = GalaxySampler(file_name, out_of_domain)
        model = self._sampler.model
        self.file_name, self.out_of_domain = file_name, out_of_domain
        self.stamp_size = model.stamp_size
        """Side of a profile's frame in pixels."""
        scale = model.card["pixel_scale"]
        self.pixel_size = None if scale == "output" else scale
        """Pixel scale in arcsec; None where it depends on the galaxy."""
        self.quantities = [given.name for given in model.inputs]
        """Names of the conditions."""
        known = {component_of(given.name) for given in model.inputs if given.missing is not None}
        self.components = sorted(part for part in known if part is not None)
        """Components that a galaxy may lack, such as bulge and disk."""
        self.random_size = model.random_size
        """Length of the random vector of a galaxy."""
        self.nobjects = 0
        """Number of rows of the catalogue."""
        self._lock = Lock()
        self._recent: dict[tuple[str, bytes], Galaxies] = {}
        self._server: Server | None = None
        if catalog is not None:
            self._read(catalog)

    def sample(
        self,
        cat: Table | np.ndarray,
        noise: galsim.BaseNoise | None = None,
        rng: galsim.BaseDeviate | None = None,
        x_interpolant: str | galsim.Interpolant | None = None,
        k_interpolant: str | galsim.Interpolant | None = None,
        pad_factor: float = 4,
        noise_pad_size: float = 0,
        gsparams: galsim.GSParams | None = None,
    ) -> list[galsim.InterpolatedImage]:
        """Draws a galaxy per row.

        The flux of a galaxy is the one that its conditions tell, in F814W counts (see `flux`). As
        in galsim_hub, a galaxy lies as the model draws it, and conditions outside the model's
        domain go to the model as they are.

        Args:
            cat: Table or record array with a column per quantity.
            noise: Noise with which to pad the images, as for `galsim.InterpolatedImage`.
            rng: Decides the galaxies (and the noise) fully; a new one from the system otherwise.
            x_interpolant: See `galsim.InterpolatedImage`.
            k_interpolant: See `galsim.InterpolatedImage`.
            pad_factor: See `galsim.InterpolatedImage`.
            noise_pad_size: See `galsim.InterpolatedImage`.
            gsparams: Accuracy settings.

        Returns:
            Objects, a list even for one row.

        Raises:
            ModelError: See `GenerativeModel.sample`.
        """
        from astropy.table import Table

        from btk_generative.models.graph import import_tensorflow
        from btk_generative.models.photons import ProfileImage

        import_tensorflow()  # first: in a forked process GalSim's own threads would hang
        cat = cat if isinstance(cat, Table) else Table(cat)
        rng = galsim.BaseDeviate() if rng is None else rng
        normal = normals(rng, (len(cat), self.random_size))
        profiles = self._sampler.model.sample(cat, random_normal=normal)
        return [
            ProfileImage(
                galsim.Image(image, scale=scale),
                x_interpolant=x_interpolant,
                k_interpolant=k_interpolant,
                normalization="flux",
                flux=total,
                pad_factor=pad_factor,
                noise_pad_size=noise_pad_size,
                noise_pad=0.0 if noise is None else noise,
                rng=rng,
                gsparams=gsparams,
            )
            for image, scale, total in zip(
                profiles.images, profiles.pixel_scale, flux(cat), strict=True
            )
        ]

    def row(self, index: int) -> tuple[dict[str, float | None], float, float, float]:
        """Returns a galaxy of the catalogue.

        Returns:
            Its conditions, None for those of a component that it lacks; position angle in
            radians; flux of bulge and disk, and of the AGN, in counts of the i magnitude.

        Raises:
            ConfigError: If there is no such row, or no catalogue.
        """
        if not 0 <= index < self.nobjects:
            raise ConfigError(
                f"index {index} is outside the catalogue of generative_model, which has "
                f"{self.nobjects} rows"
            )
        given = self._conditions[index]
        values = {
            name: None if given[name] is np.ma.masked else float(given[name])
            for name in self.quantities
        }
        galaxy, agn = self._flux[index]
        return values, float(self._angle[index]), float(galaxy), float(agn)

    def draw(self, conditions: list[dict], normal: np.ndarray) -> Galaxies:
        """Draws galaxies; what was drawn last is remembered, for other processes to have.

        Args:
            conditions: Conditions by name, per galaxy; None for a value that is missing.
            normal: Standard normal numbers, shape ``[n, random_size]``.

        Returns:
            Galaxies whose major axis lies along +x once they are turned by their ``rotation``.

        Raises:
            ModelError: See `GalaxySampler.from_conditions`.
        """
        key = (repr(conditions), normal.tobytes())
        with self._lock:
            if key not in self._recent:
                drawn = self._draw(conditions, normal)
                self._recent = dict([*self._recent.items()][-3:])
                self._recent[key] = drawn
            return self._recent[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_recent": {}, "_server": None}

    def _draw(self, conditions, normal):
        from btk_generative.models.graph import was_forked
        from btk_generative.simulators.galsim.server import Server

        candidates = self._sampler.from_conditions(table(conditions))
        if was_forked():
            if self._server is None or self._server.owner != os.getpid():
                self._server = Server()
            return self._server.draw(self.file_name, self.out_of_domain, conditions, normal)
        return self._sampler.draw(candidates, random_normal=normal)

    def _read(self, path: str) -> None:
        from btk_generative.catalogs import read_catalog
        from btk_generative.conditions import (
            ZERO_POINT_F814W,
            agn_share,
            check_catsim,
            from_catsim,
            position_angle,
        )

        catalog = read_catalog(path).table
        check_catsim(catalog)
        self.nobjects = len(catalog)
        self._conditions, self._angle = from_catsim(catalog), position_angle(catalog)
        total = 10 ** (-0.4 * (np.asarray(catalog["i_ab"], dtype=np.float64) - ZERO_POINT_F814W))
        share = agn_share(catalog)
        self._flux = np.stack([total * (1 - share), total * share], axis=1)
