"""GalSim configuration types: input `generative_model` and object `GenerativeModelGalaxy`.

A galaxy of the configuration is a function of its conditions and of random numbers from its own
generator, so it is the same for any number of processes and any split into images and files. Only
for speed, the conditions of the objects that follow in the image are looked up ahead, on a copy of
the configuration, and the network draws them all together (`prefetch`). A galaxy that turns out
to be another one, as after a rejection, is drawn by itself.

The network runs in one process: with several, in the manager that GalSim keeps input objects in.
"""

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

from btk_generative.errors import ConfigError
from btk_generative.galsim_ext.model import (
    GenerativeGalaxyModel,
    flux,
    normals,
    table,
    to_galsim,
)

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

    def getKwargs(self, config, base, logger):
        """See `galsim.config.InputLoader`."""
        return GetAllParams(config, base, req={"file_name": str}, opt={"catalog": str})

    def setupImage(self, input_obj, config, base, logger):
        """Notes which objects the image has."""
        first = base.get("obj_num", 0)
        try:
            count = GetNObjForImage(CopyConfig(base), base.get("image_num", 0))
        except galsim.GalSimError:
            count = 1
        base[_RANGE] = range(first, first + count)
        base.pop(_DRAWN, None)


def build(config: dict, base: dict, ignore: list, gsparams: dict, logger):
    """Builds a `GenerativeModelGalaxy`; see `galsim.config.RegisterObjectType`."""
    number = config.get("num", 0)
    model = GetInputObj("generative_model", config, base, "GenerativeModelGalaxy")
    conditions, angle, agn, safe = _conditions(model, config, base, [*ignore, "num", "flux"])
    accuracy = galsim.GSParams(**gsparams) if gsparams else None
    (total,) = flux(table([conditions]))
    if total == 0:
        return galsim.DeltaFunction(flux=agn, gsparams=accuracy), safe
    rng = GetRNG(config, base, logger, "GenerativeModelGalaxy")
    normal = normals(rng, (model.random_size,))
    key = (number, repr(conditions), normal.tobytes())
    if _RECORD in base:
        base[_RECORD].append((key, conditions, normal))
        raise _Recorded
    drawn = prefetch(base, model, number)
    if key not in drawn:
        images, scale = model.draw([conditions], normal[None])
        drawn[key] = images[0], scale[0]
    galaxy = to_galsim(*drawn[key], total, accuracy)
    if angle:
        galaxy = galaxy.rotate(angle * galsim.radians)
    if agn:
        galaxy = galaxy + galsim.DeltaFunction(flux=agn, gsparams=accuracy)
    return galaxy, safe and model.random_size == 0


def prefetch(base: dict, model, number: int) -> dict:
    """Returns the galaxies of the current object's block, which it draws once.

    Args:
        base: The whole configuration.
        model: The input object.
        number: Its number, if there are several.

    Returns:
        Image and pixel scale by the key that `build` makes.
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
        images, scale = model.draw(list(conditions), np.stack(normal))
        drawn = dict(zip(keys, zip(images, scale, strict=True), strict=True))
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


def _conditions(model, config: dict, base: dict, ignore: list):
    """Returns conditions, position angle, AGN flux, and whether they are the same for all."""
    if model.nobjects:
        SetDefaultIndex(config, model.nobjects)
        given, safe = GetAllParams(config, base, req={"index": int}, ignore=ignore)
        conditions, angle, _, agn = model.row(given["index"])
        return conditions, angle, agn, safe
    from btk_generative.models.model import BULGE_ANGLE

    flags = [name for name in model.quantities if name.endswith("_present")]
    names = [name for name in model.quantities if name not in flags]
    given, safe = GetAllParams(config, base, opt=dict.fromkeys(names, float), ignore=ignore)
    absent = {part for part in model.components if not any(n.startswith(f"{part}_") for n in given)}
    needed = [n for n in names if n != BULGE_ANGLE and n.split("_")[0] not in absent]
    lacking = [n for n in needed if n not in given]
    if lacking:
        raise ConfigError(f"GenerativeModelGalaxy needs {lacking}: the model takes {names}")
    return {name: given.get(name) for name in names}, 0.0, 0.0, safe


RegisterInputType("generative_model", ModelLoader())
RegisterObjectType("GenerativeModelGalaxy", build, input_type="generative_model")
