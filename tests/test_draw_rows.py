"""Rows of a table, against astropy's own."""

import io
import pickle
import re

import btk
import numpy as np
import pytest
from astropy.table import Column, MaskedColumn, Table

from btk_generative.catalogs import mock_catsim
from btk_generative.draw.rows import Rows, SampledRows


@pytest.fixture
def table():
    return Table(
        {
            "index": np.arange(6),
            "size": Column(np.linspace(0, 1, 6, dtype=np.float32), unit="arcsec", format=".2f"),
            "name": Column([b"a", b"b", b"c", b"d", b"e", b"f"], description="what it is called"),
            "pair": Column(np.arange(12.0).reshape(6, 2), meta={"source": "here"}),
        },
        meta={"path": "a.fits"},
    )


@pytest.mark.parametrize("item", [slice(1, 4), slice(3, 3), np.array([4, 0, 4])])
def test_rows_are_what_astropy_gives(table, item):
    wanted, rows = table[item], Rows(table)[item]
    assert type(rows) is Table
    assert rows.meta == wanted.meta
    assert rows.colnames == wanted.colnames
    for name in table.colnames:
        one, other = wanted[name], rows[name]
        assert type(other) is Column
        assert other.dtype == one.dtype
        np.testing.assert_array_equal(other, one)
        for attribute in ("name", "unit", "format", "description", "meta"):
            assert getattr(other, attribute) == getattr(one, attribute)
            assert getattr(other.info, attribute) == getattr(one.info, attribute)
        assert other.parent_table is rows


def test_slices_are_views_and_indices_copies(table):
    rows = Rows(table)
    rows[1:3]["index"][0] = 40
    rows[np.array([2])]["index"][0] = 50
    assert list(rows["index"]) == [0, 40, 2, 3, 4, 5]


def test_rows_can_be_changed_written_and_pickled(table):
    rows = Rows(table)[np.array([3, 1])]
    rows["index"] = 0.5
    rows["new"] = [1, 2]
    rows["pair"].meta["source"] = "elsewhere"
    rows.sort("size")
    assert table["pair"].meta == {"source": "here"}
    assert "new" not in table.colnames
    assert (pickle.loads(pickle.dumps(rows)) == rows).all()
    text = io.StringIO()
    rows.write(text, format="ascii.ecsv")
    assert list(Table.read(text.getvalue(), format="ascii.ecsv")["name"]) == ["b", "d"]


def test_all_else_is_left_to_astropy(table):
    rows = Rows(table)
    assert type(rows["index"]) is Column
    assert rows[2]["index"] == 2
    assert list(rows[rows["index"] > 3]["index"]) == [4, 5]
    assert list(rows[::-2]["index"]) == [5, 3, 1]
    assert rows[["index", "size"]].colnames == ["index", "size"]
    rows["size"] = MaskedColumn(rows["size"], mask=rows["index"] == 1)
    assert rows[0:2]["size"].mask.tolist() == [False, True]
    rows.add_index("index")
    assert rows[np.array([5, 2])].loc[5]["name"] == "f"


@pytest.mark.parametrize(
    "kind", ["DefaultSampling", "DefaultSamplingShear", "PairSampling", "RandomSquareSampling"]
)
def test_btk_samples_what_it_does_without(kind):
    catalog = mock_catsim(300, seed=4).table
    catalog["ra"].unit = "deg"
    kept = catalog.copy()
    make = getattr(btk.sampling_functions, kind)
    one, other = make(seed=3), make(seed=3)
    for seed in range(5):
        np.random.seed(seed)  # noqa: NPY002 (which some of them use)
        wanted = one(catalog)
        np.random.seed(seed)  # noqa: NPY002
        blend = other(SampledRows(catalog, copy=False))
        assert blend.colnames == wanted.colnames
        for name in wanted.colnames:
            assert blend[name].dtype == wanted[name].dtype
            assert blend[name].unit == wanted[name].unit
            np.testing.assert_array_equal(blend[name], wanted[name])
    assert (catalog == kept).all()


@pytest.mark.parametrize("value", [2, 0.5, 5 * [7], np.arange(5.0), "x"])
@pytest.mark.parametrize("name", ["index", "size", "new"])
def test_columns_of_a_blend_are_set_as_astropy_sets_them(table, name, value):
    taken = np.arange(1, 6)
    wanted, blend = table[taken], SampledRows(table)[taken]
    try:
        wanted[name] = value
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            blend[name] = value
        return
    blend[name] = value
    assert blend[name].dtype == wanted[name].dtype
    assert blend[name].unit == wanted[name].unit
    np.testing.assert_array_equal(blend[name], wanted[name])


def test_a_column_of_a_blend_added_to_is_another_ones_no_more_than_astropys(table):
    taken = np.arange(1, 6)
    for rows in (table[taken], SampledRows(table)[taken]):
        rows["size"] += np.full(5, 2, dtype=np.float32)
        rows["new"] = rows["size"]
        rows["new"][0] = 9
        np.testing.assert_array_equal(rows["size"], table["size"][1:] + np.float32(2))
        assert rows["size"].unit == "arcsec"
