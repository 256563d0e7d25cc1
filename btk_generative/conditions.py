"""From a catalogue's bulge and disk to the inputs of a generative model.

The catalogue is a table in the CatSim schema, as the Blending ToolKit and WeakLensingDeblending
read it. A table of conditions has a column per named input, with units. What a galaxy does not
have (the size of a bulge that is not there) is masked, and `bulge_present` and `disk_present` say
so: a zero flux never stands for a missing component.
"""

import difflib
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from astropy.table import Column, MaskedColumn, Table

from btk_generative import sersic
from btk_generative.catalogs.schema import COLUMNS
from btk_generative.catalogs.schema import values as _values
from btk_generative.errors import CatalogError, ModelError
from btk_generative.inputs import COMPONENTS, component_of, is_presence

if TYPE_CHECKING:
    from btk_generative.models.card import ModelInput

ZERO_POINT_F814W = 25.94
"""AB magnitude of one count in the GalSim COSMOS catalogue: mag = 25.94 - 2.5 log10 flux."""

_AXES = {"bulge": ("a_b", "b_b"), "disk": ("a_d", "b_d")}


def check_catsim(
    table: Table,
    bands: tuple[str, ...] = (),
    more: tuple[str, ...] = (),
    where: str | None = None,
) -> None:
    """Raises a `CatalogError` unless a galaxy can be drawn from every row.

    Args:
        table: A catalogue in the CatSim schema, or a truth table.
        bands: Bands whose magnitude, column ``{band}_ab``, is needed besides ``i_ab``.
        more: Further columns that are needed, of finite numbers.
        where: What the table is, for messages; the path of its file where not given.

    Raises:
        CatalogError: If a column is missing, the catalogue is empty, a unit cannot be converted, or
            a value is not finite, negative where it may not be, or gives an axis ratio outside
            (0, 1]. The message names the file where it is known, the column, the first such row (or
            blend and galaxy) and its value.
    """
    where = where or table.meta.get("path", "the catalogue")
    columns = [*COLUMNS, *(f"{band}_ab" for band in bands if band != "i"), *more]
    for name in columns:
        if name not in table.colnames:
            close = difflib.get_close_matches(name, table.colnames, n=1)
            hint = f"; rename '{close[0]}' if that is what it holds" if close else ""
            raise CatalogError(f"{where}: column '{name}' is missing{hint}")
        if table[name].dtype.kind not in "iuf" or table[name].ndim != 1:
            shape = "" if table[name].ndim == 1 else f" of shape {table[name].shape[1:]}"
            raise CatalogError(
                f"{where}: column '{name}' holds {table[name].dtype} values{shape}, where a galaxy"
                " has one real number; convert it"
            )
    if len(table) == 0:
        raise CatalogError(f"{where}: the catalogue is empty; give one with at least one galaxy")

    def reject(bad, name, what):
        if np.any(bad):
            row = int(np.argmax(bad))
            place = f"row {row}"
            if "blend_index" in table.colnames:
                place = "blend {blend_index}, galaxy {galaxy_index}".format(**dict(table[row]))
            raise CatalogError(
                f"{where}: column '{name}', {place}: value {table[name][row]} {what}"
                f" ({np.count_nonzero(bad)} such rows); correct or remove them"
            )

    flux = {part: _values(table, f"fluxnorm_{part}") for part in ("bulge", "disk", "agn")}
    for part, values in flux.items():
        reject(~np.isfinite(values), f"fluxnorm_{part}", "is not finite")
        reject(values < 0, f"fluxnorm_{part}", "is negative")
    reject(sum(flux.values()) == 0, "fluxnorm_disk", "and no bulge or AGN: the galaxy has no flux")
    for part, (major, minor) in _AXES.items():
        a, b, there = _values(table, major), _values(table, minor), flux[part] > 0
        for name, values in ((major, a), (minor, b), (f"pa_{part}", _values(table, f"pa_{part}"))):
            reject(there & ~np.isfinite(values), name, f"is not finite, but the {part} has flux")
        for name, values in ((major, a), (minor, b)):
            reject(there & (values <= 0), name, f"is not a size, but the {part} has flux")
        reject(
            there & (b > a * (1 + 1e-6)), minor, f"exceeds '{major}': an axis ratio must be <= 1"
        )
    for name in ("ra", "dec", "redshift", *columns[columns.index("i_ab") :]):
        reject(~np.isfinite(_values(table, name)), name, "is not finite")
    reject(_values(table, "redshift") < 0, "redshift", "is negative")


def from_catsim(table: Table) -> Table:
    """Returns the conditions of every galaxy of a CatSim table.

    Sizes are circularised half-light radii, sqrt(a b). ``i_ab`` stands for the F814W magnitude.
    ``mag_auto`` and ``flux_radius`` are those of bulge and disk together; the radius that
    SExtractor measures on COSMOS images is 0.056 arcsec above the half-light radius (within 2 %
    in the median between 0.07 and 0.4 arcsec, on the 81,499 fits of GalSim's COSMOS 25.2 sample).
    An AGN's light is left out of every flux: see `agn_share`.

    Args:
        table: Galaxies that pass `check_catsim`.

    Returns:
        Table with ``zphot``, ``bulge_hlr``, ``disk_hlr`` [arcsec], ``bulge_q``, ``disk_q``,
        ``bulge_flux``, ``disk_flux`` [F814W counts], ``mag_auto`` [mag], ``flux_radius`` [pixels
        of 0.03 arcsec], the booleans ``bulge_present`` and ``disk_present``, and ``bulge_angle``
        [deg], from the disk's major axis to the bulge's, in [-90, 90), 0 where either is missing.
        The other values of a component that is not there are masked; where neither is, so are size
        and magnitude.
    """
    counts = 10 ** (-0.4 * (_values(table, "i_ab") - ZERO_POINT_F814W))
    total = sum(_values(table, f"fluxnorm_{part}") for part in ("bulge", "disk", "agn"))
    conditions = Table()
    conditions["zphot"] = Column(_values(table, "redshift"))
    for part, (major, minor) in _AXES.items():
        flux = _values(table, f"fluxnorm_{part}")
        there = flux > 0
        a = np.where(there, _values(table, major), 1.0)
        b = np.where(there, _values(table, minor), 1.0)
        for name, values, unit in (
            (f"{part}_hlr", np.sqrt(a * b), u.arcsec),
            (f"{part}_q", np.minimum(b / a, 1.0), None),
            (f"{part}_flux", flux / total * counts, None),
        ):
            conditions[name] = MaskedColumn(values, mask=~there, unit=unit)
        conditions[f"{part}_present"] = there
    angle = _values(table, "pa_bulge") - _values(table, "pa_disk")
    conditions["bulge_angle"] = _bulge_angle(conditions, angle)
    flux = conditions["bulge_flux"].filled(0.0) + conditions["disk_flux"].filled(0.0)
    dark = flux == 0
    magnitude = ZERO_POINT_F814W - 2.5 * np.log10(np.where(dark, 1.0, flux))
    conditions["mag_auto"] = MaskedColumn(magnitude, mask=dark, unit=u.mag)
    radius = (half_light_radius(conditions) + 0.056) / 0.03
    conditions["flux_radius"] = MaskedColumn(radius, mask=dark, unit=u.pix)
    return conditions


def from_cosmos(records: np.ndarray) -> Table:
    """Returns the conditions of galaxies with the parametric fits of a GalSim COSMOS catalogue.

    Where the catalogue prefers its single Sersic fit (``use_bulgefit`` is 0, 72 % of the sample),
    the galaxy is a pure disk below n = 2.5 and a pure bulge above.

    Args:
        records: Rows with ``mag_auto flux_radius zphot sersicfit bulgefit use_bulgefit hlr flux``,
            a structured array or a table, length n.

    Returns:
        Table with the columns of `from_catsim`; ``mag_auto`` and ``flux_radius`` are SExtractor's.
    """
    single, double = np.asarray(records["sersicfit"]), np.asarray(records["bulgefit"])
    hlr, flux = np.asarray(records["hlr"]), np.asarray(records["flux"])
    two = np.asarray(records["use_bulgefit"]) == 1
    steep = single[:, 2] >= 2.5
    conditions = Table()
    conditions["zphot"] = Column(_values(records, "zphot"))
    for part, index, ratio, alone in (("bulge", 1, 11, steep), ("disk", 2, 3, ~steep)):
        there = np.where(two, flux[:, index], np.where(alone, flux[:, 0], 0)) > 0
        for name, pair, unit in (
            ("hlr", (hlr[:, index], hlr[:, 0]), u.arcsec),
            ("q", (double[:, ratio], single[:, 3]), None),
            ("flux", (flux[:, index], flux[:, 0]), None),
        ):
            values = np.where(two, *pair).astype(np.float64)
            conditions[f"{part}_{name}"] = MaskedColumn(values, mask=~there, unit=unit)
        conditions[f"{part}_present"] = there
    angle = np.rad2deg(double[:, 15] - double[:, 7], dtype=np.float64)
    conditions["bulge_angle"] = _bulge_angle(conditions, angle)
    conditions["mag_auto"] = MaskedColumn(_values(records, "mag_auto"), unit=u.mag)
    conditions["flux_radius"] = MaskedColumn(_values(records, "flux_radius"), unit=u.pix)
    return conditions


def _bulge_angle(conditions: Table, degrees: np.ndarray) -> Column:
    """Returns the angle between two axes, in [-90, 90) degrees, 0 where one is missing."""
    both = _data(conditions, "bulge_present") & _data(conditions, "disk_present")
    return Column((np.where(both, degrees, 0.0) + 90.0) % 180.0 - 90.0, unit=u.deg)


def agn_share(table: Table) -> np.ndarray:
    """Returns the share of the flux that comes from the AGN, a point source, shape ``[n]``."""
    agn = _values(table, "fluxnorm_agn")
    return agn / (agn + _values(table, "fluxnorm_bulge") + _values(table, "fluxnorm_disk"))


def position_angle(table: Table) -> np.ndarray:
    """Returns the angle from +x towards +y of the disk, or of the bulge where there is no disk.

    Returns:
        Angles in radians, shape ``[n]``; 0 where there is neither.
    """
    disk = _values(table, "fluxnorm_disk") > 0
    bulge = _values(table, "fluxnorm_bulge") > 0
    degrees = np.where(disk, _values(table, "pa_disk"), _values(table, "pa_bulge"))
    return np.deg2rad(np.where(disk | bulge, degrees, 0.0))


def fitted_position_angle(records: np.ndarray) -> np.ndarray:
    """Returns the angle from +x of the fitted disk, or of the bulge where there is no disk.

    Args:
        records: Rows of a GalSim COSMOS catalogue, as `from_cosmos` reads them, length n.

    Returns:
        Angles in radians, shape ``[n]``.
    """
    double, disk = np.asarray(records["bulgefit"]), np.asarray(records["flux"])[:, 2] > 0
    angle = np.where(disk, double[:, 7], double[:, 15])
    two = np.asarray(records["use_bulgefit"]) == 1
    return np.where(two, angle, np.asarray(records["sersicfit"])[:, 7])


def half_light_radius(conditions: Table, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
    """Returns the radius that holds half the light of bulge and disk together.

    Both are taken as circular, of the circularised size, with Sersic index 4 and 1.

    Args:
        conditions: Table with the sizes and fluxes of `from_catsim`.
        rows: Which of its rows, all where not given.

    Returns:
        Radii in the unit of ``disk_hlr``, shape ``[n]``; NaN where there is neither bulge nor disk.
    """
    radius, share = [], []
    for part in COMPONENTS:
        there = ~lacks(conditions, part)[rows]
        size, flux = (_data(conditions, f"{part}_{name}")[rows] for name in ("hlr", "flux"))
        radius.append(np.where(there, size, np.nan))
        share.append(np.where(there, flux, 0.0))
    bulge, disk = radius
    share = np.divide(share[0], share[0] + share[1], out=np.zeros(len(bulge)), where=bulge > 0)
    low, high = np.fmin(bulge, disk), np.fmax(bulge, disk)
    found = low.copy()
    mixed = np.flatnonzero(high > low)
    if len(mixed):
        parts = (bulge[mixed], share[mixed], 4), (disk[mixed], 1 - share[mixed], 1)
        found[mixed] = sersic.half_light_radius(parts)
    return found


def lacks(conditions: Table, component: str) -> np.ndarray:
    """Returns which galaxies lack a component, booleans of shape ``[n]``.

    A component is missing where one of its values is masked, its presence is given as false, or its
    flux is 0; or its size, if no flux is given.

    Args:
        conditions: Table with any of the columns of `from_catsim`.
        component: ``bulge`` or ``disk``.
    """
    missing = np.zeros(len(conditions), dtype=bool)
    known = {f"{component}_{name}": name for name in ("hlr", "q", "flux", "present")}
    told = {name: known[name] for name in known if name in conditions.colnames}
    by_flux = "flux" in told.values()
    for name, quantity in told.items():
        missing |= np.ma.getmaskarray(conditions[name])
        if quantity in ("flux", "present") or (quantity == "hlr" and not by_flux):
            missing |= _data(conditions, name) == 0
    return missing


def in_unit(column: Column, unit: str, name: str) -> np.ndarray:
    """Returns the values of a column of conditions in a unit, float64, masked ones as they stand.

    Args:
        column: A column; one without a unit is taken to be in this one.
        unit: Unit as astropy writes it.
        name: Name of the column, for the message.

    Raises:
        ModelError: If the column's unit does not convert.
    """
    values = np.ma.getdata(np.ma.asarray(column)).astype(np.float64)
    if column.unit and unit:
        try:
            return u.Unit(column.unit).to(u.Unit(unit), values)
        except u.UnitConversionError as error:
            raise ModelError(
                f"conditions: column '{name}' has unit '{column.unit}', which does not "
                f"convert to '{unit}'"
            ) from error
    return values


NEGLIGIBLE = 0.01
"""Share of the light below which `clip` leaves out a component that is too faint for a model."""


def clip(conditions: Table, inputs: "Iterable[ModelInput]") -> np.ndarray:
    """Moves conditions to the nearest ones inside a model's domain, in place.

    The shares of the light that bulge and disk have stay as they are. Their fluxes are moved by the
    same factor, which brings the brighter one into the domain; the fainter one may stay below it. A
    component with less than `NEGLIGIBLE` of the light that is fainter than the domain becomes a
    missing one, and its light the other's.

    A profile drawn from the clipped conditions keeps the size that the catalogue asks for when
    its pixel scale is multiplied by the result.

    Args:
        conditions: Table of `from_catsim`, which is changed.
        inputs: The model's inputs, with ``name``, ``unit``, ``minimum``, ``maximum`` and
            ``missing``.

    Returns:
        The ratio of the half-light radii before and after, shape ``[n]``.

    Raises:
        ModelError: If the unit of a column does not convert to that of the input.
    """
    ratio, changed, inside = np.ones(len(conditions)), np.zeros(len(conditions), dtype=bool), {}
    given = {i.name: i for i in inputs if i.name in conditions.colnames and not is_presence(i.name)}
    missing: dict[str | None, np.ndarray] = {p: lacks(conditions, p) for p in COMPONENTS}
    values = {name: in_unit(conditions[name], i.unit, name) for name, i in given.items()}
    fluxes = [f"{part}_flux" for part in COMPONENTS]
    both = set(fluxes) <= set(given)
    dropped = {part: np.zeros(len(conditions), dtype=bool) for part in COMPONENTS}
    if both:
        dropped = _negligible(values, given, missing)
    for name, i in given.items():
        known = ~missing.get(component_of(name), np.zeros(len(conditions), dtype=bool))
        inside[name] = np.where(known, np.clip(values[name], i.minimum, i.maximum), values[name])
    if both:
        inside |= _same_share(values, given, missing, dropped)
    for name in given:
        changed |= inside[name] != values[name]
    changed |= dropped["bulge"] | dropped["disk"]
    rows = np.flatnonzero(changed)
    if len(rows) == 0:
        return ratio
    before = _size(conditions, given, rows)
    for name, i in given.items():
        moved = inside[name] != values[name]
        _data(conditions, name)[moved] = _in_unit_of(conditions[name], i.unit, inside[name][moved])
    for part, gone in dropped.items():
        _take_out(conditions, part, gone)
    ratio[rows] = before / _size(conditions, given, rows)
    return np.where(np.isfinite(ratio), ratio, 1.0)


def _negligible(values: dict, given: dict, missing: dict) -> dict[str, np.ndarray]:
    """Returns where each component is too faint for the model, and for it to matter."""
    gone = {}
    both = ~missing["bulge"] & ~missing["disk"]
    total = values["bulge_flux"] + values["disk_flux"]
    for part in COMPONENTS:
        flux, name = values[f"{part}_flux"], f"{part}_flux"
        faint = (flux < given[name].minimum) & (flux < NEGLIGIBLE * total)
        gone[part] = both & faint & (given[name].missing is not None)
    return gone


def _same_share(values: dict, given: dict, missing: dict, dropped: dict) -> dict[str, np.ndarray]:
    """Returns the fluxes of both components inside the domain, with the shares that they had."""
    flux = {part: np.where(missing[part], 0.0, values[f"{part}_flux"]) for part in COMPONENTS}
    total = flux["bulge"] + flux["disk"]
    brighter = np.where(flux["bulge"] > flux["disk"], "bulge", "disk")
    factor = np.ones(len(total))
    for part in COMPONENTS:
        i = given[f"{part}_flux"]
        rows = (brighter == part) & ~missing[part]
        # what is dropped joins the other
        light = np.where(dropped["bulge"] | dropped["disk"], total, flux[part])[rows]
        factor[rows] = np.clip(light, i.minimum, i.maximum) / light
    result = {}
    for part, other in zip(COMPONENTS, COMPONENTS[::-1], strict=True):
        joined = np.where(dropped[other], total, flux[part])
        name = f"{part}_flux"
        result[name] = np.where(missing[part] | dropped[part], values[name], joined * factor)
    return result


def _take_out(conditions: Table, component: str, rows: np.ndarray) -> None:
    """Makes a component a missing one in some rows, in place."""
    if not rows.any():
        return
    for name in conditions.colnames:
        if is_presence(name) and component_of(name) == component:
            _data(conditions, name)[rows] = 0
        elif component_of(name) == component:
            if not isinstance(conditions[name], MaskedColumn):
                conditions[name] = MaskedColumn(conditions[name])
            conditions[name].mask[rows] = True
        elif name == "bulge_angle":
            _data(conditions, name)[rows] = 0


def _in_unit_of(column: Column, unit: str, values: np.ndarray) -> np.ndarray:
    """Returns values in a unit as those of a column, the inverse of `in_unit`."""
    return u.Unit(unit).to(u.Unit(column.unit), values) if column.unit and unit else values


def _size(conditions: Table, inputs: Container[str], rows: slice | np.ndarray) -> np.ndarray:
    """Returns the radii of some rows, by which a model with such inputs is told the size."""
    if "bulge_hlr" in inputs:
        return half_light_radius(conditions, rows)
    return np.ma.filled(conditions["flux_radius"], 1.0)[rows]


def _data(table: Table, name: str) -> np.ndarray:
    """Returns a view of a column's values, masked ones as they stand."""
    return np.ma.getdata(table[name], subok=False)
