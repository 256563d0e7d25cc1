"""The two-sample test, memorisation, conditional statistics, and the whole report."""

import json
import re
import shutil
from types import MappingProxyType

import galsim
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from btk_generative.conditions import half_light_radius
from btk_generative.errors import CatalogError, ModelError, OutputError
from btk_generative.models import GenerativeModel, LightProfiles, ModelInput
from btk_generative.validation.conditional import binned, diversity
from btk_generative.validation.cosmos import CosmosSample
from btk_generative.validation.distances import STATISTICS
from btk_generative.validation.job import Inputs, find_inputs, run
from btk_generative.validation.memorisation import nearest_neighbours, structure
from btk_generative.validation.real_stamps import RealStamps, two_sample
from btk_generative.validation.sersic_fit import fit_sersic

SIZE = 64
PSF = galsim.Moffat(beta=3, fwhm=0.1)


class SmoothModel(GenerativeModel):
    """Draws what it is asked for as an exponential disk, with a random bright spot."""

    card = MappingProxyType({"provenance": {"data": "cosmos_25.2_parametric.fits, 30 rows from 5"}})
    name, sha256, random_size, stamp_size, oriented = "smooth", "0" * 64, 2, SIZE, True
    inputs = (
        ModelInput("zphot", "", 0.0, 6.0),
        *(
            ModelInput(f"{part}_{name}", unit, low, high, missing=low)
            for part in ("bulge", "disk")
            for name, unit, low, high in (
                ("hlr", "arcsec", 0.01, 5.0), ("q", "", 0.05, 1.0), ("flux", "", 0.01, 1e5),
            )
        ),
    )  # fmt: skip

    def __init__(self):
        pass

    def in_domain(self, conditions):
        return np.ones(len(conditions), dtype=bool)

    def encode(self, conditions):
        disk = np.asarray(conditions["disk_present"])
        ratio = np.where(disk, conditions["disk_q"].filled(1), conditions["bulge_q"].filled(1))
        return {"size": half_light_radius(conditions), "ratio": ratio}

    def decode(self, encoded, random_normal):
        sizes, ratios, images = encoded["size"], encoded["ratio"], []
        for size, ratio, (x, y) in zip(sizes, ratios, random_normal, strict=True):
            galaxy = galsim.Exponential(half_light_radius=size)
            galaxy += galsim.Gaussian(sigma=0.3 * size, flux=0.05).shift(x * size / 2, y * size / 2)
            galaxy = galaxy.shear(q=ratio, beta=0 * galsim.degrees)
            image = galsim.Image(SIZE, SIZE, scale=10 * size / SIZE)
            images.append(np.maximum(galaxy.drawImage(image, method="no_pixel").array, 0))
        images = np.array(images)
        images /= images.sum(axis=(1, 2), keepdims=True)
        return LightProfiles(images, 10 * sizes / SIZE)


@pytest.fixture(scope="module")
def few_stamps(data, tmp_path_factory):
    """Returns the catalogue of five small real HST galaxies."""
    folder = tmp_path_factory.mktemp("stamps")
    source = data("cosmos_hst/real_galaxy_catalog.fits").parent
    for path in source.glob("*.fits"):
        shutil.copyfile(path, folder / path.name)
    for name in ("real_galaxy_catalog.fits", "real_galaxy_catalog_fits.fits"):
        Table.read(source / name)[3:8].write(folder / name, overwrite=True)
    return folder / "real_galaxy_catalog.fits"


def inputs_with(data, real_stamps, training_stamps):
    return Inputs(
        data("lanusse2021"),
        CosmosSample(data("cosmos_catalog/cosmos_25.2_parametric.fits")),
        data("cosmos_hst/acs_psfs_100.fits"),
        real_stamps,
        training_stamps,
    )


def test_a_classifier_cannot_tell_two_samples_of_one_distribution_apart():
    rng = np.random.default_rng(0)
    found = two_sample(rng.standard_normal((60, 5)), rng.standard_normal((1, 60, 5)))
    assert found.low < 0.5 < found.high
    assert 0.1 < found.high - found.low < 0.4


def test_a_classifier_separates_two_different_distributions():
    rng = np.random.default_rng(0)
    found = two_sample(rng.standard_normal((60, 5)), 4 + rng.standard_normal((1, 60, 5)))
    assert found.low > 0.98


@pytest.mark.parametrize("index", [0.6, 1.0, 4.0])
def test_a_sersic_fit_finds_what_was_drawn(index):
    galaxy = galsim.Sersic(index, half_light_radius=0.3, flux=20)
    galaxy = galaxy.shear(q=0.5, beta=0.6 * galsim.radians).shift(0.04, -0.02)
    stamp = galsim.Convolve(galaxy, PSF).drawImage(nx=128, ny=128, scale=0.03, method="no_pixel")
    stamp.addNoise(galsim.GaussianNoise(galsim.BaseDeviate(1), 0.002))
    seen = np.zeros((128, 128), dtype=bool)
    seen[24:104, 24:104] = True
    fit = fit_sersic(stamp.array, PSF, seen)
    assert fit.flux == pytest.approx(20, rel=0.03)
    assert fit.hlr == pytest.approx(0.3, rel=0.05)
    assert fit.n == pytest.approx(index, rel=0.08)
    assert (fit.q, fit.angle) == pytest.approx((0.5, 0.6), abs=0.02)
    assert (fit.x, fit.y) == pytest.approx((0.04, -0.02), abs=0.003)


def test_a_real_stamp_keeps_its_pixels_and_gets_noise_of_its_own_around(few_stamps):
    stamps = RealStamps(few_stamps)
    stamp, covered = stamps.real(0, 5)
    image = stamps.catalog.getGalImage(0).array
    assert np.array_equal(stamp[covered], image.ravel())
    assert stamp[~covered].std() == pytest.approx(np.sqrt(stamps.catalog.variance[0]), rel=0.05)


def clumpy(rng, count):
    """Returns galaxies of half-light radius 8 pixels with four clumps each."""
    row, column = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    images = []
    for _ in range(count):
        image = np.exp(-np.hypot(row, column / 0.7) / 5)
        for x, y in rng.uniform(-12, 12, (4, 2)):
            image += 0.3 * np.exp(-((column - x) ** 2 + (row - y) ** 2) / 8)
        images.append(image)
    return np.array(images)


def test_copies_of_training_stamps_are_found_and_new_galaxies_are_not():
    rng = np.random.default_rng(3)
    light = clumpy(rng, 120)
    # as a survey shows them: stretched, on 5.66 pixels a half-light radius, with noise
    stretched = np.arcsinh(light / 0.02)
    training = stretched + 0.03 * rng.standard_normal(stretched.shape)
    copies = LightProfiles(light[:40, ::-1], np.full(40, 0.03))
    new = LightProfiles(clumpy(rng, 40), np.full(40, 0.03))
    hlr = np.full(40, 5.66 * 0.03)
    copied = nearest_neighbours(copies, hlr, training)
    assert np.mean(copied.nearest == np.arange(40)) > 0.95
    assert np.median(copied.drawn) < 0.5 * np.median(copied.training)
    first, second = copied.closest[0].reshape(2, -1)
    assert first @ second == pytest.approx(1 - copied.drawn.min(), rel=1e-5)
    fresh = nearest_neighbours(new, hlr, training)
    assert np.median(fresh.drawn) > 0.8 * np.median(fresh.training)


def test_structure_does_not_depend_on_orientation_or_brightness():
    disk = galsim.Exponential(half_light_radius=6).shear(q=0.5, beta=0.3 * galsim.radians)
    galaxy = disk + galsim.Gaussian(sigma=2, flux=0.05).shift(5, 3)
    turned = galaxy.rotate(1.1 * galsim.radians) * 7
    maps = [
        structure(g.drawImage(nx=96, ny=96, scale=1, method="no_pixel").array, 6)
        for g in (galaxy, turned)
    ]
    assert np.linalg.norm(maps[0]) == pytest.approx(1, rel=1e-5)
    assert maps[0] @ maps[1] > 0.97


def test_bins_hold_equal_numbers_and_give_the_median():
    x = np.arange(100.0)
    table = binned(x, 2 * x, bins=4)
    assert list(table["number"]) == [25] * 4
    assert list(table["median"]) == [24, 74, 124, 174]


def test_diversity_is_zero_for_equal_draws_and_one_for_unrelated_ones():
    rng = np.random.default_rng(0)
    first, second = (
        Table({name: rng.standard_normal(4000) for name in STATISTICS}) for _ in range(2)
    )
    assert all(value == 0 for value in diversity(first, first).values())
    assert all(value == pytest.approx(1, abs=0.05) for value in diversity(first, second).values())


@pytest.mark.slow
def test_the_report_is_complete_and_repeats_to_the_bit(data, few_stamps, tmp_path, monkeypatch):
    monkeypatch.setattr("btk_generative.validation.real_stamps._REPEATS", 1)  # for speed
    monkeypatch.setattr("btk_generative.validation.distances._BOOTSTRAPS", 20)
    training = data("ceers_f200w/stamps_96px.npz")
    with np.load(training) as file:
        np.savez(tmp_path / "stamps.npz", image=file["image"][:60])
    inputs = inputs_with(data, few_stamps, tmp_path / "stamps.npz")
    summary = run(SmoothModel(), tmp_path / "report", inputs, number=24)
    assert summary["galaxies"] == 24
    assert set(summary["distances"]) >= {"model", "parametric", "published generative"}
    assert 0 <= summary["real_stamps"]["model"]["auc"] <= 1
    assert summary["fidelity"]["hlr_ratio"]["median"] == pytest.approx(1, abs=0.06)
    assert abs(summary["fidelity"]["q_difference"]["median"]) < 0.05
    assert summary["diversity"]["light_moved"][1] > 0.01
    folder = tmp_path / "report"
    assert json.loads((folder / "summary.json").read_text()) == summary
    page = (folder / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 7
    assert "http" not in page
    said = "The model was trained on 19 of the 24 galaxies measured here"
    assert page.split("</h1>")[1].lstrip().startswith(f'<p class="bad">{said}')
    assert summary["held_out"]["trained_on"] == 19
    assert summary["held_out"]["statement"].startswith(said)
    names = {path.name for path in folder.glob("*.csv")}
    assert names == {
        "distances.csv", "splits.csv", "fidelity.csv", "real_stamps.csv",
        "galaxies_model.csv", "galaxies_parametric.csv",
    }  # fmt: skip
    assert len(Table.read(folder / "galaxies_model.csv")) == 24
    run(SmoothModel(), tmp_path / "again", inputs, number=24)
    for name in names | {"index.html"}:
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_catalogue_with_images_gives_a_real_arm(data, few_stamps, tmp_path):
    # GalSim's own format: fits beside the images; here each galaxy has a made-up disk
    path = few_stamps.parent / "real_galaxy_catalog_fits.fits"
    table = Table.read(path)
    n = len(table)
    cosmos = fits.getdata(data("cosmos_catalog/cosmos_25.2_parametric.fits"))[:n]
    folder = tmp_path / "cosmos"
    shutil.copytree(few_stamps.parent, folder)
    for name in ("mag_auto", "zphot", "sersicfit", "bulgefit", "use_bulgefit", "hlr", "flux"):
        table[name] = cosmos[name].astype(cosmos[name].dtype.newbyteorder("="))
    table["fit_status"], table["viable_sersic"] = cosmos["fit_status"].astype(int), 1
    table.write(folder / path.name, overwrite=True)
    sample = CosmosSample(folder / few_stamps.name)
    assert sample.has_images
    from btk_generative.validation.arms import RealBatch

    stamp = next(RealBatch(sample, np.array([3]), folder, 0).stamps())
    image = sample.catalog.real_cat.getGalImage(3).array
    edge = (128 - image.shape[0]) // 2
    inner = stamp[edge:-edge, edge:-edge]
    assert np.abs(inner - image)[4:-4, 4:-4].max() < 0.05 * image.max()


def test_a_missing_catalogue_is_named(data, tmp_path):
    (tmp_path / "lanusse2021").symlink_to(data("lanusse2021"))
    with pytest.raises(CatalogError, match=r"cosmos_25\.2_parametric\.fits"):
        find_inputs(tmp_path)


def test_an_output_that_holds_something_is_refused_before_anything_is_drawn(data, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "mine").touch()
    inputs = inputs_with(data, tmp_path / "none", tmp_path / "none")
    with pytest.raises(OutputError, match="already exists"):
        run(SmoothModel(), tmp_path / "report", inputs, number=10**9)


def test_a_model_with_unknown_inputs_is_refused(data, tmp_path):
    class Odd(SmoothModel):
        inputs = (ModelInput("temperature", "K", 0.0, 1.0),)

    inputs = inputs_with(data, tmp_path / "none", tmp_path / "none")
    with pytest.raises(ModelError, match="temperature"):
        run(Odd(), tmp_path / "report", inputs, number=10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--data or in BTK_GENERATIVE_DATA"),
        (["--data", "nowhere"], r"nowhere/lanusse2021/density_curves\.csv"),
    ],
)
def test_the_command_says_in_one_line_what_is_missing(
    arguments, message, monkeypatch, capsys, tmp_path
):
    from btk_generative.cli import main

    monkeypatch.delenv("BTK_GENERATIVE_DATA", raising=False)
    output = tmp_path / "report"
    command = ["btk-generative", "validate", "default", "--output", str(output), *arguments]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert re.search(message, lines[0])
    assert not output.exists()
