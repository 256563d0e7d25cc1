"""Catalogues with units, masks and foreign columns: what is taken in, and what is written."""

import logging
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import astropy.units as u
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.time import Time
from btk.blend_batch import BlendBatch
from btk.survey import get_surveys
from hypothesis import given, settings
from hypothesis import strategies as st

from btk_generative.catalogs import mock_catsim, read_catalog
from btk_generative.catalogs.schema import COLUMNS, RESERVED, usable
from btk_generative.conditions import check_catsim, from_catsim, position_angle
from btk_generative.datasets import shardfile
from btk_generative.draw.batch import SurveyBatch
from btk_generative.draw.truth import truth_of, write_parquet
from btk_generative.errors import CatalogError

OURS = {
    **dict.fromkeys(("a_b", "b_b", "a_d", "b_d"), u.arcsec),
    **dict.fromkeys(("pa_bulge", "pa_disk", "ra", "dec"), u.deg),
    **dict.fromkeys(("i_ab", "r_ab"), u.ABmag),
    "redshift": u.dimensionless_unscaled,
}
ANGLES = (u.arcsec, u.deg, u.rad, u.mas, u.hourangle)
THEIRS = {
    u.arcsec: ANGLES,
    u.deg: ANGLES,
    u.ABmag: (u.ABmag, u.nJy, u.Jy, u.Unit("erg / (s cm2 Hz)")),
    u.dimensionless_unscaled: (u.percent, u.dimensionless_unscaled),
}
FLUXES = (u.nJy, u.Jy, u.Unit("1e-20 W / m2"))


@pytest.fixture(scope="module")
def mock():
    return mock_catsim(40, seed=0).table


def in_units(table, units):
    """Returns a table that says the same in other units."""
    table = table.copy()
    for name, unit in units.items():
        ours = OURS.get(name, u.nJy)
        table[name] = Column(ours.to(unit, np.asarray(table[name])), unit=unit)
    return table


def close(one, other):
    for name in other.colnames:
        np.testing.assert_allclose(
            np.ma.filled(one[name], 0), np.ma.filled(other[name], 0), rtol=1e-9, atol=1e-12
        )


class TestUnits:
    @settings(max_examples=15, deadline=None)
    @given(
        st.fixed_dictionaries(
            {},
            optional={name: st.sampled_from(THEIRS[unit]) for name, unit in OURS.items()}
            | {name: st.sampled_from((u.nJy, u.uJy)) for name in COLUMNS if "fluxnorm" in name},
        ),
        st.sampled_from([Table, QTable]),
    )
    def test_a_galaxy_is_the_same_in_any_unit(self, mock, units, kind):
        # the fluxes of the components are relative to each other: all or none name a unit
        if any("fluxnorm" in name for name in units):
            units |= {name: units.get(name, u.nJy) for name in COLUMNS if "fluxnorm" in name}
        table = kind(in_units(mock, units))
        taken = usable(table)
        assert type(taken) is Table
        check_catsim(taken, ("r",))
        for same in (taken, table):
            close(from_catsim(same), from_catsim(mock))
            np.testing.assert_allclose(position_angle(same), position_angle(mock), rtol=1e-9)
        for name in OURS:
            np.testing.assert_allclose(taken[name], mock[name], rtol=1e-9)
            assert type(taken[name]) is Column

    def test_without_units_nothing_is_copied_or_changed(self, mock):
        taken = usable(mock)
        assert taken.colnames == mock.colnames
        assert taken.meta == mock.meta
        for name in mock.colnames:
            assert np.shares_memory(taken[name], mock[name])
            assert taken[name].dtype == mock[name].dtype

    @pytest.mark.parametrize(
        ("column", "unit"),
        [("a_b", "pix"), ("a_d", "arcseconds"), ("pa_disk", "m"), ("i_ab", "ct"),
         ("redshift", "km / s"), ("fluxnorm_agn", "s"), ("i_ab", "mag(ST)")],
    )  # fmt: skip
    @pytest.mark.parametrize("suffix", ["memory", "fits", "parquet"])
    def test_a_unit_that_cannot_be_converted_is_named(self, mock, tmp_path, column, unit, suffix):
        table = mock.copy()
        table[column].unit = u.Unit(unit, parse_strict="silent")
        table["fluxnorm_bulge"].unit = "nJy"
        table.meta["path"] = "a.memory"
        if suffix == "fits" and unit in ("mag(ST)", "arcseconds"):
            pytest.skip("FITS has no such unit")
        if suffix != "memory":
            table.write(tmp_path / f"a.{suffix}")
        with pytest.raises(CatalogError, match=rf"a\.{suffix}: column '{column}' is in '") as error:
            usable(table) if suffix == "memory" else read_catalog(tmp_path / f"a.{suffix}")
        assert f"'{unit}'" in str(error.value)

    @pytest.mark.parametrize("suffix", ["fits", "parquet", "rubin.parquet"])
    def test_files(self, mock, tmp_path, suffix):
        units = {"a_d": u.deg, "b_d": u.mas, "pa_disk": u.rad, "ra": u.rad, "i_ab": u.nJy}
        table = in_units(mock, units)
        path = tmp_path / f"a.{suffix}"
        if suffix == "rubin.parquet":
            fields = [
                pyarrow.field(
                    name, pyarrow.from_numpy_dtype(table[name].dtype),
                    metadata={"unit": str(units[name])} if name in units else None,
                )
                for name in table.colnames
            ]  # fmt: skip
            columns = [np.asarray(table[name]) for name in table.colnames]
            pyarrow.parquet.write_table(pyarrow.table(columns, pyarrow.schema(fields)), path)
        else:
            table.write(path)
        close(read_catalog(path).table, mock)
        limits = {
            "max_mag": float(np.median(mock["i_ab"])),
            "region": (mock["ra"].min() - 1, np.median(mock["ra"]), -90, 90),
        }
        wanted = mock[(mock["i_ab"] < limits["max_mag"]) & (mock["ra"] < limits["region"][1])]
        assert len(wanted) > 5
        close(read_catalog(path, **limits).table, wanted)

    def test_a_limit_in_a_unit_that_cannot_be_converted(self, mock, tmp_path):
        table = mock.copy()
        table["ra"].unit = "m"
        table.write(tmp_path / "a.fits")
        with pytest.raises(CatalogError, match=r"a\.fits: column 'ra' is in 'm'"):
            read_catalog(tmp_path / "a.fits", region=(0, 1, 0, 1))

    def test_a_band_that_is_not_drawn_may_have_any(self, mock):
        table = mock.copy()
        table["scale_ab"] = Column(np.ones(len(table)), unit="arcsec")
        table["u_ab"].unit = "m"
        taken = usable(table)
        assert taken["scale_ab"].unit == u.arcsec
        check_catsim(taken, ("r", "i"))
        with pytest.raises(CatalogError, match="column 'u_ab' is in 'm'"):
            check_catsim(taken, ("u",))

    def test_what_is_converted_is_logged(self, mock, caplog):
        caplog.set_level(logging.INFO)
        usable(in_units(mock, {"a_d": u.deg}))
        assert "column 'a_d' is converted from deg to arcsec" in caplog.text

    def test_cosmodc2_names(self, tmp_path):
        from test_catalogs_formats import cosmodc2_table

        table = cosmodc2_table()
        table.write(tmp_path / "a.fits")
        for name, unit in {"size_disk_true": "deg", "position_angle_true": "rad"}.items():
            ours = u.arcsec if "size" in name else u.deg
            table[name] = Column(ours.to(unit, np.asarray(table[name], float)), unit=unit)
        table.write(tmp_path / "b.fits")
        one, other = (read_catalog(tmp_path / f"{name}.fits").table for name in "ba")
        for name in other.colnames:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-6, atol=1e-4)


class TestValues:
    @pytest.mark.parametrize(
        "values",
        [["x"] * 40, [""] * 40, np.ones((40, 3)), np.ones(40, complex), [None] * 39 + [{}],
         Time(np.full(40, 5e4), format="mjd")],
    )  # fmt: skip
    def test_a_needed_column_without_numbers_is_named(self, mock, values):
        table = mock.copy()
        table["redshift"] = values
        with pytest.raises(CatalogError, match=r"column 'redshift' holds .*, not a number a row"):
            usable(table)

    def test_numbers_as_text_or_objects_are_numbers(self, mock):
        table = mock.copy()
        table["redshift"] = [repr(float(z)) for z in mock["redshift"]]
        table["a_d"] = np.array(list(mock["a_d"]), dtype=object)
        close(usable(table), mock)

    def test_what_is_masked_is_missing_and_not_zero(self, tmp_path):
        from test_catalogs_formats import cosmodc2_table

        raw = cosmodc2_table()
        columns = {name: np.asarray(raw[name]) for name in raw.colnames}
        missing = np.arange(len(raw)) == 7
        columns["redshift"] = pyarrow.array(columns["redshift"], mask=missing)
        columns["galaxy_id"] = pyarrow.array(columns["galaxy_id"], mask=missing)
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
        table = read_catalog(tmp_path / "a.parquet").table
        with pytest.raises(CatalogError, match="column 'redshift', row 7: value nan"):
            check_catsim(table)

    @pytest.mark.parametrize("name", RESERVED)
    @pytest.mark.parametrize("suffix", ["memory", "fits", "parquet"])
    def test_a_name_that_is_taken_is_refused(self, mock, tmp_path, name, suffix):
        table = mock.copy()
        table[name] = 1
        path = tmp_path / f"a.{suffix}"
        if suffix != "memory":
            table.write(path)
        with pytest.raises(CatalogError, match=rf"column '{name}' of their own; rename"):
            usable(table) if suffix == "memory" else read_catalog(path)


MISSING = np.arange(40) % 4 == 1


def foreign_columns():
    """Columns of every kind that a truth table holds."""
    return {
        "text": [f"sed/{k}.dat" for k in range(40)],
        "accents": ["Messier", "Méchain", "Ångström", "é" * 9] * 10,
        "flag": np.arange(40) % 2 == 0,
        "vector": np.arange(120.0).reshape(40, 3),
        "number": np.arange(40, dtype=np.int64) + 2**60,
        "specz": MaskedColumn(np.where(MISSING, -99.0, 0.5), mask=MISSING, description="measured"),
        "ident": MaskedColumn(np.arange(40) + 2**60, mask=MISSING),
        "label": MaskedColumn(["abc"] * 40, mask=MISSING),
        "seen": MaskedColumn(np.ones(40, bool), mask=MISSING),
        "mass": MaskedColumn(np.ones(40), mask=MISSING, unit="Msun"),
        "nothing_missing": MaskedColumn(np.ones(40), mask=False),
        "shape": MaskedColumn(np.ones((40, 2)), mask=np.stack([MISSING, ~MISSING], axis=1)),
        "objects": np.array([None if m else "x" for m in MISSING], dtype=object),
    }


def lost_columns():
    """Columns that no truth table holds."""
    return {
        "where": SkyCoord(np.arange(40.0), np.arange(40.0), unit="deg"),
        "when": Time(np.full(40, 5e4), format="mjd"),
        "date": np.full(40, "2020-01-01", dtype="datetime64[ms]"),
        "complex": np.ones(40, complex),
        "nothing": np.full(40, None),
        "mixed": np.array([1, "a"] * 20, dtype=object),
        "cube": np.ones((40, 2, 2)),
        "words": np.full((40, 2), "a"),
        "long": np.ones(40, np.longdouble),
        "record": np.zeros(40, dtype=[("a", float), ("b", int)]),
    }


class TestForeignColumns:
    def test_are_kept_with_masks_units_and_descriptions(self, mock):
        table = Table(mock, copy=True)
        for name, values in foreign_columns().items():
            table[name] = values
        taken = usable(table)
        assert taken.colnames == table.colnames
        for name in set(foreign_columns()) - {"objects"}:
            assert taken[name].unit == table[name].unit
            assert taken[name].description == table[name].description
            same(taken[name], table[name])
        assert taken["objects"].mask.tolist() == MISSING.tolist()
        assert set(taken["objects"].compressed()) == {"x"}
        assert type(taken["nothing_missing"]) is Column

    def test_others_are_left_out_and_named_once(self, mock, caplog):
        table = Table(mock, copy=True)
        for name, values in lost_columns().items():
            table[name] = values
        taken = usable(table)
        assert taken.colnames == mock.colnames
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert "mock_catsim(40" in record.message
        for name in lost_columns():
            assert f" {name}," in record.message + ","

    def test_a_column_with_the_name_of_a_mask(self, mock):
        table = mock.copy()
        table["specz"], table["specz.mask"] = foreign_columns()["specz"], 1
        with pytest.raises(CatalogError, match=r"'specz\.mask'.*rename"):
            usable(table)

    @pytest.mark.parametrize("suffix", ["fits", "parquet"])
    def test_of_files_are_those_of_memory(self, mock, tmp_path, suffix):
        columns = foreign_columns()
        for name in ("objects", "accents", "seen", "shape", "label"):
            del columns[name]  # which astropy does not write to both
        table = Table(mock, copy=True)
        for name, values in columns.items():
            table[name] = values
        table.write(tmp_path / f"a.{suffix}")
        read = read_catalog(tmp_path / f"a.{suffix}").table
        for name in columns:
            if not (suffix == "fits" and name in ("specz", "mass")):  # where they are NaN
                same(read[name], usable(table)[name])
        assert read["mass"].unit == u.Msun
        assert -99 not in np.ma.filled(read["specz"], 0)

    def test_of_pandas_files(self, mock, tmp_path):
        import pandas as pd

        frame = mock.to_pandas()
        frame["text"] = [None if m else "x" for m in MISSING]
        frame["kind"] = pd.Categorical(["a", "b"] * 20)
        frame["flag"] = pd.array([None if m else True for m in MISSING], dtype="boolean")
        frame["ident"] = pd.array([None if m else 2**60 + 1 for m in MISSING], dtype="Int64")
        frame["pair"] = [[1.0, 2.0]] * 40
        frame["list"] = [[1.0] * (1 + k % 2) for k in range(40)]
        frame["holes"] = [None if m else [1.0] for m in MISSING]
        frame["dict"] = [{"a": 1}] * 40
        frame["date"] = pd.Timestamp("2020-01-01")
        frame["none"] = None
        frame.to_parquet(tmp_path / "a.parquet")
        table = read_catalog(tmp_path / "a.parquet").table
        assert set(table.colnames) - set(mock.colnames) == {"text", "kind", "flag", "ident", "pair"}
        for name, value in {"text": "x", "flag": True, "ident": 2**60 + 1}.items():
            assert table[name].mask.tolist() == MISSING.tolist()
            assert set(table[name].compressed()) == {value}
        assert list(table["kind"][:2]) == ["a", "b"]
        assert table["pair"].shape == (40, 2)


def same(one, other):
    """Asserts that two columns have the same values where they are not masked."""
    mask = np.ma.getmaskarray(np.ma.asarray(other))
    np.testing.assert_array_equal(np.ma.getmaskarray(np.ma.asarray(one)), mask)
    one, other = (np.ma.getdata(column, subok=False)[~mask] for column in (one, other))
    if one.dtype.kind == "S" != other.dtype.kind:
        one = np.char.decode(one, "utf-8")
    np.testing.assert_array_equal(one, other)


def batch(tables):
    """Returns a batch of blank images with these truth tables."""
    lsst, n = get_surveys("LSST"), len(tables)
    images = np.zeros((n, 5, 6, 4, 4))
    psf = [lsst.get_filter(band).psf for band in lsst.available_filters]
    return SurveyBatch(n, 5, 0.8, lsst, images.sum(axis=1), images, tables, psf)


text = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=5)
kinds = {
    "f8": st.floats(allow_nan=False, width=32), "f4": st.floats(allow_nan=False, width=32),
    "i8": st.integers(-(2**63), 2**63 - 1), "u1": st.integers(0, 255), "?": st.booleans(),
    "U": text,
}  # fmt: skip


@st.composite
def column(draw, length):
    kind = draw(st.sampled_from(sorted(kinds)))
    shape = (length, 2) if kind != "U" and draw(st.booleans()) else (length,)
    count = int(np.prod(shape))
    values = draw(st.lists(kinds[kind], min_size=count, max_size=count))
    values = np.array(values, dtype=kind).reshape(shape)
    unit = draw(st.sampled_from([None, "m", "mag(AB)"]))
    if draw(st.booleans()):
        mask = draw(st.lists(st.booleans(), min_size=count, max_size=count))
        return MaskedColumn(values, mask=np.reshape(mask, shape), unit=unit)
    return Column(values, unit=unit)


@settings(max_examples=25, deadline=None)
@given(st.lists(column(5), min_size=1, max_size=4), st.sampled_from([(2, 0, 3), (0, 5), (0, 0)]))
def test_truth_is_what_was_written(columns, sizes):
    table = mock_catsim(5, seed=0).table
    for k, values in enumerate(columns):
        table[f"c{k}"] = values
    table = usable(table)
    bounds = np.cumsum((0, *sizes))
    drawn = batch([table[a:b] for a, b in pairwise(bounds)])
    with TemporaryDirectory() as name:
        folder = Path(name)
        drawn.save(name, 0)
        with shardfile.create(folder / "blend_1.hdf5", len(sizes), isolated=True) as append:
            append(drawn)
        for number in range(2):
            loaded = BlendBatch.load(name, number)
            for one, other in zip(loaded.catalog_list, drawn.catalog_list, strict=True):
                assert one.colnames == other.colnames
                for key in other.colnames:
                    same(one[key], other[key])
                    assert one[key].unit == other[key].unit
        truth = truth_of(drawn, shard=3)
        write_parquet(truth, folder / "truth.parquet")
        read = pyarrow.parquet.read_table(folder / "truth.parquet")
        assert read.column_names == [*table.colnames, "survey", "shard"]
        assert read["survey"].to_pylist() == ["LSST"] * len(truth)
        for key in table.colnames:
            got, wanted = read[key].to_pylist(), truth[key].tolist()
            assert got == (wanted if truth[key].dtype.kind != "S" else [v.decode() for v in wanted])
