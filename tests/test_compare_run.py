"""Comparisons: exact pairing, measurements, resumed runs, report, and what goes wrong."""

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import btk
import galsim
import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from btk.blend_batch import DeblendExample

import btk_generative as bg
from btk_generative.compare.bench import Bench, first_alone
from btk_generative.compare.config import CompareConfig
from btk_generative.compare.job import run
from btk_generative.compare.metrics import measure, metrics_of, truth_rows
from btk_generative.errors import ConfigError, OutputError, PackageMissing
from btk_generative.runs.config import load_config
from btk_generative.surveys import sky_levels

SAMPLING = {"stamp_size": 12.0, "max_number": 3, "min_number": 2, "max_mag": 23.5, "max_shift": 2.4}


def config(**changes):
    values = {
        "catalog": {"mock": 500},
        "sampling": SAMPLING,
        "blends": 3,
        "seed": 2,
        "arms": ["parametric", "generative"],
        "deblenders": ["sep"],
        "control": False,
        "gallery": 1,
    }
    return CompareConfig.model_validate(values | changes)


@pytest.fixture(scope="module")
def bench():
    return Bench(config(control=True))


@pytest.fixture(scope="module")
def batch(bench):
    return bench.draw(0)["parametric"]


@pytest.fixture
def without_figures(monkeypatch):
    """Figures take longest of a report; one test has them."""
    nothing = {"headline": [], "curves": [], "galleries": []}
    monkeypatch.setattr("btk_generative.compare.report._figures", lambda *_: nothing)


def noise_of(batch):
    return batch.blend_images - batch.isolated_images.sum(axis=1)


def test_arms_differ_in_morphology_only(bench):
    drawn = bench.draw(4)
    first, second = drawn["parametric"], drawn["generative"]
    np.testing.assert_allclose(noise_of(first), noise_of(second), atol=1e-6)
    one, other = first.catalog_list[0], second.catalog_list[0]
    for name in one.colnames:
        np.testing.assert_array_equal(one[name], other[name])
    assert not np.allclose(first.isolated_images, second.isolated_images, rtol=1e-3)


def test_parametric_galaxies_in_both_arms_give_no_difference(monkeypatch):
    """The model's domain is empty, so that the generative arm draws the catalogue's galaxies."""
    model = bg.load_model("default")
    monkeypatch.setattr(model, "in_domain", lambda table: np.zeros(len(table), dtype=bool))
    made = Bench(config(out_of_domain="parametric", model="default"))
    assert made._generators["generative"].model is model
    rows = pd.DataFrame([row for blend in range(3) for row in made.rows(blend)])
    first, second = (rows[rows.arm == arm] for arm in ("parametric", "generative"))
    numbers = first.select_dtypes("number").columns
    assert rows["chi2"].notna().any()
    np.testing.assert_allclose(first[numbers], second[numbers], rtol=1e-9, atol=1e-9)


def test_blend_does_not_depend_on_what_was_drawn_before(bench):
    expected = bench.draw(5)["generative"].blend_images
    bench.draw(0)
    np.testing.assert_array_equal(bench.draw(5)["generative"].blend_images, expected)


def test_galaxy_alone_keeps_image_and_noise(batch):
    alone = first_alone(batch)
    assert [len(table) for table in alone.catalog_list] == [1]
    np.testing.assert_allclose(noise_of(alone), noise_of(batch), atol=1e-6)
    np.testing.assert_array_equal(alone.isolated_images[:, 0], batch.isolated_images[:, 0])


def perfect(batch, scale=1.0):
    images = scale * batch.isolated_images[0]
    n_bands, size = images.shape[1:3]
    return DeblendExample(
        batch.max_n_sources, batch.catalog_list[0], n_bands, size, None, images
    )  # fmt: skip


def test_true_images_are_perfect(batch):
    for row in measure(batch, 0, perfect(batch), "i"):
        assert row["matched"] == row["purity"] == row["iou"] == 1
        assert row["correlation"] == pytest.approx(1)
        assert row["chi2"] == pytest.approx(1, abs=0.2)
        for key in ("flux_error_i", "mse", "colour_error_r_i", "centroid_error", "shape_error"):
            assert row[key] == pytest.approx(0, abs=1e-9), key


def test_measurements_see_a_flux_that_is_wrong_by_five_percent(batch):
    for row in measure(batch, 0, perfect(batch, 1.05), "i"):
        assert row["flux_error_i"] == pytest.approx(0.05)
        assert row["colour_error_r_i"] == pytest.approx(0, abs=1e-9)
        assert row["correlation"] == pytest.approx(1)
        assert row["size_error"] == pytest.approx(0, abs=1e-3)
        assert row["mse"] > 0


def test_known_bias_is_recovered_in_the_summary(batch, bench):
    rows = []
    for blend in range(12):
        drawn = bench.draw(blend)["parametric"]
        for scale in (1.0, 1.03):
            for galaxy, row in enumerate(measure(drawn, 0, perfect(drawn, scale), "i")):
                rows.append(row | {"blend": blend, "galaxy": galaxy, "scale": scale})
    table = pd.DataFrame(rows)
    one, other = table[table.scale == 1.0], table[table.scale == 1.03]
    found = bg.compare.paired_difference(other.flux_error_r, one.flux_error_r, one.blend, "median")
    assert found.low - 1e-9 <= 0.03 <= found.high + 1e-9
    assert found.significant


def test_lost_sources_are_missed_and_false_ones_cost_precision(batch):
    truth = batch.catalog_list[0]
    n = len(truth)
    found = Table({"ra": [*truth["ra"][1:], 5.5], "dec": [*truth["dec"][1:], -5.5]})
    images = np.zeros_like(perfect(batch).deblended_images)
    images[: n - 1] = batch.isolated_images[0, 1:n]
    example = DeblendExample(
        batch.max_n_sources, found, images.shape[1], images.shape[-1], None, images
    )
    rows = measure(batch, 0, example, "i")
    assert [row["matched"] for row in rows] == [0.0] + [1.0] * (n - 1)
    assert rows[0]["purity"] == pytest.approx((n - 1) / n)
    assert "chi2" not in rows[0]
    assert rows[1]["correlation"] == pytest.approx(1)


def test_truth_is_btk_own(batch):
    rows = truth_rows(batch, 0, "i")
    i = list(batch.survey.available_filters).index("i")
    blendedness = btk.measure.get_blendedness(batch.isolated_images[0, : len(rows), i])
    np.testing.assert_allclose([row["blendedness"] for row in rows], blendedness)
    assert all(row["separation"] <= 2.4 * 2 * np.sqrt(2) for row in rows)


def test_fitted_twin_of_a_bulge_and_disk_is_itself(batch):
    pytest.importorskip("jax")
    twin = bg.compare.fitted_twin(batch, "i")
    np.testing.assert_allclose(noise_of(twin), noise_of(batch), atol=1e-6)
    for k in range(len(batch.catalog_list[0])):
        true, fitted = batch.isolated_images[0, k], twin.isolated_images[0, k]
        np.testing.assert_allclose(fitted.sum((1, 2)), true.sum((1, 2)), rtol=1e-9)
        assert np.sqrt(np.sum((fitted - true) ** 2) / np.sum(true**2)) < 0.02


@pytest.mark.parametrize("index", [0.6, 0.8, 1.6])
def test_fitted_twin_has_the_index_of_the_disk(batch, index):
    pytest.importorskip("jax")
    size, scale = batch.image_size, batch.survey.pixel_scale.to_value("arcsec")
    disk = galsim.Sersic(index, half_light_radius=0.7).shear(q=0.5, beta=0.6 * galsim.radians)
    isolated = np.zeros_like(batch.isolated_images)
    for image, psf in zip(isolated[0, 0], batch.psf, strict=True):
        seen = galsim.Convolve(disk * 1e5, psf)
        image[:] = seen.drawImage(nx=size, ny=size, scale=scale, dtype=float).array
    one = batch.catalog_list[0][:1]
    one["ra"], one["dec"] = 0.0, 0.0
    alone = dataclasses.replace(
        batch, catalog_list=[one], isolated_images=isolated, blend_images=isolated.sum(axis=1)
    )
    twin = bg.compare.fitted_twin(alone, "i").isolated_images
    i = batch.survey.available_filters.index("i")
    mine, true = (
        galsim.hsm.FindAdaptiveMom(galsim.Image(images[0, 0, i].copy()))
        for images in (twin, isolated)
    )
    assert mine.moments_sigma == pytest.approx(true.moments_sigma, rel=1e-3)
    assert mine.observed_e1 == pytest.approx(true.observed_e1, abs=1e-3)
    assert mine.observed_e2 == pytest.approx(true.observed_e2, abs=1e-3)


def test_run_goes_on_where_it_stopped_with_the_same_numbers(tmp_path, without_figures):
    asked = config(blends=8)
    whole = run(asked, progress=False)
    begun = run(config(blends=5), tmp_path / "begun", progress=False)
    assert set(begun.table.blend) == set(range(5))
    part = next((tmp_path / "begun" / "parts").glob("*.parquet"))
    kept = part.stat().st_mtime_ns
    resumed = run(asked, tmp_path / "begun", progress=False)
    assert part.stat().st_mtime_ns == kept
    pd.testing.assert_frame_equal(resumed.table, whole.table)
    csv = pd.read_csv(tmp_path / "begun" / "metrics.csv")
    assert list(csv.columns) == list(whole.table.columns)
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "begun" / "metrics.parquet"), whole.table
    )
    with pytest.raises(OutputError, match="another comparison"):
        run(config(seed=9), tmp_path / "begun", progress=False)


@pytest.mark.slow
def test_killed_run_of_two_processes_goes_on_with_the_same_numbers(tmp_path, without_figures):
    """kill -9 in the middle of `compare --jobs 2`; one process does the rest."""
    asked = config(blends=15)
    path, out = tmp_path / "compare.yaml", tmp_path / "out"
    path.write_text(json.dumps(asked.model_dump(mode="json", exclude_unset=True)))
    command = [sys.executable, "-c", "from btk_generative.cli import main; main()", "compare", path]
    process = subprocess.Popen([*command, "--output", out, "--jobs", "2"], stderr=subprocess.PIPE)
    while not list(out.glob("parts/0*.parquet")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert 1 <= len(list(out.glob("parts/0*.parquet"))) < 3
    resumed, whole = run(asked, out, progress=False), run(asked, progress=False)
    pd.testing.assert_frame_equal(resumed.table, whole.table)
    assert (out / "report.html").exists()


def test_deblender_that_raises_is_counted_and_reported(tmp_path, without_figures):
    asked = config(deblenders=[{"name": "sep", "thresh": 0.2, "min_area": 1}, "sep"])
    comparison = run(asked, tmp_path / "out", progress=False)
    failing = comparison.table[comparison.table.deblender != "sep"]
    assert failing.failed.all()
    assert failing.message.str.contains("max_n_sources").all()
    assert not comparison.table[comparison.table.deblender == "sep"].failed.any()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "3 of 3" in page
    assert "SEP predicted more sources" in page
    assert "No true source was matched" in page


def test_report_is_one_page_that_needs_nothing_else(tmp_path):
    run(config(blends=10), tmp_path / "out", progress=False)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "src=" in page
    assert page.count('src="') == page.count('src="data:image/png;base64,')
    assert "http" not in page.replace("http-equiv", "")
    for said in ("one morphology", "not tuned", "95 %", "Seed 2", "0.5.1", "stamp_size"):
        assert said in page
    for name in ("headline.png", "headline.pdf", "curves-0.png", "curves-0.pdf"):
        assert (tmp_path / "out" / "figures" / name).stat().st_size > 0
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium to look at the report with")
    script = "--virtual-time-budget=3000"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", script, "--window-size=400,800"]
    shown = subprocess.run(
        [chromium, *flags, "--dump-dom", (tmp_path / "out" / "report.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Generative against parametric blends" in shown.stdout
    pdf = tmp_path / "page.pdf"
    subprocess.run(
        [chromium, *flags[:3], f"--print-to-pdf={pdf}", (tmp_path / "out/report.html").as_uri()],
        capture_output=True,
        timeout=60,
    )
    assert pdf.read_bytes()[:4] == b"%PDF"


def test_detector_without_images_and_nothing_found_are_reported(tmp_path, without_figures):
    asked = config(deblenders=["sep_multiband", {"name": "sep", "thresh": 1e4}], blends=2)
    table = run(asked, tmp_path / "out", progress=False).table
    detector, blind = (table[table.deblender == entry.label] for entry in asked.deblenders)
    assert detector.matched.any()
    assert not blind.matched.any()
    page = (tmp_path / "out" / "report.html").read_text()
    for said in ("only detects", "No true source was matched", "not measured", "Fewer than 10"):
        assert said in page


def test_detected_positions_empty_blends_and_a_single_band(tmp_path, without_figures):
    """Euclid's VIS band, blends of 0 to 2 galaxies, positions from SEP."""
    table = bg.catalogs.mock_catsim(500, seed=0).table
    table["IE_ab"] = table["i_ab"]
    table.write(tmp_path / "catalog.fits")
    asked = config(
        catalog=str(tmp_path / "catalog.fits"),
        survey="Euclid_VIS",
        sampling=SAMPLING | {"min_number": 0, "max_number": 2, "stamp_size": 6.0},
        deblenders=[{"name": "scarlet2", "box": 21, "positions": "detected"}],
        blends=5,
    )
    comparison = run(asked, tmp_path / "out", progress=False)
    assert comparison.bands == ["IE"]
    assert set(comparison.table.blend) < set(range(5))  # some are empty
    assert not comparison.table.failed.any()
    assert comparison.table.matched.mean() > 0.5
    assert "there is no colour" in (tmp_path / "out" / "report.html").read_text()


def test_single_band_has_no_colour():
    assert not [m for m in metrics_of(["VIS"], "VIS") if "colour" in m.column]
    for band in "gr":
        colours = [m.column for m in metrics_of(["g", "r"], band) if "colour" in m.column]
        assert colours == ["colour_error_g_r"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("deblender=sep", "did you mean 'deblenders'"),
        ("deblenders=[{name: sep, tresh: 2}]", "tresh"),
        ("deblenders=[scralet]", "scarlet2"),
        ("survey=[LSST, HSC]", "one survey"),
        ("arms=[generative]", "arms"),
        ("arms=[generative, generative]", "twice"),
    ],
)
def test_mistakes_in_the_configuration_are_named(tmp_path, change, said):
    path = tmp_path / "compare.yaml"
    path.write_text("catalog: {mock: 100}\n")
    with pytest.raises(ConfigError, match=r".*") as error:
        load_config(path, CompareConfig, [change])
    assert said in str(error.value)


def forget_scarlet(monkeypatch):
    """Has scarlet imported anew, and what was imported forgotten after the test."""
    monkeypatch.setitem(sys.modules, "scarlet", None)
    monkeypatch.delitem(sys.modules, "scarlet")


def fake(folder, monkeypatch, content="", autograd=None):
    """Puts a package called scarlet, and a version of autograd, before all others."""
    (folder / "scarlet").mkdir()
    (folder / "scarlet" / "__init__.py").write_text(content)
    if autograd:
        info = folder / f"autograd-{autograd}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: autograd\nVersion: {autograd}\n")
    monkeypatch.syspath_prepend(str(folder))
    forget_scarlet(monkeypatch)


WITHOUT_JAX = """
import sys
sys.modules["jax"] = sys.modules["scarlet2"] = None
from btk_generative import cli
for name, *changes in (
    ("default",),
    ("fitted", "deblenders=[sep]"),
    ("scarlet2", "arms=[parametric,generative]"),
    ("sep", "deblenders=[sep]", "arms=[parametric,generative]"),
):
    sets = [part for change in changes for part in ("--set", change)]
    sys.argv = ["", "compare", "c.yaml", "--output", name, *sets]
    try:
        cli.main()
    except SystemExit as end:
        print("ended", name, end.code or 0, file=sys.stderr)
"""


def test_without_jax(tmp_path):
    """It is asked for where it is needed, before anything is drawn, and only there."""
    (tmp_path / "c.yaml").write_text(
        "catalog: {mock: 300}\nblends: 1\ncontrol: false\n"
        "sampling: {stamp_size: 6.0, max_number: 2, max_mag: 23, max_shift: 1.0}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_JAX], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    said = [x for x in done.stderr.splitlines() if x.startswith(("error: ", "ended "))]
    install = "pip install 'btk-generative[compare]'"
    assert said[0] == said[2]
    assert said[0].startswith(f"error: arm 'fitted' needs jax: {install}")
    assert said[4] == f"error: deblender 'scarlet2' needs jax and scarlet2: {install}"
    assert said[1::2][:2] == ["ended default 2", "ended fitted 2"]
    assert said[5:] == ["ended scarlet2 2", "ended sep 0"]
    assert (tmp_path / "sep/report.html").exists()
    for name in ("default", "fitted", "scarlet2"):
        assert not any((tmp_path / name).iterdir())


def test_missing_scarlet_says_where_it_is(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    forget_scarlet(monkeypatch)
    with pytest.raises(PackageMissing, match="not installed; it is on GitHub only"):
        bg.compare.ScarletDeblender(3)


def test_another_package_called_scarlet_is_told_apart(tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch)
    with pytest.raises(PackageMissing, match="not the deblender"):
        bg.compare.ScarletDeblender(3)


def test_autograd_that_breaks_scarlet_is_named(tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, "class Blend: pass\n", "1.9.1")
    with pytest.raises(PackageMissing, match=r"autograd 1\.9\.1"):
        bg.compare.ScarletDeblender(3)


def test_scarlet_that_gives_nothing_raises_instead_of_zeros(tmp_path, monkeypatch, batch):
    fake(tmp_path, monkeypatch, "class Blend: pass\n", "1.6.2")
    deblender = bg.compare.ScarletDeblender(batch.max_n_sources)
    import scarlet

    def singular(*_, **__):
        raise np.linalg.LinAlgError

    class Stand:
        def __init__(self, *_, **__):
            pass

        def match(self, _):
            return self

    scarlet.GaussianPSF = scarlet.Frame = scarlet.ImagePSF = scarlet.Observation = Stand
    scarlet.initialization = SimpleNamespace(init_all_sources=singular)
    with pytest.raises(RuntimeError, match="singular"):
        deblender.deblend(0, batch)


def test_scarlet_itself_deblends_and_survives_odd_blends():
    """The original scarlet, where it is installed and can work."""
    try:
        deblender = bg.compare.ScarletDeblender(3)
    except PackageMissing as missing:
        pytest.skip(str(missing))
    lsst = btk.survey.get_surveys("LSST")
    sampling = btk.sampling_functions.DefaultSampling(**SAMPLING, seed=2)
    # BTK's own batches, whose PSFs have GalSim's pixels
    blends = next(
        btk.draw_blends.CatsimGenerator(
            bg.catalogs.mock_catsim(500), sampling, lsst, 2, add_noise="background", seed=2
        )
    )
    noise = sky_levels(lsst)[:, None, None]
    for k, table in enumerate(blends.catalog_list):
        example = deblender.deblend(k, blends)
        left = blends.blend_images[k] - example.deblended_images.sum(axis=0)
        assert np.mean(left**2 / noise) < 1.1
        rows = measure(blends, k, example, "i")
        assert [row["matched"] for row in rows] == [1.0] * len(table)
        assert np.median([row["correlation"] for row in rows]) > 0.98
    empty = deblender.deblend(0, blends, [table[:0] for table in blends.catalog_list])
    assert len(empty.catalog) == 0
    assert not empty.deblended_images.any()
