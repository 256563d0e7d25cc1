"""The blend generators: fluxes, places, angles, reproducibility, noise, and BTK's own tools."""

import hashlib
import subprocess
import sys

import btk
import galsim
import numpy as np
import pytest
from astropy.table import Table
from btk.catalog import CatsimCatalog
from btk.sampling_functions import DefaultSampling
from btk.survey import get_surveys
from surveycodex.utilities import mag2counts, mean_sky_level

from btk_generative import catalogs, load_model
from btk_generative.draw import (
    GenerativeGenerator,
    IndexedSampling,
    ParametricGenerator,
    SurveyBatch,
    SurveyBatches,
)
from btk_generative.errors import CatalogError, ConfigError, ModelError
from btk_generative.surveys import band_flux


@pytest.fixture(scope="module")
def catalog():
    return catalogs.mock_catsim(3000, seed=5)


@pytest.fixture(scope="module")
def model():
    return load_model("default")


@pytest.fixture(scope="module")
def lsst():
    return get_surveys("LSST")


class OneByOne(btk.sampling_functions.SamplingFunction):
    """Blends of one galaxy: the catalogue's rows in order, a little off the centre."""

    def __init__(self, stamp_size=24.0):
        super().__init__(stamp_size, max_number=1)
        self.row = -1

    def __call__(self, table):
        self.row = (self.row + 1) % len(table)
        galaxy = table[[self.row]]
        galaxy["ra"], galaxy["dec"] = 0.37 - 0.1 * (self.row % 7), -0.29 + 0.1 * (self.row % 5)
        return galaxy


def sampling(max_number=3, seed=2):
    return DefaultSampling(stamp_size=24.0, max_number=max_number, max_mag=25.3, seed=seed)


def galaxies(n=4, **columns) -> CatsimCatalog:
    """Returns a catalogue of n galaxies of 22nd magnitude, some columns replaced."""
    values = {
        "ra": 0.0,
        "dec": 0.0,
        "redshift": 0.7,
        "fluxnorm_bulge": 1.0,
        "fluxnorm_disk": 3.0,
        "fluxnorm_agn": 0.0,
        "a_b": 0.3,
        "b_b": 0.25,
        "a_d": 0.7,
        "b_d": 0.4,
        "pa_bulge": 25.0,
        "pa_disk": 25.0,
        **dict(zip("ugrizy", (23.5, 22.9, 22.4, 22.0, 21.8, 21.7), strict=True)),
    }
    values = {name + "_ab" if len(name) == 1 else name: v for name, v in values.items()} | columns
    return CatsimCatalog(Table({k: np.broadcast_to(v, n).copy() for k, v in values.items()}))


def one_by_one(catalog, survey, model, **options):
    n = len(catalog.table)
    return GenerativeGenerator(
        catalog, OneByOne(), survey, batch_size=n, add_noise="none", model=model, **options
    )


def whole_counts(table, survey):
    """Electrons as BTK draws them: whole ones."""
    return np.stack(
        [
            mag2counts(np.array(table[f"{b}_ab"]), survey, survey.get_filter(b)).value
            for b in survey.available_filters
        ],
        axis=1,
    )


def counts(table, survey):
    """Electrons by the definition of the zero point, the magnitude of one electron a second."""
    filters = [survey.get_filter(b) for b in survey.available_filters]
    return np.stack(
        [
            10 ** (-0.4 * (np.array(table[f"{f.name}_ab"]) - f.zeropoint.value))
            * f.full_exposure_time.to_value("s")
            for f in filters
        ],
        axis=1,
    )


def btk_ratio(table, survey):
    """By how much BTK's images are too faint, ``[n, bands, 1, 1]``."""
    return (band_flux(table, survey) / whole_counts(table, survey))[:, :, None, None]


# --- what a batch is ---------------------------------------------------------------------------


def test_a_batch_has_btks_form(catalog, model, lsst):
    options = {"batch_size": 3, "seed": 1}
    batch = next(GenerativeGenerator(catalog, sampling(), lsst, model=model, **options))
    indexed = IndexedSampling(sampling())
    theirs = next(btk.draw_blends.CatsimGenerator(catalog, indexed, lsst, **options))
    assert isinstance(batch, btk.blend_batch.BlendBatch)
    for name in ("blend_images", "isolated_images"):
        mine, reference = getattr(batch, name), getattr(theirs, name)
        assert (mine.shape, mine.dtype) == (reference.shape, reference.dtype)
    for mine, reference in zip(batch.catalog_list, theirs.catalog_list, strict=True):
        assert set(reference.colnames) <= set(mine.colnames)
        for name in reference.colnames:
            np.testing.assert_allclose(mine[name], reference[name], rtol=0, atol=1e-9)
        assert {"in_domain", "blend_index", "galaxy_index"} <= set(mine.colnames)


def test_the_catalogue_itself_is_left_alone(catalog, model, lsst):
    before = catalog.table.copy()
    next(GenerativeGenerator(catalog, sampling(), lsst, batch_size=2, model=model))
    assert catalog.table.colnames == before.colnames
    assert all(np.array_equal(catalog.table[name], before[name]) for name in before.colnames)


def test_unused_slots_are_empty_and_a_blend_is_the_sum_of_its_galaxies(catalog, model, lsst):
    generator = GenerativeGenerator(
        catalog, sampling(5), lsst, batch_size=4, add_noise="none", model=model
    )
    for _ in range(2):
        batch = next(generator)
        for blend, isolated, truth in zip(
            batch.blend_images, batch.isolated_images, batch.catalog_list, strict=True
        ):
            assert not isolated[len(truth) :].any()
            assert isolated[: len(truth)].any(axis=(1, 2, 3)).all()
            np.testing.assert_allclose(blend, isolated.sum(axis=0), rtol=1e-12)
        del batch, blend, isolated


def test_memory_is_used_again_but_not_while_anything_refers_to_it(catalog, model, lsst):
    generator = GenerativeGenerator(catalog, sampling(), lsst, batch_size=2, model=model)
    galaxy = next(generator).isolated_images[0, 0, 2]
    before = galaxy.copy()
    places = [next(generator).isolated_images.ctypes.data for _ in range(4)]
    np.testing.assert_array_equal(galaxy, before)
    assert len(set(places)) == 1


# --- fluxes, places, angles --------------------------------------------------------------------


def test_fluxes_are_the_catalogues_in_every_band(catalog, model, lsst):
    table = catalog.table
    small = np.sqrt(table["a_d"] * table["b_d"]) < 1.0
    small &= (np.sqrt(table["a_b"] * table["b_b"]) < 0.6) & (table["i_ab"] < 24.5)
    chosen = CatsimCatalog(table[small][:25])
    batch = next(one_by_one(chosen, lsst, model))
    theirs = btk.draw_blends.CatsimGenerator(
        chosen, OneByOne(), lsst, batch_size=25, add_noise="none"
    )
    mine = batch.isolated_images[:, 0].sum(axis=(2, 3))
    expected = counts(chosen.table, lsst)
    np.testing.assert_allclose(mine, expected, rtol=5e-3)
    whole = next(theirs).isolated_images[:, 0].sum(axis=(2, 3))
    np.testing.assert_allclose(mine, whole * btk_ratio(chosen.table, lsst)[..., 0, 0], rtol=5e-3)


@pytest.mark.parametrize("name", ["LSST", "HSC", "Euclid_VIS", "Roman_WFI"])
def test_fluxes_are_those_of_surveycodex(name):
    survey = get_surveys(name)
    magnitudes = {f"{band}_ab": np.linspace(14, 29, 999) for band in survey.available_filters}
    table = Table(magnitudes)
    np.testing.assert_allclose(band_flux(table, survey), counts(table, survey), rtol=1e-12)
    np.testing.assert_array_equal(
        np.trunc(band_flux(table, survey)), whole_counts(table, survey)
    )  # surveycodex and BTK cut off what is no whole electron


@pytest.mark.parametrize("policy", ["clip", "parametric"])
def test_a_source_below_one_electron_keeps_its_flux(model, lsst, policy):
    chosen = galaxies(2, redshift=[0.7, 30.0])
    for index, band in enumerate(lsst.available_filters):
        chosen.table[f"{band}_ab"] = 36.0 + 0.5 * index
    expected = counts(chosen.table, lsst)
    assert (expected < 1).sum() == 8
    assert not whole_counts(chosen.table, lsst)[expected < 1].any()
    batch = next(one_by_one(chosen, lsst, model, out_of_domain=policy))
    parametric = next(ParametricGenerator(chosen, OneByOne(), lsst, batch_size=2, add_noise="none"))
    for drawn in (batch, parametric):
        fluxes = drawn.isolated_images[:, 0].sum(axis=(2, 3))
        np.testing.assert_allclose(fluxes, expected, rtol=1e-2)
        for band in lsst.available_filters:
            assert not any(truth[f"not_drawn_{band}"].any() for truth in drawn.catalog_list)


def test_every_band_is_the_same_morphology_and_colours_are_exact(model):
    survey = get_surveys("LSST", psf_func=lambda survey, filt: galsim.Moffat(3.5, fwhm=0.7))
    chosen = galaxies(3)
    images = next(one_by_one(chosen, survey, model)).isolated_images[:, 0]
    shapes = images / counts(chosen.table, survey)[:, :, None, None]
    reference = np.broadcast_to(shapes[:, :1], shapes.shape)
    np.testing.assert_allclose(shapes, reference, rtol=0, atol=2e-6 * shapes.max())


def test_galaxies_lie_where_the_catalogue_says(catalog, model, lsst):
    bright = CatsimCatalog(catalog.table[catalog.table["i_ab"] < 23.5][:150])
    batch = next(one_by_one(bright, lsst, model))
    offsets = []
    for images, truth in zip(batch.isolated_images, batch.catalog_list, strict=True):
        moments = galsim.hsm.FindAdaptiveMom(galsim.Image(images[0, 3].astype(np.float32)))
        centre = moments.moments_centroid
        offsets.append((centre.x - 1 - truth["x_peak"][0], centre.y - 1 - truth["y_peak"][0]))
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.02
    assert np.median(np.hypot(*np.transpose(offsets))) < 0.05


@pytest.mark.parametrize("part", ["disk", "bulge"])
def test_galaxies_point_where_the_catalogue_says(part, model, lsst):
    rng = np.random.default_rng(0)
    q, a = rng.uniform(0.2, 0.6, 40), 1.2
    letter = part[0]
    other = "disk" if part == "bulge" else "bulge"
    columns = {
        f"pa_{part}": rng.uniform(0, 180, 40),
        f"a_{letter}": a,
        f"b_{letter}": q * a,
        f"fluxnorm_{other}": 0.0,
    }
    chosen = galaxies(40, **columns)
    batch = next(one_by_one(chosen, lsst, model, augment_data=True))
    errors = []
    for images, truth in zip(batch.isolated_images, batch.catalog_list, strict=True):
        moments = galsim.hsm.FindAdaptiveMom(galsim.Image(images[0, 3].astype(np.float32)))
        expected = np.deg2rad(truth[f"pa_{part}"][0] + truth["btk_rotation"][0])
        angle = moments.observed_shape.beta.rad
        errors.append(np.angle(np.exp(2j * (angle - expected))) / 2)
    assert np.rad2deg(np.median(np.abs(errors))) < 10
    assert len({truth["btk_rotation"][0] for truth in batch.catalog_list}) == 40


def test_shear_turns_a_galaxy_the_way_galsim_does(model, lsst):
    # a shear along 45 degrees, on a galaxy made round: its image leans the same way
    round_one = {"a_d": 0.8, "b_d": 0.8, "fluxnorm_bulge": 0.0}
    angles = {}
    for g2 in (0.3, -0.3):
        chosen = galaxies(6, g1=0.0, g2=g2, **round_one)
        batch = next(one_by_one(chosen, lsst, model, apply_shear=True))
        stack = batch.isolated_images[:, 0, 3].sum(axis=0).astype(np.float32)
        angles[g2] = galsim.hsm.FindAdaptiveMom(galsim.Image(stack)).observed_shape.g2
    assert angles[0.3] > 0.1
    assert angles[-0.3] < -0.1


@pytest.mark.parametrize(
    "shares", [(0, 1, 0), (1, 0, 0), (1, 3, 0), (1, 3, 2), (0, 1, 1), (1, 0, 1), (0, 0, 1)]
)
def test_every_mixture_of_components_draws_with_its_flux(shares, model, lsst):
    names = ("fluxnorm_bulge", "fluxnorm_disk", "fluxnorm_agn")
    chosen = galaxies(2, **dict(zip(names, map(float, shares), strict=True)))
    batch = next(one_by_one(chosen, lsst, model))
    mine = batch.isolated_images[:, 0].sum(axis=(2, 3))
    np.testing.assert_allclose(mine, counts(chosen.table, lsst), rtol=5e-3)


def test_an_agn_alone_is_a_point_source(model, lsst):
    chosen = galaxies(1, fluxnorm_bulge=0.0, fluxnorm_disk=0.0, fluxnorm_agn=1.0)
    batch = next(one_by_one(chosen, lsst, model))
    theirs = btk.draw_blends.CatsimGenerator(
        chosen, OneByOne(), lsst, batch_size=1, add_noise="none"
    )
    reference = next(theirs).isolated_images * btk_ratio(chosen.table, lsst)
    # GalSim's own default accuracy is about 1e-3 of the peak here
    np.testing.assert_allclose(batch.isolated_images, reference, atol=2e-3 * reference.max())


# --- reproducibility ---------------------------------------------------------------------------


def digest(generator, batches):
    parts = [next(generator) for _ in range(batches)]
    images = np.concatenate([part.blend_images for part in parts])
    isolated = np.concatenate([part.isolated_images for part in parts])
    rotations = np.concatenate([t["btk_rotation"] for part in parts for t in part.catalog_list])
    return [
        hashlib.sha256(np.ascontiguousarray(a)).hexdigest() for a in (images, isolated, rotations)
    ]


def test_the_same_for_any_batch_size_and_number_of_jobs(catalog, model, lsst):
    def draw(batch_size, batches, njobs):
        return digest(
            GenerativeGenerator(
                catalog,
                sampling(),
                lsst,
                batch_size=batch_size,
                njobs=njobs,
                seed=7,
                augment_data=True,
                model=model,
            ),
            batches,
        )

    reference = draw(12, 1, 1)
    assert draw(3, 4, 1) == reference
    assert draw(6, 2, 2) == reference
    assert draw(1, 12, 1) == reference


@pytest.mark.slow
def test_the_same_in_a_fresh_process(catalog, model, lsst):
    code = (
        "import hashlib, btk, btk_generative as bg\n"
        "sampling = btk.sampling_functions.DefaultSampling("
        "stamp_size=24.0, max_number=3, max_mag=25.3, seed=2)\n"
        "g = bg.GenerativeGenerator(bg.catalogs.mock_catsim(3000, seed=5), sampling,\n"
        "    btk.survey.get_surveys('LSST'), batch_size=2, seed=3)\n"
        "b = next(g)\n"
        "print(hashlib.sha256(b.blend_images).hexdigest())\n"
    )
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    generator = GenerativeGenerator(catalog, sampling(), lsst, batch_size=2, seed=3, model=model)
    assert fresh.stdout.split()[-1] == digest(generator, 1)[0]


def test_blends_and_seeds_differ(model, lsst):
    same = galaxies(3, ra=0.0, dec=0.0)

    class Same(OneByOne):
        def __call__(self, table):
            return table[[0]]

    def draw(seed, noise):
        return next(
            GenerativeGenerator(
                same,
                Same(),
                lsst,
                batch_size=3,
                seed=seed,
                add_noise=noise,
                augment_data=True,
                model=model,
            )
        )

    one, other, noisy = draw(1, "none"), draw(2, "none"), draw(1, "background")
    images = [*one.blend_images, *other.blend_images]
    noise = noisy.blend_images - one.blend_images
    for k in range(len(images)):
        for other_image in images[k + 1 :]:
            assert not np.allclose(images[k], other_image, rtol=1e-3)
    correlation = np.corrcoef(noise.reshape(3 * 6, -1))
    assert np.abs(correlation - np.eye(18)).max() < 5 / 120


def test_a_galaxy_is_the_same_in_every_survey_and_does_not_depend_on_the_others(model):
    psf = galsim.Moffat(3.5, fwhm=0.7)
    hsc, lsst = (get_surveys(name, psf_func=lambda s, f: psf) for name in ("HSC", "LSST"))
    chosen = galaxies(3)
    both = next(one_by_one(chosen, [lsst, hsc], model))
    assert isinstance(both, btk.blend_batch.MultiResolutionBlendBatch)
    alone = next(one_by_one(chosen, hsc, model))
    assert np.array_equal(both["HSC"].isolated_images, alone.isolated_images)
    # resampled to the same pixels the two surveys' images agree
    bands = [lsst.available_filters.index("r"), hsc.available_filters.index("r")]
    for k in range(3):
        drawn = []
        for name, band in zip(("LSST", "HSC"), bands, strict=True):
            batch = both[name]
            image = batch.isolated_images[k, 0, band]
            scale = batch.survey.pixel_scale.to_value("arcsec")
            moments = galsim.hsm.FindAdaptiveMom(galsim.Image(image.astype(np.float32)))
            drawn.append(
                (
                    moments.moments_sigma * scale,
                    moments.observed_shape.g1,
                    moments.observed_shape.g2,
                )
            )
        np.testing.assert_allclose(drawn[0], drawn[1], atol=0.01)


def test_render_single_draws_the_galaxy_of_the_truth_table(catalog, model, lsst):
    generator = GenerativeGenerator(
        catalog, sampling(), lsst, batch_size=3, add_noise="none", augment_data=True, model=model
    )
    batch = next(generator)
    for band in ("g", "y"):
        filt = lsst.get_filter(band)
        image = generator.render_single(batch.catalog_list[2][0], filt, filt.psf, lsst)
        expected = batch.isolated_images[2, 0, lsst.available_filters.index(band)]
        np.testing.assert_allclose(image.array, expected, atol=1e-5 * expected.max())


# --- noise -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["background", "galaxy", "all"])
def test_noise_has_the_mean_and_variance_of_what_is_counted(kind, model, lsst):
    chosen = galaxies(1)
    draws = 40

    def draw(noise):
        generator = GenerativeGenerator(
            chosen, OneByOne(), lsst, batch_size=1, add_noise=noise, seed=4, model=model
        )
        # the same galaxy each time: only the noise is drawn anew
        profiles = generator.painter.profiles
        first = []
        generator.painter.profiles = lambda *a: (
            first[0] if first else first.append(profiles(*a)) or first[0]
        )
        batches = [next(generator) for _ in range(draws if noise != "none" else 1)]
        return np.stack([batch.blend_images[0] for batch in batches])

    clean = draw("none")[0]
    noise = draw(kind) - clean
    for k, band in enumerate(lsst.available_filters):
        sky = mean_sky_level(lsst, lsst.get_filter(band)).to_value("electron")
        expected = {
            "background": np.full_like(clean[k], sky),
            "galaxy": np.maximum(clean[k], 0),
            "all": np.maximum(clean[k] + sky, 0),
        }[kind]
        pulls = noise[:, k] / np.sqrt(np.maximum(expected, 1.0))
        where = expected > 5
        n = draws * where.sum()
        assert abs(pulls[:, where].mean()) < 5 / np.sqrt(n)
        assert abs(pulls[:, where].var() - 1) < 5 * np.sqrt(2.5 / n)


def test_background_noise_does_not_depend_on_the_galaxies(catalog, model, lsst):
    def noise(cls, **options):
        images = [
            next(
                cls(catalog, sampling(), lsst, batch_size=2, seed=3, add_noise=kind, **options)
            ).blend_images
            for kind in ("background", "none")
        ]
        return images[0] - images[1]

    np.testing.assert_allclose(
        noise(GenerativeGenerator, model=model), noise(ParametricGenerator), atol=1e-6
    )


# --- the parametric sibling, and galaxies outside the domain -----------------------------------


def test_the_parametric_generator_draws_what_btk_draws(catalog, lsst):
    options = {"batch_size": 2, "add_noise": "none"}
    mine = next(ParametricGenerator(catalog, sampling(), lsst, **options))
    indexed = IndexedSampling(sampling())
    theirs = next(btk.draw_blends.CatsimGenerator(catalog, indexed, lsst, **options))
    for ours, whole, truth in zip(
        mine.isolated_images, theirs.isolated_images, mine.catalog_list, strict=True
    ):
        n = len(truth)
        assert np.array_equal(ours[:n], whole[:n] * btk_ratio(truth, lsst))
        assert not ours[n:].any()


def outsider(model):
    """Returns a catalogue of which galaxy 0 is inside the model's domain and galaxy 1 is not."""
    largest = {given.name: given.maximum for given in model.inputs}["zphot"]
    return galaxies(2, redshift=[0.7, largest + 1.0])


def test_clipping_keeps_flux_and_size(model, lsst):
    chosen = outsider(model)
    batch = next(one_by_one(chosen, lsst, model, out_of_domain="clip"))
    assert [truth["in_domain"][0] for truth in batch.catalog_list] == [True, False]
    np.testing.assert_allclose(
        batch.isolated_images[:, 0].sum(axis=(2, 3)), counts(chosen.table, lsst), rtol=5e-3
    )


def test_outside_the_domain_the_parametric_galaxy_may_be_drawn(model, lsst):
    chosen = outsider(model)
    batch = next(one_by_one(chosen, lsst, model, out_of_domain="parametric"))
    theirs = btk.draw_blends.CatsimGenerator(
        chosen, OneByOne(), lsst, batch_size=2, add_noise="none"
    )
    reference = next(theirs).isolated_images[:, 0] * btk_ratio(chosen.table, lsst)
    reference = reference[:, None]
    assert np.array_equal(batch.isolated_images[1], reference[1])
    assert not np.allclose(batch.isolated_images[0], reference[0])


def test_outside_the_domain_may_be_an_error(model, lsst):
    generator = one_by_one(outsider(model), lsst, model, out_of_domain="raise")
    with pytest.raises(ModelError, match=r"galaxy 0 of blend 1: zphot = .* outside the domain"):
        next(generator)


# --- BTK's own tools ---------------------------------------------------------------------------


def test_a_batch_goes_through_btks_deblender_matcher_and_metrics(catalog, model, lsst):
    generator = GenerativeGenerator(
        catalog, sampling(), lsst, batch_size=4, add_noise="background", model=model
    )
    batch = next(generator)
    detected = btk.deblend.SepSingleBand(max_n_sources=5, use_band=2)(batch)
    matching = btk.match.PixelHungarianMatcher(pixel_max_sep=5.0)(
        batch.catalog_list, detected.catalog_list
    )
    assert matching.tp.sum() > 0
    assert np.all(matching.tp <= matching.t)
    assert (
        0 < btk.metrics.detection.Recall(batch.batch_size)(matching.tp, matching.t, matching.p) <= 1
    )
    true, found = (
        matching.match_true_arrays(batch.isolated_images[:, :, 2]),
        matching.match_pred_arrays(detected.deblended_images[:, :, 0]),
    )
    assert np.isfinite(btk.metrics.reconstruction.mse(true, found)).all()


def test_a_batch_survives_btks_save_and_load(catalog, model, lsst, tmp_path):
    batch = next(GenerativeGenerator(catalog, sampling(), lsst, batch_size=2, model=model))
    batch.save(str(tmp_path))
    loaded = btk.blend_batch.BlendBatch.load(str(tmp_path))
    assert np.array_equal(loaded.blend_images, batch.blend_images)
    assert np.array_equal(loaded.isolated_images, batch.isolated_images)
    for mine, reference in zip(loaded.catalog_list, batch.catalog_list, strict=True):
        assert mine.colnames == reference.colnames
        assert all(np.array_equal(mine[name], reference[name]) for name in mine.colnames)
    again = SurveyBatch.load(str(tmp_path))
    assert np.array_equal(again.get_numpy_psf(), batch.get_numpy_psf())


def test_psfs_have_the_surveys_pixels_and_a_central_peak(catalog, model, lsst):
    batch = next(GenerativeGenerator(catalog, sampling(), lsst, batch_size=1, model=model))
    psf = batch.get_numpy_psf()
    assert psf.shape == (6, 119, 119)
    for image, reference in zip(psf, batch.psf, strict=True):
        assert np.unravel_index(image.argmax(), image.shape) == (59, 59)
        assert image.sum() == pytest.approx(1, abs=0.01)
        fwhm = galsim.Image(image, scale=0.2).calculateFWHM()
        assert fwhm == pytest.approx(reference.calculateFWHM(), rel=0.05)


def test_several_surveys_survive_save_and_load(catalog, model, tmp_path):
    surveys = get_surveys(["LSST", "HSC"])
    both = next(GenerativeGenerator(catalog, sampling(), surveys, batch_size=1, model=model))
    both.save(str(tmp_path))
    loaded = SurveyBatches.load(str(tmp_path))
    for name in ("LSST", "HSC"):
        assert np.array_equal(loaded[name].blend_images, both[name].blend_images)


# --- mistakes ----------------------------------------------------------------------------------


def test_a_band_without_magnitude_is_named(catalog, model):
    with pytest.raises(CatalogError, match=r"IE band of survey Euclid_VIS.*'IE_ab'"):
        GenerativeGenerator(catalog, sampling(), get_surveys("Euclid_VIS"), model=model)


def test_another_kind_of_catalogue(model, lsst):
    class Other(btk.catalog.Catalog):
        from_file = None

        def _prepare_table(self, raw_catalog):
            return raw_catalog

    with pytest.raises(CatalogError, match="CatsimCatalog, not a Other"):
        GenerativeGenerator(Other(Table()), sampling(), lsst, model=model)


def test_a_bad_row_is_named(model, lsst):
    with pytest.raises(CatalogError, match=r"'redshift', row 1"):
        GenerativeGenerator(galaxies(2, redshift=[1, np.nan]), sampling(), lsst, model=model)


def test_shear_without_its_columns(model, lsst):
    generator = GenerativeGenerator(
        galaxies(2), OneByOne(), lsst, batch_size=1, apply_shear=True, model=model
    )
    with pytest.raises(CatalogError, match="'g1' and 'g2'"):
        next(generator)


@pytest.mark.parametrize(
    ("option", "value"),
    [("seed", -1), ("seed", "one"), ("njobs", 0), ("batch_size", 0), ("out_of_domain", "clop")],
)
def test_an_argument_out_of_range(option, value, model, lsst):
    with pytest.raises(ConfigError, match=option):
        GenerativeGenerator(galaxies(2), OneByOne(), lsst, model=model, **{option: value})


def test_an_unknown_kind_of_noise(model, lsst):
    with pytest.raises(ValueError, match="add_noise"):
        GenerativeGenerator(galaxies(2), OneByOne(), lsst, model=model, add_noise="some")


@pytest.mark.slow
def test_the_real_catalogue_draws(data, model, lsst):
    catalog = CatsimCatalog.from_file(str(data("catalogs/catsim_10k.fits")))
    batch = next(GenerativeGenerator(catalog, sampling(5), lsst, batch_size=20, model=model))
    assert np.isfinite(batch.blend_images).all()
    assert np.isfinite(batch.isolated_images).all()
