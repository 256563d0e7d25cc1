"""One generative galaxy as a GalSim object."""

import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import galsim
import numpy as np

from btk_generative.errors import ConfigError, suggest
from btk_generative.inputs import INPUTS
from btk_generative.simulators.galsim.conditions import flux as flux_of
from btk_generative.simulators.galsim.conditions import normals, table


class GenerativeGalaxy(galsim.GSObject):
    """A galaxy of a generative model, decided by conditions and random numbers.

    Its major axis lies along +x. Of conditions outside the model's domain it has the size, the axis
    ratio that the model knows nearest to it, and the shares of bulge and disk (see
    `btk_generative.conditions.clip`).

    It has GalSim's habits: it is immutable, can be hashed, copied, pickled and rebuilt from its
    repr, and draws like any other object. The network runs when the profile is first needed; to
    make many galaxies, `GenerativeGalaxyModel.sample` runs it for all of them together.

    Example:
        >>> import btk_generative as bg
        >>> disk = {"zphot": 0.8, "disk_hlr": 0.6, "disk_q": 0.5, "disk_flux": 40.0}
        >>> bulge = {"bulge_hlr": None, "bulge_q": None, "bulge_flux": None}
        >>> bg.GenerativeGalaxy({**disk, **bulge}, rng=7).flux
        40.0
    """

    _has_hard_edges = False
    _is_axisymmetric = False
    _is_analytic_x = True
    _is_analytic_k = True

    def __init__(
        self,
        conditions: dict,
        model: str | os.PathLike = "default",
        rng: int | galsim.BaseDeviate | None = None,
        flux: float | None = None,
        gsparams: galsim.GSParams | None = None,
        *,
        random_normal: Sequence[float] | np.ndarray | None = None,
    ) -> None:
        """Initialises the galaxy.

        Args:
            conditions: Value by name for every input of the model (``*_present`` may be left
                out); None for what a missing component does not have.
            model: Name or path for `load_model`.
            rng: Seed or GalSim generator of the random numbers.
            flux: Flux, by default what the conditions tell, in F814W counts.
            gsparams: Accuracy settings.
            random_normal: The model's standard normal numbers, instead of ``rng``.

        Raises:
            ModelError: If the model cannot be loaded, a condition is missing, or it is one that no
                galaxy has.
            ConfigError: If neither ``rng`` nor ``random_normal`` is given, or a condition is
                misspelt.
        """
        self._conditions = {
            str(name): None if value is None else float(value)
            for name, value in sorted(dict(conditions).items())
        }
        self._model = os.fspath(model)
        loaded = self._load()
        known = {*INPUTS, *(given.name for given in loaded.inputs)}
        for name in self._conditions:
            if name not in known:
                raise ConfigError(f"conditions: there is no input '{name}'{suggest(name, known)}")
        loaded.encode(table([self._conditions]))
        size = loaded.random_size
        if random_normal is None:
            if rng is None:
                raise ConfigError("GenerativeGalaxy needs rng, a seed or generator")
            random_normal = normals(galsim.BaseDeviate(rng), (size,))
        if len(random_normal) != size:
            raise ConfigError(f"random_normal must have {size} numbers, not {len(random_normal)}")
        self._random_normal = tuple(map(float, random_normal))
        (told,) = flux_of(table([self._conditions]))
        self._flux = float(told if flux is None else flux)
        self._gsparams = galsim.GSParams.check(gsparams)

    def _load(self):
        from btk_generative.models import load_model

        return load_model(self._model)

    @property
    def conditions(self) -> dict[str, float | None]:
        """The conditions."""
        return dict(self._conditions)

    @cached_property
    def _profile(self) -> galsim.GSObject:
        from btk_generative.galaxies import GalaxySampler

        sampler = GalaxySampler(self._load())
        candidates = sampler.from_conditions(table([self._conditions]))
        drawn = sampler.draw(candidates, random_normal=np.array([self._random_normal]))
        return drawn.to_galsim([self._flux], self._gsparams)[0]

    @property
    def _sbp(self):
        return self._profile._sbp

    _maxk = property(lambda self: self._profile._maxk)
    _stepk = property(lambda self: self._profile._stepk)
    _centroid = property(lambda self: self._profile._centroid)
    _positive_flux = property(lambda self: self._profile._positive_flux)
    _negative_flux = property(lambda self: self._profile._negative_flux)
    _max_sb = property(lambda self: self._profile._max_sb)
    _flux_per_photon = property(lambda self: self._profile._flux_per_photon)

    def _xValue(self, pos):
        return self._profile._xValue(pos)

    def _kValue(self, kpos):
        return self._profile._kValue(kpos)

    def _drawReal(self, image, jac=None, offset=(0.0, 0.0), flux_scaling=1.0):
        self._profile._drawReal(image, jac, offset, flux_scaling)

    def _drawKImage(self, image, jac=None):
        self._profile._drawKImage(image, jac)

    def _shoot(self, photons, rng):
        self._profile._shoot(photons, rng)

    def withFlux(self, flux: float) -> "GenerativeGalaxy":
        """Returns the same galaxy with another flux."""
        return self._changed(flux=float(flux))

    def withGSParams(
        self, gsparams: galsim.GSParams | None = None, **kwargs: Any
    ) -> "GenerativeGalaxy":
        """Returns the same galaxy with other accuracy settings."""
        gsparams = galsim.GSParams.check(gsparams, self.gsparams, **kwargs)
        return self if gsparams == self.gsparams else self._changed(gsparams=gsparams)

    def _changed(self, **changes: Any) -> "GenerativeGalaxy":
        given = {"flux": self._flux, "gsparams": self._gsparams} | changes
        return GenerativeGalaxy(
            self._conditions, self._model, random_normal=self._random_normal, **given
        )

    def _key(self):
        return (
            "GenerativeGalaxy",
            tuple(self._conditions.items()),
            self._model,
            self._random_normal,
            self._flux,
            self._gsparams,
        )

    def __eq__(self, other):
        return isinstance(other, GenerativeGalaxy) and self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def __repr__(self):
        return (
            f"btk_generative.GenerativeGalaxy({self._conditions!r}, model={self._model!r}, "
            f"flux={self._flux!r}, gsparams={self._gsparams!r}, "
            f"random_normal={self._random_normal!r})"
        )

    def __str__(self):
        return f"btk_generative.GenerativeGalaxy({self._conditions!r}, model={self._model!r})"

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_profile"}

    def __setstate__(self, state):
        self.__dict__.update(state)
