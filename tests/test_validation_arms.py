"""Stamps and the arms: PSF, noise, orientation, seeds, workers."""

import galsim
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from btk_generative.conditions import fitted_position_angle, from_cosmos
from btk_generative.errors import CatalogError
from btk_generative.galaxies import Galaxies
from btk_generative.hst.instrument import read_psfs
from btk_generative.models import LightProfiles
from btk_generative.runs.workers import Workers
from btk_generative.validation.arms import Batch, ProfileBatch, profile_shape
from btk_generative.validation.cosmos import CosmosSample
from btk_generative.validation.stamps import add_cosmos_noise, choices, convolved
from btk_generative.validation.tasks import measured_by

PSF = galsim.Moffat(beta=3, fwhm=0.1)


@pytest.fixture(scope="module")
def sample(data):
    return CosmosSample(data("cosmos_catalog/cosmos_25.2_parametric.fits"))


@pytest.fixture(scope="module")
def psfs(data):
    return data("cosmos_hst/acs_psfs_100.fits")


@pytest.fixture(scope="module")
def profiles():
    """Returns exponential disks of half-light radius 0.3 arcsec along +x."""
    disk = galsim.Exponential(half_light_radius=0.3).shear(q=0.4, beta=0 * galsim.degrees)
    image = disk.drawImage(nx=96, ny=96, scale=0.04, method="no_pixel").array
    return LightProfiles(np.stack([image / image.sum()] * 4), np.full(4, 0.04))


@pytest.mark.parametrize(
    "galaxy",
    [
        galsim.Exponential(half_light_radius=0.2, flux=3).shear(g1=0.2, g2=0.1),
        galsim.Sersic(3.0, half_light_radius=1.0, flux=250).shear(g1=-0.1, g2=0.3),
        galsim.DeVaucouleurs(half_light_radius=0.4, flux=5),
    ],
)
def test_a_convolved_stamp_is_what_galsim_draws(galaxy):
    exact = galsim.Convolve(galaxy, PSF).drawImage(nx=128, ny=128, scale=0.03, method="no_pixel")
    assert np.abs(convolved(galaxy, PSF) - exact.array).max() < 0.003 * exact.array.max()


def test_noise_has_the_level_and_the_correlation_of_cosmos():
    noise = np.stack([add_cosmos_noise(np.zeros((128, 128)), seed) for seed in range(1, 31)])
    expected = galsim.getCOSMOSNoise()
    assert noise.std() == pytest.approx(np.sqrt(expected.getVariance()), rel=0.02)
    neighbours = (noise[:, :, 1:] * noise[:, :, :-1]).mean() / noise.var()
    image = galsim.Image(5, 5, scale=0.03)
    image.setCenter(0, 0)
    correlation = expected.drawImage(image)
    assert neighbours == pytest.approx(correlation(1, 0) / correlation(0, 0), abs=0.02)


def test_noise_depends_on_its_seed_alone():
    first = add_cosmos_noise(np.zeros((128, 128)), 5)
    other = add_cosmos_noise(np.zeros((128, 128)), 6)
    assert np.array_equal(first, add_cosmos_noise(np.zeros((128, 128)), 5))
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.05


def test_choices_are_a_function_of_seed_and_row():
    assert choices(0, 7) == choices(0, 7)
    assert len({choices(seed, row) for seed in (0, 1) for row in range(50)}) == 100


def test_a_file_without_psfs_is_named(tmp_path):
    path = tmp_path / "psfs.fits"
    path.write_text("no")
    with pytest.raises(CatalogError, match=r"psfs\.fits"):
        read_psfs(path)


def test_profile_shape_of_an_exponential_disk(profiles):
    found = profile_shape(profiles.images[0], 0.04)
    assert found.profile_hlr == pytest.approx(0.3, rel=0.01)
    assert found.profile_q == pytest.approx(0.4, rel=0.01)
    assert found.profile_angle == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("oriented", [True, False])
def test_a_model_s_galaxy_points_where_the_catalogue_says(sample, psfs, profiles, oriented):
    images = profiles.images if oriented else profiles.images.transpose(0, 2, 1)
    angles = np.array([0.0, 0.5, 1.2, -0.7])
    drawn = LightProfiles(images, profiles.pixel_scale, oriented)
    own = 0.0 if oriented else drawn.position_angle()
    galaxies = Galaxies(drawn, angles - own, np.zeros(4), np.zeros(4, dtype=bool))
    batch = ProfileBatch(sample, np.arange(4), psfs, 0, galaxies, np.full(4, 200.0), angles)
    table = batch.measure()
    found = 0.5 * np.arctan2(table["g2"], table["g1"])
    assert np.asarray(found) == pytest.approx(angles, abs=0.02)
    assert np.asarray(table["profile_angle"]) == pytest.approx(0, abs=1e-3)
    assert [image.sum() for image in batch.seen()] == pytest.approx([200] * 4, rel=0.02)


def test_arms_share_psf_and_noise(sample, psfs):
    rows = np.array([3, 11])
    clean = [image.copy() for image in Batch(sample, rows, psfs, 4).seen()]
    noisy = list(Batch(sample, rows, psfs, 4).stamps())
    dark = LightProfiles(np.full((2, 8, 8), 1 / 64), np.full(2, 0.03))
    dark = Galaxies(dark, np.zeros(2), np.zeros(2), np.zeros(2, dtype=bool))
    other = ProfileBatch(sample, rows, psfs, 4, dark, np.full(2, 1e-9), np.zeros(2))
    for with_galaxy, alone, galaxy in zip(noisy, other.stamps(), clean, strict=True):
        assert with_galaxy - galaxy == pytest.approx(alone, abs=1e-8)


def test_results_do_not_depend_on_batches_or_workers(sample, psfs):
    rows = np.arange(6)
    whole = Batch(sample, rows, psfs, 1).measure()
    with Workers(2) as workers:
        pieces = [Batch(sample, rows[k : k + 2], psfs, 1) for k in (0, 2, 4)]
        measured = measured_by(workers, pieces, 6, "test")
    for k, table in enumerate(measured):
        for name in whole.colnames:
            assert np.array_equal(table[name], whole[name][2 * k : 2 * k + 2], equal_nan=True)


def test_conditions_of_single_fits_are_a_pure_disk_or_a_pure_bulge(sample):
    rows = np.arange(400)
    records = sample.records(rows)
    table = from_cosmos(records)
    for k in rows:
        index, two = records["sersicfit"][k, 2], records["use_bulgefit"][k]
        galaxy = sample.parametric(k)
        both = float(
            np.ma.filled(table["bulge_flux"], 0)[k] + np.ma.filled(table["disk_flux"], 0)[k]
        )
        assert both == pytest.approx(galaxy.flux, rel=1e-6)
        if not two:
            assert table["bulge_present"][k] == (index >= 2.5)
            assert table["disk_present"][k] == (index < 2.5)
            part = "bulge" if index >= 2.5 else "disk"
            other = "disk" if index >= 2.5 else "bulge"
            assert table[f"{part}_hlr"][k] == pytest.approx(records["hlr"][k, 0])
            assert table[f"{other}_hlr"][k] is np.ma.masked
    assert set(np.unique(records["use_bulgefit"])) == {0, 1}


def test_position_angle_is_where_the_fit_points(sample):
    rows = np.arange(60)
    angles = fitted_position_angle(sample.records(rows))
    for k in rows:
        if sample.records(rows)["use_bulgefit"][k] == 0:
            stamp = convolved(sample.parametric(k), galsim.Gaussian(fwhm=0.05))
            shape = galsim.hsm.FindAdaptiveMom(galsim.Image(stamp), strict=False).observed_shape
            if shape.g > 0.1:
                difference = (shape.beta.rad - angles[k] + np.pi / 2) % np.pi - np.pi / 2
                assert abs(difference) < 0.02


def test_a_catalogue_without_fits_is_named(tmp_path):
    path = tmp_path / "catalog.fits"
    table = Table({"fit_status": np.ones((2, 5), int), "mag_auto": [22.0, 23.0]})
    table.write(path)
    with pytest.raises(CatalogError, match="lack the columns"):
        len(CosmosSample(path))
    with pytest.raises(CatalogError, match="galsim_download_cosmos"):
        len(CosmosSample(tmp_path / "absent.fits"))
    fits.writeto(tmp_path / "image.fits", np.zeros((3, 3)))
    with pytest.raises(CatalogError, match=r"image\.fits"):
        len(CosmosSample(tmp_path / "image.fits"))
