"""Scarlet2Deblender: the fit is good, is scarlet2's model, compiles once and survives oddities."""

import os

import btk
import numpy as np
import pytest
from btk.deblend import DeblendGenerator

import btk_generative as bg
from btk_generative.errors import ConfigError

pytest.importorskip("scarlet2")
from btk_generative.compare.bench import first_alone
from btk_generative.compare.scarlet2 import Scarlet2Deblender, survey_psfs
from btk_generative.surveys import sky_levels

BOX = 41


def draw(n=6, stamp=12.0, noise="background", seed=3, max_mag=24.0):
    catalog = bg.catalogs.mock_catsim(2000, seed=0)
    sampling = btk.sampling_functions.DefaultSampling(
        stamp_size=stamp,
        min_number=2,
        max_number=3,
        max_mag=max_mag,
        min_mag=20,
        max_shift=2.4,
        seed=seed,
    )
    survey = btk.survey.get_surveys("LSST")
    return bg.ParametricGenerator(
        catalog, sampling, survey, batch_size=n, seed=seed, add_noise=noise
    )


@pytest.fixture(scope="module")
def batch():
    return next(draw())


@pytest.fixture(scope="module")
def deblender(batch):
    made = Scarlet2Deblender(batch.max_n_sources, box=BOX)
    made.deblend(0, batch)
    return made


def correlation(model, truth):
    return np.sum(model * truth) / np.sqrt(np.sum(model**2) * np.sum(truth**2))


def test_fit_explains_the_data_and_finds_the_galaxies(batch, deblender):
    found = deblender(batch)
    noise = sky_levels(batch.survey)[:, None, None]
    chi2 = (batch.blend_images - found.deblended_images.sum(axis=1)) ** 2 / noise
    assert chi2.mean() < 1.1
    i = list(batch.survey.available_filters).index("i")
    correlations = [
        correlation(found.deblended_images[k, j, i], batch.isolated_images[k, j, i])
        for k, table in enumerate(batch.catalog_list)
        for j in range(len(table))
    ]
    assert np.median(correlations) > 0.995
    assert (found.deblended_images >= -1e-3 * np.sqrt(noise)).all()


def test_images_are_the_scarlet2_scene_rendered_by_scarlet2(batch, deblender):
    import scarlet2

    example = deblender.deblend(1, batch)
    scene = example.extra_data["scene"]
    assert isinstance(scene, scarlet2.Scene)
    assert len(scene.sources) == len(batch.catalog_list[1])
    observation = scarlet2.Observation(
        batch.blend_images[1],
        np.ones_like(batch.blend_images[1]),
        psf=survey_psfs(batch),
        channels=scene.frame.channels,
    )
    observation.check_set_renderer(scene.frame)
    expected = np.asarray(observation.render(scene()))
    ours = example.deblended_images.sum(axis=0)
    np.testing.assert_allclose(ours, expected, atol=2e-5 * expected.max())


def test_nothing_is_compiled_after_the_first_blend(batch, deblender):
    import jax

    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
    )
    other = next(draw(n=3, seed=11))
    # another deblender with the same settings, other numbers of sources, other data
    again = Scarlet2Deblender(batch.max_n_sources, box=BOX)
    before = len(compiled)
    for k in range(batch.batch_size):
        deblender.deblend(k, batch)
    assert len(compiled) == before
    again(other)
    assert not [name for name in compiled[before:] if "backend_compile" in name]


def test_result_does_not_depend_on_what_was_fitted_before(batch, deblender):
    first = deblender.deblend(2, batch).deblended_images
    deblender.deblend(3, batch)
    np.testing.assert_array_equal(deblender.deblend(2, batch).deblended_images, first)


def test_monotonic_images_fall_off_from_the_centre(batch, deblender):
    scene = deblender.deblend(0, batch).extra_data["scene"]
    half = BOX // 2
    for source in scene.sources:
        image = np.asarray(source.morphology)
        assert (image >= 0).all()
        assert image.max() == image[half, half]
        # ring by ring, the brightest pixel never grows outwards
        y, x = np.mgrid[-half : half + 1, -half : half + 1]
        ring = np.maximum(abs(x), abs(y))
        brightest = [image[ring == r].max() for r in range(half + 1)]
        assert (np.diff(brightest) <= 1e-6 * image.max()).all()


def test_without_monotonicity_a_ring_galaxy_keeps_its_hole(batch):
    """An annulus cannot be drawn by images that fall off from the centre."""
    import copy

    y, x = np.indices(batch.blend_images.shape[-2:])
    middle = (x.shape[0] - 1) / 2
    ring = np.exp(-0.5 * ((np.hypot(x - middle, y - middle) - 8) / 2.0) ** 2)
    blend = copy.deepcopy(batch)
    noise = np.sqrt(sky_levels(batch.survey))[:, None, None]
    blend.blend_images[0] = 20 * ring * noise
    blend.catalog_list[0] = blend.catalog_list[0][:1]
    blend.catalog_list[0]["ra"] = blend.catalog_list[0]["dec"] = 0.0
    left = []
    for monotonic in (True, False):
        made = Scarlet2Deblender(1, box=BOX, monotonic=monotonic, thresh=0.1)
        model = made.deblend(0, blend).deblended_images.sum(axis=0)
        left.append(np.mean((blend.blend_images[0] - model) ** 2 / noise**2))
    assert left[1] < 0.5 * left[0]


def test_two_components_tell_a_red_bulge_from_a_blue_disk(batch, deblender):
    import copy

    import galsim

    blend = copy.deepcopy(batch)
    size, scale = batch.image_size, 0.2
    bulge, disk = galsim.DeVaucouleurs(0.3), galsim.Exponential(1.2)
    noise = np.sqrt(sky_levels(batch.survey))
    parts = [
        [
            galsim.Convolve(p, psf).drawImage(nx=size, ny=size, scale=scale).array
            for psf in batch.psf
        ]
        for p in (bulge, disk)
    ]
    colour = np.linspace(0.1, 1, len(noise))
    flux = 3e4 * noise * np.array([colour, colour[::-1]])
    blend.blend_images[0] = np.einsum("pb,pbyx->byx", flux, parts)
    blend.catalog_list[0] = blend.catalog_list[0][:1]
    blend.catalog_list[0]["ra"] = blend.catalog_list[0]["dec"] = 0.0
    left = []
    for made in (deblender, Scarlet2Deblender(1, box=BOX, components=2)):
        model = made.deblend(0, blend).deblended_images.sum(axis=0)
        left.append(np.mean((blend.blend_images[0] - model) ** 2 / noise[:, None, None] ** 2))
    assert left[1] < 0.2 * left[0]


def test_empty_blend_gives_no_sources(batch, deblender):
    empty = [table[:0] for table in batch.catalog_list]
    example = deblender.deblend(0, batch, reference_catalogs=empty)
    assert len(example.catalog) == 0
    assert not example.deblended_images.any()


def test_sources_on_one_pixel_explain_a_galaxy_as_well_as_one(batch, deblender):
    lonely = first_alone(batch)
    doubled = [table[[0, 0]] for table in lonely.catalog_list]
    noise = sky_levels(batch.survey)[:, None, None]
    for k in range(batch.batch_size):
        chi2 = []
        for catalogs in (lonely.catalog_list, doubled):
            images = deblender.deblend(k, lonely, catalogs).deblended_images.sum(axis=0)
            chi2.append(np.mean((lonely.blend_images[k] - images) ** 2 / noise))
        assert chi2[1] == pytest.approx(chi2[0], rel=0.01)


def test_source_beside_the_stamp_does_no_harm(batch, deblender):
    moved = [table.copy() for table in batch.catalog_list]
    moved[0]["ra"][0] = 100.0
    assert np.isfinite(deblender.deblend(0, batch, moved).deblended_images).all()


def test_pixels_without_weight_are_ignored(batch, deblender):
    import copy

    weights = np.broadcast_to(
        1 / sky_levels(batch.survey)[:, None, None], batch.blend_images.shape
    ).copy()
    weights[:, :, :, 20:23] = np.nan
    spoilt = copy.deepcopy(batch)
    spoilt.blend_images[0, :, :, 20:22] = 1e9
    spoilt.blend_images[0, :, :, 22] = np.nan
    masked = deblender.deblend(0, spoilt, weights=weights).deblended_images
    np.testing.assert_array_equal(
        masked, deblender.deblend(0, batch, weights=weights).deblended_images
    )
    assert correlation(masked.sum(0), batch.isolated_images[0].sum(0)) > 0.99


def test_too_many_sources_say_so(batch, deblender):
    many = [table[np.zeros(9, dtype=int)] for table in batch.catalog_list]
    with pytest.raises(ValueError, match=r"9 sources.*max_n_sources"):
        deblender.deblend(0, batch, reference_catalogs=many)


@pytest.mark.parametrize("options", [{"components": 3}, {"box": 40}])
def test_arguments_out_of_range_say_so(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Scarlet2Deblender(3, **options)


def test_works_in_a_btk_script_whatever_njobs_says(batch):
    generator = DeblendGenerator(Scarlet2Deblender(3, box=BOX), draw(n=2), njobs=2)
    blends, deblended = next(generator)
    images = deblended["Scarlet2Deblender"].deblended_images
    assert images.shape == blends.isolated_images.shape


def test_psfs_are_odd_centred_and_on_the_survey_pixels(batch):
    psfs = survey_psfs(batch)
    assert psfs.shape[-1] % 2 == 1
    middle = psfs.shape[-1] // 2
    for image, psf in zip(psfs, batch.psf, strict=True):
        assert np.unravel_index(image.argmax(), image.shape) == (middle, middle)
        assert image.sum() == pytest.approx(1, abs=0.02)
        assert image[middle, middle] == pytest.approx(
            psf.drawImage(nx=5, ny=5, scale=0.2).array[2, 2], rel=1e-3
        )


@pytest.mark.slow
def test_numbers_on_catsim_blends(data):
    """Blends of 2 to 4 sources of i < 25.3, drawn by BTK itself."""
    catalog = btk.catalog.CatsimCatalog.from_file(str(data("catalogs/catsim_10k.fits")))
    sampling = btk.sampling_functions.DefaultSampling(min_number=2, max_number=4, seed=1)
    generator = btk.draw_blends.CatsimGenerator(
        catalog, sampling, btk.survey.get_surveys("LSST"), 25, add_noise="background", seed=1
    )
    deblender = Scarlet2Deblender(4)
    chi2, correlations, memory = [], [], []
    for _ in range(2):
        blends = next(generator)
        noise = sky_levels(blends.survey)[:, None, None]
        images = deblender(blends).deblended_images
        chi2.append(((blends.blend_images - images.sum(axis=1)) ** 2 / noise).mean())
        for k, table in enumerate(blends.catalog_list):
            for j in range(len(table)):
                if images[k, j, 3].any():  # not what has no light in the model
                    correlations.append(
                        correlation(images[k, j, 3], blends.isolated_images[k, j, 3])
                    )
        with open(f"/proc/{os.getpid()}/statm") as file:
            memory.append(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    assert np.mean(chi2) < 1.1
    assert np.median(correlations) >= 0.995
    assert memory[1] < memory[0] + 250e6
