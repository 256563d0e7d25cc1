"""The builder for WeakLensingDeblending, with the real descwl where it is importable."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import astropy.units as u
import descwl_stand_in
import galsim
import numpy as np
import pytest
from astropy.table import Column, QTable, Table
from toy_model import write_toy

import btk_generative as bg
from btk_generative.errors import CatalogError, ConfigError
from btk_generative.simulators.descwl import GenerativeGalaxyBuilder

REAL = find_spec("descwl") is not None


@pytest.fixture(params=["stand-in", "real"])
def descwl(request, monkeypatch):
    """The module `descwl.model` and a survey."""
    if request.param == "stand-in":
        return descwl_stand_in.install(monkeypatch)
    pytest.importorskip("descwl", reason="WeakLensingDeblending is not importable")
    import descwl.model

    return descwl.model, real_survey()


def real_survey():
    import descwl.survey

    settings = descwl.survey.Survey.get_defaults("LSST", "i")
    settings |= {"image_width": 128, "image_height": 128, "cosmic_shear_g1": 0.02}
    settings |= {"cosmic_shear_g2": -0.01, "survey_name": "LSST", "filter_band": "i"}
    return descwl.survey.Survey(**settings)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "toy.tar.gz"
    write_toy(path)
    return bg.load_model(path)


@pytest.fixture
def catalog():
    table = bg.catalogs.mock_catsim(8, seed=4).table
    table["galtileid"] = np.arange(100, 108)
    for name, value in {"a_d": 0.9, "b_d": 0.4, "a_b": 0.3, "b_b": 0.25}.items():
        table[name] = value
    table["pa_disk"] = table["pa_bulge"] = np.linspace(0, 150, 8)
    table["fluxnorm_disk"], table["fluxnorm_bulge"], table["fluxnorm_agn"] = 0.6, 0.3, 0.1
    table["redshift"], table["i_ab"] = 0.5, 23.0
    return table


def builder(descwl, toy, no_disk=False, no_bulge=False, no_agn=False, **more):
    return GenerativeGalaxyBuilder(descwl[1], no_disk, no_bulge, no_agn, False, model=toy, **more)


def test_flux_and_morphology_in_every_band(descwl, toy, catalog):
    model, survey = descwl
    build, entry = builder(descwl, toy), catalog[2]
    in_band = {band: build.from_catalog(entry, 1.5, -2.0, band) for band in "ugrizy"}
    for band, galaxy in in_band.items():
        assert type(galaxy) is model.Galaxy
        assert galaxy.model.flux == pytest.approx(survey.get_flux(entry[f"{band}_ab"]), rel=1e-6)
        assert (galaxy.identifier, galaxy.redshift) == (102, 0.5)
        assert galaxy.ri_color == entry["r_ab"] - entry["i_ab"]
        assert galaxy.ab_magnitude == entry[f"{band}_ab"]
        assert (galaxy.disk_fraction, galaxy.bulge_fraction) == pytest.approx((0.6, 0.3))
        assert galaxy.model.centroid.x == pytest.approx(1.5, abs=0.2)
        assert galaxy.model.centroid.y == pytest.approx(-2.0, abs=0.2)
        one, two = (
            galsim.Convolve(g.model.withFlux(1.0), galsim.Gaussian(sigma=0.3))
            .drawImage(nx=64, ny=64, scale=0.2)
            .array
            for g in (galaxy, in_band["i"])
        )
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-6 * two.max())


@pytest.mark.parametrize(
    ("switches", "share", "fractions"),
    [
        ({"no_disk": True}, 0.4, (0, 0.75)),
        ({"no_bulge": True}, 0.7, (0.6 / 0.7, 0)),
        ({"no_agn": True}, 0.9, (2 / 3, 1 / 3)),
        ({"no_disk": True, "no_bulge": True}, 0.1, (0, 0)),
        ({"no_disk": True, "no_agn": True}, 0.3, (0, 1)),
    ],
)
def test_parts_left_out(descwl, toy, catalog, switches, share, fractions):
    galaxy = builder(descwl, toy, **switches).from_catalog(catalog[1], 0, 0, "r")
    whole = descwl[1].get_flux(catalog["r_ab"][1])
    assert galaxy.model.flux == pytest.approx(share * whole, rel=1e-6)
    assert (galaxy.disk_fraction, galaxy.bulge_fraction) == pytest.approx(fractions)


def test_nothing_left_is_not_visible(descwl, toy, catalog):
    catalog["fluxnorm_agn"] = 0.0
    with pytest.raises(descwl[0].SourceNotVisible):
        builder(descwl, toy, no_disk=True, no_bulge=True).from_catalog(catalog[0], 0, 0, "i")
    with pytest.raises(ConfigError, match="leave nothing"):
        builder(descwl, toy, no_disk=True, no_bulge=True, no_agn=True)


def test_second_moments_are_those_of_the_drawn_profile(descwl, toy, catalog):
    build = builder(descwl, toy, no_agn=True)
    for entry in catalog[[1, 5]]:
        galaxy = build.from_catalog(entry, 0, 0, "i")
        psf = galsim.Gaussian(sigma=0.3)
        image = galsim.Convolve(galaxy.model, psf).drawImage(
            nx=301, ny=301, scale=0.05, method="no_pixel", dtype=float
        )
        y, x = np.indices(image.array.shape) * 0.05
        weight = image.array / image.array.sum()
        dx, dy = x - (weight * x).sum(), y - (weight * y).sum()
        measured = [[(weight * a * b).sum() for a in (dx, dy)] for b in (dx, dy)]
        expected = galaxy.second_moments + 0.3**2 * np.eye(2)
        np.testing.assert_allclose(measured, expected, atol=0.01 * np.trace(expected))
        angle = 0.5 * np.arctan2(2 * expected[0, 1], expected[0, 0] - expected[1, 1])
        difference = np.angle(np.exp(2j * (angle - np.radians(entry["pa_disk"])))) / 2
        assert abs(np.degrees(difference)) < 6  # the shear turns it a little


def test_preparing_changes_nothing(descwl, toy, catalog):
    prepared, single = builder(descwl, toy, seed=3), builder(descwl, toy, seed=3)
    prepared.prepare(catalog)
    for entry in catalog:
        one, two = (b.from_catalog(entry, 0, 0, "i") for b in (prepared, single))
        assert one.model == two.model
        np.testing.assert_array_equal(one.second_moments, two.second_moments)
    other = builder(descwl, toy, seed=4).from_catalog(catalog[0], 0, 0, "i")
    assert other.model != prepared.from_catalog(catalog[0], 0, 0, "i").model


def test_a_galaxy_is_the_same_in_any_unit(descwl, toy, catalog):
    table = catalog.copy()
    for name in ("a_d", "b_d", "a_b", "b_b"):
        table[name] = Column(np.asarray(catalog[name]) / 3600, unit="deg")
    table["pa_disk"] = Column(np.deg2rad(np.asarray(catalog["pa_disk"])), unit="rad")
    for name in ("r_ab", "i_ab"):
        table[name] = Column(u.ABmag.to(u.nJy, np.asarray(catalog[name])), unit="nJy")
    for part, unit in {"disk": u.nJy, "bulge": u.uJy, "agn": u.nJy}.items():
        name = f"fluxnorm_{part}"
        table[name] = Column(u.nJy.to(unit, np.asarray(catalog[name])), unit=unit)
    build = builder(descwl, toy)
    for form in (Table, QTable):
        for row in (1, 5):
            one = build.from_catalog(form(table)[row], 0, 0, "r")
            other = build.from_catalog(catalog[row], 0, 0, "r")
            np.testing.assert_allclose(one.second_moments, other.second_moments, rtol=1e-6)
            assert one.model.flux == pytest.approx(other.model.flux, rel=1e-9)
            assert one.disk_fraction == pytest.approx(other.disk_fraction, rel=1e-9)
            assert one.ri_color == pytest.approx(other.ri_color, abs=1e-9)
            assert one.ab_magnitude == pytest.approx(other.ab_magnitude, abs=1e-9)
    table["a_d"].unit = "pix"
    with pytest.raises(CatalogError, match="column 'a_d' is in 'pix'"):
        build.from_catalog(table[0], 0, 0, "i")


def test_mistakes(descwl, toy, catalog):
    build = builder(descwl, toy)
    with pytest.raises(RuntimeError, match="missing required AB magnitudes"):
        build.from_catalog(catalog[0], 0, 0, "K")
    catalog["b_d"][3] = np.nan
    with pytest.raises(CatalogError, match="'b_d'"):
        build.from_catalog(catalog[3], 0, 0, "i")
    with pytest.raises(CatalogError, match="'b_d', row 3"):
        build.prepare(catalog)
    catalog["b_d"] = 0.4
    catalog["galtileid"] = 1
    with pytest.raises(CatalogError, match="not unique"):
        build.prepare(catalog)


def test_its_absence_is_explained(monkeypatch, toy):
    monkeypatch.setitem(sys.modules, "descwl", None)
    monkeypatch.delitem(sys.modules, "descwl.model", raising=False)
    with pytest.raises(ConfigError, match=r"clone https://github.com/LSSTDESC"):
        GenerativeGalaxyBuilder(None, False, False, False, False, model=toy)


@pytest.mark.skipif(not REAL, reason="WeakLensingDeblending is not importable")
def test_the_real_engine_renders_it(toy, catalog):
    import descwl.model
    import descwl.render

    survey = real_survey()
    engine = descwl.render.Engine(survey, 0.05, 30.0, False, False)
    generative = GenerativeGalaxyBuilder(survey, False, False, False, False, model=toy)
    parametric = descwl.model.GalaxyBuilder(survey, False, False, False, False)
    for entry in catalog[:2]:
        sums = []
        for build in (generative, parametric):
            galaxy = build.from_catalog(entry, 0.0, 0.0, "i")
            stamps, _ = engine.render_galaxy(
                galaxy,
                variations_x=None,
                variations_s=0.05,
                variations_g=0.03,
                no_fisher=False,
                calculate_bias=False,
                no_analysis=False,
            )
            assert len(stamps) == 6
            sums.append(stamps[0].sum())
        assert sums[0] == pytest.approx(sums[1], rel=0.05)


def test_the_example(tmp_path):
    example = Path(__file__).resolve().parents[1] / "examples" / "weak_lensing_deblending.py"
    figure = tmp_path / "survey.png"
    small = ["--size", "64", "--galaxies", "6", "--output", figure]
    run = subprocess.run([sys.executable, example, *small], capture_output=True, text=True)
    if REAL:
        assert run.returncode == 0
        assert figure.stat().st_size > 10_000
    else:
        assert run.returncode == 2
        assert "WeakLensingDeblending cannot be imported" in run.stderr
