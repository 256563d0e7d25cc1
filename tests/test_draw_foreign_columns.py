"""Generators and commands on catalogues with units, masks and foreign columns, and empty stamps."""

import dataclasses
import json
import sys

import astropy.units as u
import btk
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.time import Time
from btk.blend_batch import BlendBatch
from btk.catalog import CatsimCatalog
from btk.draw_blends import CatsimGenerator
from btk.survey import get_surveys
from toy_model import write_toy

from btk_generative import catalogs, cli, load_model
from btk_generative.datasets import open_dataset
from btk_generative.draw import GenerativeGenerator, ParametricGenerator
from btk_generative.errors import CatalogError, ConfigError


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "toy.tar.gz"
    write_toy(path)
    return path


@pytest.fixture(scope="module")
def model(toy):
    return load_model(toy)


@pytest.fixture(scope="module")
def lsst():
    return get_surveys("LSST")


@pytest.fixture(scope="module")
def mock():
    table = catalogs.mock_catsim(300, seed=0).table
    return table[table["i_ab"] < 25][:60]


class Mine(btk.sampling_functions.SamplingFunction):
    """Three galaxies at random; ``change`` does to blend k what a user may do."""

    def __init__(self, change=lambda table, blend: table):
        super().__init__(6.0, 3, 0, seed=4)
        self.change, self.blend = change, -1

    def __call__(self, table):
        self.blend += 1
        t = table[self.rng.integers(0, len(table), 3)]
        t["ra"], t["dec"] = self.rng.uniform(-2, 2, 3), self.rng.uniform(-2, 2, 3)
        changed = self.change(t, self.blend)
        return t if changed is None else changed


def draw(model, lsst, table, sampling=None, kind=GenerativeGenerator, **options):
    """Returns a batch."""
    options = {"batch_size": 2, "add_noise": "none", "seed": 1} | options
    if kind is GenerativeGenerator:
        options["model"] = model
    return next(kind(CatsimCatalog(table), sampling or Mine(), lsst, **options))


# --- units -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [GenerativeGenerator, ParametricGenerator])
@pytest.mark.parametrize("form", [Table, QTable])
def test_a_catalogue_is_drawn_in_its_own_units(model, lsst, mock, kind, form):
    table = mock.copy()
    for name in ("a_b", "b_b", "a_d", "b_d"):
        table[name] = Column(np.asarray(mock[name]) / 3600, unit="deg")
    for name in ("pa_bulge", "pa_disk"):
        table[name] = Column(np.deg2rad(np.asarray(mock[name])), unit="rad")
    table["ra"].unit = table["dec"].unit = "deg"
    table["u_ab"] = Column(u.ABmag.to(u.nJy, np.asarray(mock["u_ab"])), unit="nJy")
    batch, wanted = (draw(model, lsst, t, kind=kind) for t in (form(table), mock))
    peak = np.abs(wanted.isolated_images).max()
    # BTK draws the whole electrons of a magnitude, and one may be gained or lost
    np.testing.assert_allclose(batch.isolated_images, wanted.isolated_images, atol=1e-4 * peak)
    for one, other in zip(batch.catalog_list, wanted.catalog_list, strict=True):
        for name in other.colnames:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-12, atol=1e-12)
        assert (one["a_d"].unit, one["pa_disk"].unit) == (u.arcsec, u.deg)
        assert one["ra"].unit is None  # a place in the stamp


def test_without_units_a_batch_is_that_of_the_plain_table(model, lsst, mock):
    table = mock.copy()
    table["specz"] = MaskedColumn(np.ones(len(table)), mask=np.arange(len(table)) % 2 == 0)
    table["name"] = "x"
    one, other = draw(model, lsst, table, add_noise="all"), draw(model, lsst, mock, add_noise="all")
    np.testing.assert_array_equal(one.blend_images, other.blend_images)


@pytest.mark.parametrize("unit", ["deg", "mas"])
def test_a_sampling_function_may_give_units(model, lsst, mock, unit):
    def change(table, blend):
        if blend == 1:  # and not in every blend
            for name in ("ra", "dec", "a_d"):
                table[name] = Column(u.arcsec.to(unit, np.asarray(table[name])), unit=unit)

    one, other = draw(model, lsst, mock, Mine(change)), draw(model, lsst, mock)
    peak = other.isolated_images.max()
    np.testing.assert_allclose(one.isolated_images, other.isolated_images, atol=1e-9 * peak)
    np.testing.assert_allclose(one.catalog_list[1]["ra"], other.catalog_list[1]["ra"], rtol=1e-12)


# --- what a sampling function returns ----------------------------------------------------------


@pytest.mark.parametrize("kind", [GenerativeGenerator, ParametricGenerator])
def test_a_blend_keeps_the_columns_that_btk_keeps(model, lsst, mock, kind):
    def change(table, blend):
        if blend in (1, 2):
            table["is_central"] = np.arange(3) == blend
        if blend != 3:
            table["rank"] = MaskedColumn([1, 2, 3], mask=[True, False, False])
        table.remove_column("galtileid" if blend == 0 else "convergence")

    wide = mock.copy()
    wide["galtileid"], wide["convergence"] = np.arange(len(wide)), 0.0
    wanted = draw(model, lsst, wide, Mine(change), CatsimGenerator, batch_size=4).catalog_list
    together = draw(model, lsst, wide, Mine(change), kind, batch_size=4).catalog_list
    generator = kind(
        CatsimCatalog(wide), Mine(change), lsst, batch_size=1, seed=1,
        **({"model": model} if kind is GenerativeGenerator else {}),
    )  # fmt: skip
    alone = [next(generator).catalog_list[0] for _ in range(4)]
    for k in range(4):
        for truth in (together[k], alone[k]):
            assert set(wanted[k].colnames) <= set(truth.colnames)
            for name in ("is_central", "rank", "galtileid"):
                assert (name in truth.colnames) == (name in wanted[k].colnames)
        for name in set(wanted[k].colnames) & {"is_central", "galtileid"}:
            np.testing.assert_array_equal(together[k][name], wanted[k][name])
    assert together[2]["is_central"].tolist() == [False, False, True]
    assert together[0]["rank"].mask.tolist() == [True, False, False]


def value(name, number):
    def change(table, blend):
        if blend == 1:
            table[name][1] = number

    return change


def only_in_blend_1(action):
    return lambda table, blend: action(table) if blend == 1 else None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            only_in_blend_1(lambda t: t.remove_column("redshift")),
            "blend 1: column 'redshift' is mis",
        ),
        (value("i_ab", np.nan), "column 'i_ab', blend 1, galaxy 1: value nan is not finite"),
        (value("ra", np.inf), "column 'ra', blend 1, galaxy 1: value inf is not finite"),
        (value("b_d", 50.0), "column 'b_d', blend 1, galaxy 1: value 50.0 exceeds"),
        (value("g_ab", np.nan), "column 'g_ab', blend 1, galaxy 1: value nan"),
        (value("g1", np.nan), "column 'g1', blend 1, galaxy 1: value nan"),
        (only_in_blend_1(lambda t: t.remove_column("z_ab")), "column 'z_ab' is missing"),
        (
            only_in_blend_1(lambda t: t.replace_column("dec", Column(["a", "b", "c"]))),
            "blend 1: column 'dec' holds str",
        ),
        (
            only_in_blend_1(lambda t: t.replace_column("a_d", Column([1.0, 1, 1], unit="pix"))),
            "blend 1: column 'a_d' is in 'pix'",
        ),
        (
            only_in_blend_1(
                lambda t: t.replace_column("dec", MaskedColumn(t["dec"], mask=[False, True, False]))
            ),
            "column 'dec', blend 1, galaxy 1: value -- is not finite",
        ),
        (only_in_blend_1(lambda t: t.add_column(7, name="blend_index")), "'blend_index' of their"),
        (lambda table, blend: table.to_pandas(), "blend 0: it is a DataFrame"),
    ],
)
def test_what_a_sampling_function_returns_is_checked(model, lsst, mock, change, says):
    table = mock.copy()
    table["g1"], table["g2"] = 0.01, 0.02
    with pytest.raises(CatalogError, match="sampling function Mine") as error:
        draw(model, lsst, table, Mine(change), apply_shear=True)
    assert says in str(error.value)


def test_what_the_truth_cannot_hold_is_left_out_and_named_once(model, lsst, mock, caplog):
    def change(table, blend):
        table["when"] = Time(np.arange(3) + 5e4, format="mjd")
        table["kind"] = ["a", "b", "c"] if blend == 0 else [1, 2, 3]

    generator = GenerativeGenerator(
        CatsimCatalog(mock), Mine(change), lsst, batch_size=2, model=model
    )
    for _ in range(2):
        for truth in next(generator).catalog_list:
            assert "when" not in truth.colnames
    said = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert [message.split(": ")[-1] for message in said] == ["when", "kind"]
    assert all("sampling function Mine" in message for message in said)


# --- masks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [GenerativeGenerator, ParametricGenerator])
def test_what_is_masked_stays_masked(model, lsst, mock, kind, tmp_path):
    table = mock.copy()
    missing = np.arange(len(table)) % 2 == 0
    table["specz"] = MaskedColumn(np.where(missing, -99, 1.0), mask=missing, description="measured")
    for name in ("a_b", "b_b", "pa_bulge"):
        table[name] = MaskedColumn(table[name], mask=table["fluxnorm_bulge"] == 0)
    batch = draw(model, lsst, table, kind=kind, batch_size=4)
    theirs = draw(model, lsst, table, kind=CatsimGenerator, batch_size=4)
    batch.save(str(tmp_path), 0)
    loaded = BlendBatch.load(str(tmp_path), 0)
    seen = 0
    for k, wanted in enumerate(theirs.catalog_list):
        for truth in (batch.catalog_list[k], loaded.catalog_list[k]):
            for name in ("specz", "a_b"):
                mask = np.ma.getmaskarray(wanted[name])
                assert np.ma.getmaskarray(truth[name]).tolist() == mask.tolist()
                np.testing.assert_array_equal(truth[name][~mask], wanted[name][~mask])
                seen += mask.sum()
            assert truth["specz"].description == "measured"
    assert seen > 10
    np.testing.assert_array_equal(loaded.blend_images, batch.blend_images)


def test_a_masked_shear_or_share_is_not_used(model, lsst, mock):
    table = mock.copy()
    table["g1"] = table["g2"] = 0.0
    table["g1"] = MaskedColumn(table["g1"], mask=np.ones(len(table), bool))
    with pytest.raises(CatalogError, match="'g1', blend 0, galaxy 0"):
        draw(model, lsst, table, apply_shear=True)
    table["bulge_share_r"] = MaskedColumn(table["bulge_share_r"], mask=np.ones(len(table), bool))
    with pytest.raises(CatalogError, match="'bulge_share_r', row 0: value nan is not a share"):
        draw(model, lsst, table, color="components")


# --- surveys -----------------------------------------------------------------------------------


def test_two_surveys_of_a_name_are_refused_and_of_two_names_drawn(model, lsst, mock):
    import galsim

    other = get_surveys("LSST", lambda survey, filt: galsim.Gaussian(fwhm=1.2))
    with pytest.raises(ConfigError, match="several surveys are called LSST; give each a name"):
        draw(model, [lsst, other], mock)
    both = draw(model, [lsst, dataclasses.replace(other, name="LSST 2")], mock)
    one, two = both["LSST"].isolated_images, both["LSST 2"].isolated_images
    assert two.max() < 0.8 * one.max()


# --- commands ----------------------------------------------------------------------------------

COMMANDS = {
    "draw": {"batches": 1, "batch_size": 3, "use_bar": False},
    "generate": {"shards": 2, "blends_per_shard": 3, "isolated": True, "batch_size": 2},
    "compare": {
        "blends": 6,
        "control": False,
        "arms": ["parametric", "generative"],
        "deblenders": ["sep"],
    },
}


@pytest.fixture
def command(toy, tmp_path, monkeypatch, capsys):
    """Returns a function that runs a command on a catalogue; gives exit code, stderr, folder."""

    def run(name, catalog, **sampling):
        values = COMMANDS[name] | {
            "catalog": catalog,
            "sampling": {"stamp_size": 6.0, "max_number": 3} | sampling,
            "model": str(toy),
        }
        (tmp_path / "c.yaml").write_text(json.dumps(values))
        output = tmp_path / name
        arguments = ["btk-generative", name, str(tmp_path / "c.yaml"), "--output", str(output)]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, capsys.readouterr().err, output

    return run


@pytest.mark.parametrize("suffix", ["fits", "parquet"])
def test_draw_and_generate_keep_the_columns_of_a_file(command, mock, tmp_path, suffix, caplog):
    n = len(mock)
    ident = np.arange(n) + 2**60
    table = mock.copy()
    table["text"] = [f"sed/{k}.dat" for k in range(n)]
    table["vector"] = np.arange(2.0 * n).reshape(n, 2)
    table["flag"] = np.arange(n) % 3 == 0
    table["ident"], table["row"] = MaskedColumn(ident, mask=np.arange(n) % 2 == 0), np.arange(n)
    if suffix == "fits":
        table["complex"] = np.ones(n, complex)
    table.write(tmp_path / f"a.{suffix}")
    left_out = {"complex"} if suffix == "fits" else set()
    if suffix == "parquet":
        frame = pd.read_parquet(tmp_path / "a.parquet").drop(columns="ident.mask")
        frame["vector"] = frame["vector"].map(list)
        frame["ident"] = pd.array(np.where(np.arange(n) % 2 == 0, None, ident), dtype="Int64")
        frame["date"], frame["none"] = pd.Timestamp("2020-01-01"), None
        frame.to_parquet(tmp_path / "a.parquet")
        left_out = {"date", "none"}

    def check(row, number):
        assert row["text"] in (f"sed/{number}.dat", f"sed/{number}.dat".encode())
        assert list(row["vector"]) == [2 * number, 2 * number + 1]
        assert bool(row["flag"]) == (number % 3 == 0)

    for name in ("draw", "generate"):
        caplog.clear()
        code, _, output = command(name, str(tmp_path / f"a.{suffix}"))
        assert code == 0
        (said,) = [r.message for r in caplog.records if "left out" in r.message]
        assert f"a.{suffix}" in said
        assert set(said.split(": ")[-1].split(", ")) == left_out
        files = ["truth.parquet"] if name == "draw" else ["truth/0.parquet", "truth/1.parquet"]
        rows = [row for f in files for row in pyarrow.parquet.read_table(output / f).to_pylist()]
        assert not left_out & set(rows[0])
        for row in rows:
            check(row, row["row"])
            assert row["ident"] == (None if row["row"] % 2 == 0 else ident[row["row"]])
        folder = output if name == "draw" else output / "LSST"
        tables = [
            t for k in range(len(files)) for t in BlendBatch.load(str(folder), k).catalog_list
        ]
        if name == "generate":
            dataset = open_dataset(output)
            tables += [dataset[k].catalog for k in range(len(dataset))]
        for truth in tables:
            for row in truth:
                check(row, row["row"])
                wanted = np.ma.masked if row["row"] % 2 == 0 else ident[row["row"]]
                assert row["ident"] is wanted or row["ident"] == wanted


@pytest.mark.parametrize("name", ["draw", "generate", "compare"])
@pytest.mark.parametrize("reserved", ["survey", "shard", "blend_index", "in_domain"])
def test_a_name_that_is_taken_ends_in_one_line(command, mock, tmp_path, name, reserved):
    table = mock.copy()
    table[reserved] = 1
    table.write(tmp_path / "a.fits")
    code, error, output = command(name, str(tmp_path / "a.fits"))
    assert code == 2
    assert error.count("error: ") == 1
    assert "Traceback" not in error
    assert f"a.fits: the truth tables have a column '{reserved}'" in error
    assert not (output / "truth.parquet").exists()
    assert not list(output.glob("LSST*"))


@pytest.mark.parametrize("density", [0.0001, 45.0])
def test_stamps_without_a_galaxy(command, tmp_path, density):
    sampling = {"function": "DensitySampling", "density": density, "min_number": 0, "max_mag": 25.0}
    catalog = {"mock": 300}
    code, error, output = command("draw", catalog, **sampling)
    assert code == 0, error
    batch = BlendBatch.load(str(output), 0)
    numbers = [len(table) for table in batch.catalog_list]
    assert 0 in numbers
    for number, images in zip(numbers, batch.isolated_images, strict=True):
        assert not images[number:].any()
    truth = Table.read(output / "truth.parquet")
    assert (
        len(truth) == sum(numbers) == json.loads((output / "summary.json").read_text())["galaxies"]
    )
    assert {"survey", "in_domain", "x_peak"} <= set(truth.colnames)

    code, error, output = command("generate", catalog, **sampling)
    assert code == 0, error
    dataset = open_dataset(output)
    again = [len(blend.catalog) for blend in dataset]
    assert 0 in again
    assert dataset.truth.count_rows() == sum(again)
    assert all(len(blend.isolated) == len(blend.catalog) for blend in dataset)

    code, error, output = command("compare", catalog, **sampling)
    if density < 1:
        assert code == 2
        assert "none of the 6 blends has a galaxy" in error
    else:
        assert code == 0, error
        table = pd.read_parquet(output / "metrics.parquet")
        assert 0 < table.blend.nunique() < 6
