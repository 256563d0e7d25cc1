"""The galaxies of Lanusse et al. 2021: no training takes them, and a report says who did."""

from pathlib import Path

import numpy as np
import pytest
import tiny_catalog
import yaml
from astropy.io import fits

from btk_generative import load_model
from btk_generative.errors import ConfigError
from btk_generative.hst import paper
from btk_generative.runs.config import load_config
from btk_generative.training.default.config import TrainConfig
from btk_generative.training.settings import DataSettings, GanTraining, VaeTraining
from btk_generative.training.sources import open_galaxies
from btk_generative.validation.cosmos import CosmosSample
from btk_generative.validation.held_out import held_out

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
RECIPES = {"vae": VaeTraining, "gan": GanTraining, "default": TrainConfig}
PARAMETRIC = "cosmos_catalog/cosmos_25.2_parametric.fits"


@pytest.fixture(scope="module")
def ident(data):
    return np.asarray(fits.getdata(data(PARAMETRIC), 1)["IDENT"], dtype=np.int64)


class TestThePapersRows:
    def test_of_the_sample(self, ident):
        assert paper.paper_rows(ident) == 10_240
        assert paper.paper_rows(ident[:15_000]) == 10_240

    def test_with_marginal_galaxies_between(self, ident):
        whole = np.insert(ident, [0, 5, 9000, 20_000], -1)
        assert paper.paper_rows(whole) == 10_243

    def test_of_another_catalogue(self, ident):
        assert paper.paper_rows(ident[10_240:]) == 0
        assert paper.paper_rows(np.arange(40)) == 0

    def test_in_another_order_or_selection(self, ident):
        for other in (ident[::-1], ident[::2], ident[:5000]):
            with pytest.raises(ConfigError, match=r"data.first_row: .* Lanusse et al. 2021"):
                paper.paper_rows(other)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("train_*.yaml")), ids=lambda path: path.stem)
def test_no_recipe_takes_them(path, data, ident):
    kind = yaml.safe_load(path.read_text())["kind"]
    settings = load_config(path, RECIPES[kind])
    if kind == "default":
        assert settings.first_row >= 10_240
        return
    # fits in place of images: the rule is the same for both (see below)
    change = {"catalog": data(PARAMETRIC), "images": False, "exclusion_level": "none"}
    galaxies = open_galaxies(settings.data.model_copy(update=change))
    assert not set(galaxies.identity) & set(ident[:10_240])
    fluxes = (galaxies.conditions[f"{part}_flux"].filled(0)[3] for part in ("bulge", "disk"))
    assert galaxies.view(3, 1, 2.0).image.flux == pytest.approx(sum(fluxes), rel=1e-3)
    rows = settings.data.rows or 71_259
    assert galaxies.source == f"cosmos_25.2_parametric.fits, {rows} rows from 10240"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_catalog.write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def marked(monkeypatch):
    """Takes the first three galaxies of the tiny catalogue for the paper's."""
    monkeypatch.setattr(paper, "_MARKS", (1000, 1014))
    monkeypatch.setattr("btk_generative.training.sources.PAPER_ROWS", 3)


class TestTraining:
    @pytest.mark.parametrize("images", [True, False])
    def test_leaves_them_out(self, tiny, marked, images):
        path = tiny if images else tiny.with_name("tiny_fits.fits")
        galaxies = open_galaxies(DataSettings(catalog=path, images=images))
        assert list(galaxies.identity) == [1021, 1028, 1035]
        assert galaxies.source == f"{path.name}, 3 rows from 3"
        assert galaxies.conditions["disk_flux"][1] == pytest.approx(24.0)
        if images:  # of the same galaxy
            assert galaxies.view(1, 1, 2.0).image.flux == pytest.approx(24.0, rel=0.1)

    def test_takes_what_it_is_told_to(self, tiny, marked):
        galaxies = open_galaxies(DataSettings(catalog=tiny, first_row=1, rows=2))
        assert list(galaxies.identity) == [1007, 1014]
        assert galaxies.source == "tiny.fits, 2 rows from 1"

    def test_takes_all_of_another_catalogue(self, tiny):
        galaxies = open_galaxies(DataSettings(catalog=tiny, rows=4))
        assert list(galaxies.identity) == [1000, 1007, 1014, 1021]
        assert galaxies.source == "tiny.fits, 4 rows from 0"

    def test_counts_as_the_paper_does(self, tiny, marked, monkeypatch):
        """A marginal galaxy among the first is not one of the paper's."""
        monkeypatch.setattr("btk_generative.training.sources.PAPER_ROWS", 2)
        galaxies = open_galaxies(DataSettings(catalog=tiny, first_row=2))
        assert galaxies.source == "tiny.fits, 4 rows from 1"

    def test_in_another_order_it_has_to_be_told(self, tiny, monkeypatch):
        monkeypatch.setattr(paper, "_MARKS", (1014, 1000))
        with pytest.raises(ConfigError, match="first_row"):
            open_galaxies(DataSettings(catalog=tiny))
        galaxies = open_galaxies(DataSettings(catalog=tiny, first_row=4))
        assert list(galaxies.identity) == [1028, 1035]
        assert galaxies.source == "tiny.fits, 2 rows from 4, in an order of its own"


def card(*data):
    return {"provenance": {"data": list(data)}}


class TestWhatAReportSays:
    @pytest.fixture
    def sample(self, tiny):
        return CosmosSample(tiny.with_name("tiny_fits.fits"))

    @pytest.mark.parametrize(
        ("rows", "trained_on", "says"),
        [
            ("2 rows from 4", 0, "on none of the 4 galaxies"),
            ("5 rows from 1", 3, "on 3 of the 4 galaxies"),
            ("9 rows from 0", 4, "on 4 of the 4 galaxies"),
        ],
    )
    def test_of_the_same_catalogue(self, sample, rows, trained_on, says):
        entry = f"tiny_fits.fits, {rows}"
        seen = held_out(card(entry, "stamps_96px.npz, 7 stamps"), sample, 4)
        assert seen.trained_on == trained_on
        assert says in seen.statement
        assert entry in seen.statement

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ({}, "does not say which rows"),
            ({"provenance": {"data": "tiny_fits.fits"}}, "does not say which rows"),
            ({"provenance": {"data": {"a": 1}}}, "does not say which rows"),
            (card("tiny_fits.fits, 2 rows from 4, in an order of its own"), "does not say"),
            (card("other.fits, 2 rows from 9"), r"another catalogue \(other.fits"),
        ],
    )
    def test_that_is_not_known(self, sample, given, says):
        seen = held_out(given, sample, 4)
        assert seen.trained_on is None
        assert seen.statement.startswith("It is not known whether")
        assert says.replace("\\", "") in seen.statement

    def test_of_another_file_of_the_same_sample(self, tiny, marked):
        sample = CosmosSample(tiny)
        seen = held_out(card("real_galaxy_catalog_25.2_fits.fits, 9 rows from 2"), sample, 3)
        assert seen.trained_on == 1

    def test_of_the_default_model(self, data):
        seen = held_out(load_model("default").card, CosmosSample(data(PARAMETRIC)), 10_240)
        assert seen.trained_on == 0, seen.statement
