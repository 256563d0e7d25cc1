"""GalSim configuration types: input `generative_model` and object `GenerativeModelGalaxy`.

A galaxy of the configuration is a function of its conditions and of random numbers from its own
generator, so it is the same for any number of processes and any split into images and files. Only
for speed, the conditions of the objects that follow in the image are looked up ahead, on a copy of
the configuration, and the network draws them all together (`prefetch`). A galaxy that turns out
to be another one, as after a rejection, is drawn by itself.

The network runs in one process: with several, in the manager that GalSim keeps input objects in.
"""

from typing import Any

import galsim
import numpy as np
from galsim.config import (
    CopyConfig,
    GetAllParams,
    GetInputObj,
    GetNObjForImage,
    GetRNG,
    InputLoader,
    RegisterInputType,
    RegisterObjectType,
    SetDefaultIndex,
    SetupConfigObjNum,
    UpdateGSParams,
)
from galsim.config.stamp import stamp_ignore, valid_stamp_types
from galsim.config.util import LoggerWrapper

from btk_generative.errors import ConfigError, ModelError
from btk_generative.galaxies import bulge_and_disk
from btk_generative.inputs import INPUTS, component_of, is_presence
from btk_generative.simulators.galsim.conditions import flux, normals, table
from btk_generative.simulators.galsim.model import GenerativeGalaxyModel

BLOCK = 256
"""Galaxies drawn together."""

_RECORD = "_generative_record"
_RANGE = "_generative_range"
_DRAWN = "_generative_drawn"


class _Recorded(BaseException):
    """Ends the look ahead at an object. It passes GalSim's handling of failures."""


class ModelLoader(InputLoader):
    """Loads a model once, for all files and processes."""

    def __init__(self):
        super().__init__(GenerativeGalaxyModel)

    def getKwargs(self, config: dict, base: dict, logger: Any) -> tuple[dict, bool]:
        """See `galsim.config.InputLoader`."""
        optional = {"catalog": str, "out_of_domain": str}
        return GetAllParams(config, base, req={"file_name": str}, opt=optional)

    def setupImage(
        self, input_obj: GenerativeGalaxyModel, config: dict, base: dict, logger: Any
    ) -> None:
        """Notes which objects the image has."""
        first = base.get("obj_num", 0)
        try:
            count = GetNObjForImage(CopyConfig(base), base.get("image_num", 0))
        except galsim.GalSimError:
            count = 1
        base[_RANGE] = range(first, first + count)
        base.pop(_DRAWN, None)


def build(
    config: dict, base: dict, ignore: list, gsparams: dict, logger: Any
) -> tuple[galsim.GSObject, bool]:
    """Builds a `GenerativeModelGalaxy`; see `galsim.config.RegisterObjectType`."""
    number = config.get("num", 0)
    model = GetInputObj("generative_model", config, base, "GenerativeModelGalaxy")
    conditions, angle, agn, safe = _conditions(model, config, base, [*ignore, "num", "flux"])
    accuracy = galsim.GSParams(**gsparams) if gsparams else None
    (total,) = flux(table([conditions]))
    if total == 0 and agn:
        return galsim.DeltaFunction(flux=agn, gsparams=accuracy), safe
    rng = GetRNG(config, base, logger, "GenerativeModelGalaxy")
    normal = normals(rng, (model.random_size,))
    key = (number, repr(conditions), normal.tobytes())
    if _RECORD in base:
        base[_RECORD].append((key, conditions, normal))
        raise _Recorded
    drawn = prefetch(base, model, number)
    if key not in drawn:
        drawn[key] = model.draw([conditions], normal[None])
    if drawn[key].parametric[0]:
        galaxy = bulge_and_disk(conditions, total, accuracy)
    else:
        (galaxy,) = drawn[key].to_galsim([total], accuracy)
    if angle:
        galaxy = galaxy.rotate(angle * galsim.radians)
    if agn:
        galaxy = galaxy + galsim.DeltaFunction(flux=agn, gsparams=accuracy)
    return galaxy, safe and model.random_size == 0


def prefetch(base: dict, model: Any, number: int) -> dict:
    """Returns the galaxies of the current object's block, which it draws once.

    Args:
        base: The whole configuration.
        model: The input object.
        number: Its number, if there are several.

    Returns:
        One galaxy each by the key that `build` makes.
    """
    objects, current = base.get(_RANGE, range(0)), base.get("obj_num", 0)
    start = objects.index(current) // BLOCK * BLOCK if current in objects else -1
    known, drawn = base.get(_DRAWN, {}).get(number, (None, None))
    if known == start:
        return drawn
    copy = CopyConfig(base)
    copy[_RECORD] = []
    for obj_num in objects[start : start + BLOCK] if start >= 0 and len(objects) > 1 else ():
        _look_ahead(copy, obj_num)
    drawn = {}
    record = [entry for entry in copy[_RECORD] if entry[0][0] == number]
    if record:
        keys, conditions, normal = zip(*record, strict=True)
        try:
            galaxies = model.draw(list(conditions), np.stack(normal))
            drawn = {key: galaxies[row : row + 1] for row, key in enumerate(keys)}
        except ModelError:  # the object that is at fault will say so, when its turn comes
            pass
    base.setdefault(_DRAWN, {})[number] = start, drawn
    return drawn


def _look_ahead(config: dict, obj_num: int) -> None:
    """Goes the way of `galsim.config.BuildStamp` to the galaxy's profile, drawing nothing."""
    try:
        SetupConfigObjNum(config, obj_num)
        stamp = config["stamp"]
        builder = valid_stamp_types[stamp["type"]]
        if builder.quickSkip(stamp, config):
            return
        logger = LoggerWrapper(None)
        builder.setupRNG(stamp, config, logger)
        size = config.get("stamp_xsize", 0), config.get("stamp_ysize", 0)
        place = builder.setup(stamp, config, *size, stamp_ignore, logger)
        builder.locateStamp(stamp, config, *place, logger)
        gsparams = UpdateGSParams({}, stamp["gsparams"], config) if "gsparams" in stamp else {}
        if not builder.getSkip(stamp, config, logger):
            psf = builder.buildPSF(stamp, config, gsparams, logger)
            builder.buildProfile(stamp, config, psf, gsparams, logger)
    except _Recorded:
        pass
    except Exception:  # the object itself will say so, when its turn comes
        pass


def _conditions(
    model: Any, config: dict, base: dict, ignore: list
) -> tuple[dict, float, float, bool]:
    """Returns conditions, position angle, AGN flux, and whether they are the same for all."""
    if model.nobjects:
        SetDefaultIndex(config, model.nobjects)
        given, safe = GetAllParams(config, base, req={"index": int}, ignore=ignore)
        conditions, angle, _, agn = model.row(given["index"])
        return conditions, angle, agn, safe
    names = [name for name in model.quantities if not is_presence(name)]
    given, safe = GetAllParams(config, base, opt=dict.fromkeys(names, float), ignore=ignore)
    absent = set(model.components) - {component_of(name) for name in given}
    lacking = [n for n in names if n not in given and component_of(n) not in absent]
    lacking = [n for n in lacking if n not in INPUTS or INPUTS[n].otherwise is None]
    if lacking:
        raise ConfigError(f"GenerativeModelGalaxy needs {lacking}: the model takes {names}")
    known = {name: given.get(name) for name in names if name in given or component_of(name)}
    return known, 0.0, 0.0, safe


RegisterInputType("generative_model", ModelLoader())
RegisterObjectType("GenerativeModelGalaxy", build, input_type="generative_model")
