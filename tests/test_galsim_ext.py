"""GalSim objects and configuration types."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import galsim
import galsim.config
import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from toy_model import RANDOM, SIZE, write_toy

import btk_generative as bg
from btk_generative.errors import ConfigError, ModelError
from btk_generative.simulators.galsim.config import BLOCK

btk_generative = bg
ROOT = Path(__file__).resolve().parents[1]
DISK = {"zphot": 0.5, "disk_hlr": 0.4, "disk_q": 0.5, "disk_flux": 60.0}
NO_BULGE = {"bulge_hlr": None, "bulge_q": None, "bulge_flux": None}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "toy.tar.gz"
    write_toy(path)
    return str(path)


@pytest.fixture(scope="module")
def catalog():
    return bg.conditions.from_catsim(bg.catalogs.mock_catsim(6, seed=0).table)


def test_the_interface_of_galsim_hub(toy, catalog):
    model = bg.GenerativeGalaxyModel(toy)
    assert model.stamp_size == SIZE
    assert model.pixel_size is None
    assert "disk_hlr" in model.quantities
    assert "random_normal" not in model.quantities
    galaxies = model.sample(catalog, rng=galsim.BaseDeviate(3))
    again = model.sample(catalog, rng=galsim.BaseDeviate(3))
    other = model.sample(catalog, rng=galsim.BaseDeviate(4))
    assert galaxies == again
    assert galaxies != other
    total = catalog["disk_flux"].filled(0) + catalog["bulge_flux"].filled(0)
    np.testing.assert_allclose([galaxy.flux for galaxy in galaxies], total, rtol=1e-6)
    assert len(model.sample(catalog[:1], rng=galsim.BaseDeviate(3))) == 1
    (galaxy,) = model.sample(
        catalog[:1], rng=galsim.BaseDeviate(3), x_interpolant="lanczos5", pad_factor=2
    )
    assert galaxy.x_interpolant == galsim.Lanczos(5)


def test_a_record_array_and_noise_as_galsim_hub_takes_them(toy, catalog):
    model = bg.GenerativeGalaxyModel(toy)
    full = catalog[catalog["bulge_present"] & catalog["disk_present"]]
    assert len(full)
    rows = np.array(
        [tuple(float(row[n]) for n in model.quantities) for row in full],
        dtype=[(n, float) for n in model.quantities],
    )
    noise = galsim.getCOSMOSNoise()
    one, two = (
        model.sample(rows, noise=noise, noise_pad_size=5, rng=galsim.BaseDeviate(1))
        for _ in range(2)
    )
    assert one == two
    plain = model.sample(full, rng=galsim.BaseDeviate(1))
    np.testing.assert_allclose(one[0].flux, plain[0].flux, rtol=1e-6)


@pytest.fixture
def galaxy(toy):
    return bg.GenerativeGalaxy({**DISK, **NO_BULGE}, model=toy, rng=5)


def test_an_object_has_galsims_habits(galaxy, toy):
    for same in (
        copy.copy(galaxy),
        copy.deepcopy(galaxy),
        pickle.loads(pickle.dumps(galaxy)),
        eval(repr(galaxy)),
        galaxy.withFlux(galaxy.flux),
        galaxy.withGSParams(galaxy.gsparams),
        bg.GenerativeGalaxy({**NO_BULGE, **DISK}, toy, rng=galsim.BaseDeviate(5)),
    ):
        assert same == galaxy
        assert hash(same) == hash(galaxy)
        assert same is not None
        assert same.drawImage(scale=0.2, nx=32, ny=32) == galaxy.drawImage(scale=0.2, nx=32, ny=32)
    for other in (
        galaxy.withFlux(1.0),
        galaxy.withGSParams(maximum_fft_size=16384),
        bg.GenerativeGalaxy({**DISK, **NO_BULGE, "zphot": 0.6}, toy, rng=5),
        bg.GenerativeGalaxy({**DISK, **NO_BULGE}, toy, rng=6),
        galsim.Gaussian(sigma=1),
    ):
        assert other != galaxy
        assert hash(other) != hash(galaxy)
    assert galaxy.flux == 60.0
    assert galaxy.withFlux(2.0).flux == 2.0
    assert galaxy.conditions["disk_hlr"] == 0.4
    assert galaxy.conditions["bulge_hlr"] is None


def test_an_object_draws_as_the_profile_that_it_stands_for(galaxy, toy):
    numbers = np.empty(RANDOM)
    galsim.GaussianDeviate(5).generate(numbers)
    row = Table(
        {
            name: np.ma.MaskedArray([v or 0.0], mask=[v is None])
            for name, v in {**DISK, **NO_BULGE}.items()
        }
    )
    (profile,) = bg.load_model(toy).sample(row, random_normal=numbers[None]).to_galsim()
    profile = profile.withFlux(60.0)
    assert galaxy.stepk == profile.stepk
    assert galaxy.maxk == profile.maxk
    assert galaxy.centroid == profile.centroid
    assert galaxy.max_sb == profile.max_sb
    assert galaxy.xValue(0.1, -0.2) == profile.xValue(0.1, -0.2)
    assert galaxy.kValue(0.5, 0.3) == profile.kValue(0.5, 0.3)
    psf = galsim.Moffat(beta=3, fwhm=0.7)

    def views(thing):
        lensed = galsim.Convolve(thing.shear(g1=0.1).rotate(30 * galsim.degrees), psf)
        yield lensed.drawImage(scale=0.2, nx=41, ny=41)
        yield thing.drawImage(scale=0.1, nx=40, ny=40, method="real_space")
        yield thing.drawImage(
            scale=0.1, nx=40, ny=40, method="phot", n_photons=1000, rng=galsim.BaseDeviate(1)
        )
        yield (2 * thing + psf).drawImage(scale=0.2, nx=41, ny=41)
        yield thing.drawKImage(scale=0.5, nx=30, ny=30)

    for one, two in zip(views(galaxy), views(profile), strict=True):
        # the same up to the order in which fluxes are multiplied
        np.testing.assert_allclose(one.array, two.array, rtol=0, atol=1e-6 * abs(two.array).max())


def test_an_object_that_cannot_be_made(toy):
    with pytest.raises(ConfigError, match="needs rng"):
        bg.GenerativeGalaxy({**DISK, **NO_BULGE}, toy)
    with pytest.raises(ConfigError, match="must have 4 numbers, not 3"):
        bg.GenerativeGalaxy({**DISK, **NO_BULGE}, toy, random_normal=[0, 0, 0])
    with pytest.raises(ModelError, match="column 'bulge_hlr' is missing"):
        bg.GenerativeGalaxy(DISK, toy, rng=1).drawImage()


def configuration(toy, **changes):
    config = {
        "modules": ["btk_generative"],
        "psf": {"type": "Gaussian", "sigma": 0.3},
        "gal": {
            "type": "GenerativeModelGalaxy",
            "zphot": 0.5,
            "disk_hlr": {"type": "Random", "min": 0.3, "max": 0.6},
            "disk_q": {"type": "Random", "min": 0.3, "max": 1},
            "disk_flux": {"type": "Random", "min": 20, "max": 100},
            "rotate": {"type": "Random"},
        },
        "image": {
            "type": "Tiled",
            "nx_tiles": 3,
            "ny_tiles": 3,
            "stamp_size": 32,
            "pixel_scale": 0.2,
            "random_seed": 11,
        },
        "input": {"generative_model": {"file_name": toy}},
    }
    return config | changes


@pytest.fixture
def requests(monkeypatch):
    """Sizes of the batches that the network is asked for."""
    sizes, draw = [], bg.GenerativeGalaxyModel.draw
    monkeypatch.setattr(
        bg.GenerativeGalaxyModel,
        "draw",
        lambda self, conditions, normal: (
            sizes.append(len(normal)) or draw(self, conditions, normal)
        ),
    )
    return sizes


def test_the_galaxies_of_an_image_are_drawn_together(toy, requests):
    config = configuration(toy)
    image = galsim.config.BuildImage(config)
    assert requests == [9]
    # one stamp by itself, which is drawn alone
    alone = configuration(toy)
    stamp, _ = galsim.config.BuildStamp(alone, obj_num=4, xsize=32, ysize=32)
    assert requests == [9, 1]
    np.testing.assert_array_equal(stamp.array, image.array[32:64, 32:64])


def test_a_galaxy_that_is_rejected_is_drawn_anew(toy, requests):
    stamp = {"reject": {"type": "Random", "p": 0.4}, "retry_failures": 50}
    config = configuration(toy, stamp=stamp)
    galsim.config.BuildImage(config)
    assert requests[0] == 9
    assert len(requests) > 1
    assert set(requests[1:]) == {1}


def test_other_galaxies_may_stand_between(toy, requests):
    generative = configuration(toy)["gal"]
    galaxies = {
        "type": "List",
        "items": [generative, {"type": "Exponential", "half_light_radius": 1}],
    }
    galsim.config.BuildImage(configuration(toy, gal=galaxies))
    assert requests == [5]


def test_large_images_are_drawn_in_blocks(toy, requests):
    config = configuration(toy)
    config["image"] |= {"nx_tiles": BLOCK // 8 + 1, "ny_tiles": 8, "stamp_size": 4}
    config["gal"]["skip"] = False
    config["stamp"] = {"draw_method": "sb"}
    galsim.config.BuildImage(config)
    assert requests == [BLOCK, 8]


def test_a_catalogue_drives_the_galaxies(toy, tmp_path):
    from btk_generative.conditions import position_angle

    table = bg.catalogs.mock_catsim(5, seed=2).table
    table["fluxnorm_agn"] = [0, 0, 0, 0, table["fluxnorm_disk"][4] + table["fluxnorm_bulge"][4]]
    table["a_d"], table["b_d"], table["pa_disk"] = 0.6, 0.2, [0.0, 30.0, 60.0, 90.0, 120.0]
    table["fluxnorm_bulge"] = 0.0
    table["fluxnorm_disk"] = 1.0
    table["fluxnorm_agn"][4] = 1.0
    table.write(tmp_path / "catalog.fits")
    config = configuration(toy, gal={"type": "GenerativeModelGalaxy"})
    config["psf"]["sigma"] = 0.1
    config["input"]["generative_model"]["catalog"] = str(tmp_path / "catalog.fits")
    config["image"] |= {"nx_tiles": 5, "ny_tiles": 1, "stamp_size": 64, "pixel_scale": 0.1}
    image = galsim.config.BuildImage(config).array
    stamps = [image[:, 64 * k : 64 * k + 64] for k in range(5)]
    flux = 10 ** (-0.4 * (np.asarray(table["i_ab"]) - 25.94))
    np.testing.assert_allclose([stamp.sum() for stamp in stamps], flux, rtol=0.02)
    for stamp, angle in zip(stamps[:4], position_angle(table), strict=False):
        moments = galsim.hsm.FindAdaptiveMom(galsim.Image(stamp, scale=0.1)).observed_shape
        difference = np.angle(np.exp(2j * (moments.beta.rad - angle))) / 2
        assert abs(np.degrees(difference)) < 5
    assert stamps[4].max() > 0.05 * flux[4]  # with the AGN; the disk alone has half of it


def test_mistakes_in_a_configuration(toy):
    config = configuration(toy)
    del config["gal"]["disk_q"]
    with pytest.raises(ConfigError, match=r"needs \['disk_q'\]: the model takes"):
        galsim.config.BuildImage(config)
    config = configuration(toy)
    config["gal"]["disc_q"] = 0.5
    with pytest.raises(galsim.GalSimConfigError, match="disc_q"):
        galsim.config.BuildImage(config)
    config = configuration("nowhere.tar.gz")
    with pytest.raises(ModelError, match=r"nowhere\.tar\.gz"):
        galsim.config.BuildImage(config)


def test_a_model_does_not_run_where_it_would_hang(toy, catalog):
    model = bg.load_model(toy)
    model.sample(catalog, 0)
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            model.sample(catalog, 0)
        except ModelError as error:
            os._exit(7 if "forked" in str(error) else 1)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def run_galsim(*arguments):
    program = Path(sys.executable).with_name("galsim")
    if not program.exists():
        pytest.skip("the command galsim is not beside this Python")
    subprocess.run([program, *map(str, arguments)], check=True, capture_output=True)


@pytest.mark.slow
def test_any_number_of_processes_and_any_split_give_the_same(toy, tmp_path):
    scattered = configuration(toy)
    scattered["image"] = {
        "type": "Scattered",
        "size": 100,
        "nobjects": 6,
        "pixel_scale": 0.2,
        "random_seed": 5,
        "image_pos": {
            "type": "XY",
            "x": {"type": "Random", "min": 1, "max": 100},
            "y": {"type": "Random", "min": 1, "max": 100},
        },
        "noise": {"type": "Gaussian", "sigma": 0.1},
    }
    output = {"dir": str(tmp_path), "nfiles": 2}
    jobs = [
        scattered | {"output": output | {"file_name": f"$'{name}%d.fits' % file_num", **more}}
        for name, more in (("one", {}), ("files", {"nproc": 2}))
    ]
    stamps = copy.deepcopy(jobs[0])
    stamps["image"]["nproc"] = 2
    stamps["output"]["file_name"] = "$'stamps%d.fits' % file_num"
    path = tmp_path / "config.yaml"
    # The first document is what the others have in common. The network runs in GalSim's manager
    # for the first job, in the main process for the second, and then, since the manager of the
    # third is forked from a process that has used TensorFlow, in one of its own.
    path.write_text(yaml.safe_dump_all([{"modules": ["btk_generative"]}, stamps, *jobs]))
    run_galsim(path)
    for number in (0, 1):
        expected = fits.getdata(tmp_path / f"one{number}.fits")
        assert expected.std() > 0.1
        for name in ("files", "stamps"):
            np.testing.assert_array_equal(fits.getdata(tmp_path / f"{name}{number}.fits"), expected)
    first, second = (fits.getdata(tmp_path / f"one{number}.fits") for number in (0, 1))
    assert not np.array_equal(first, second)


def test_the_demo(tmp_path):
    run_galsim(
        ROOT / "configs" / "galsim_demo.yaml",
        "image.nx_tiles=3",
        "image.ny_tiles=2",
        f"output.dir={tmp_path}",
        "output.file_name=demo.fits",
    )
    image = fits.getdata(tmp_path / "demo.fits")
    assert image.shape == (128, 192)
    assert np.isfinite(image).all()
    noise = galsim.getCOSMOSNoise().getVariance()
    assert image.var() > 2 * noise


def scene(kind, galaxy):
    psf, star = galsim.Gaussian(fwhm=0.7), galsim.Gaussian(sigma=0.05, flux=1e4)
    seen = psf.drawImage(nx=33, ny=33, scale=0.2, method="no_pixel")
    lobes = galsim.InterpolatedImage(seen, flux=1)  # shot with negative photons
    return {
        "alone": lambda: galaxy,
        "convolution": lambda: galsim.Convolve(galaxy, psf),
        "sum": lambda: galsim.Convolve(galaxy + star, psf),
        "sum of two": lambda: galsim.Convolve(galaxy + galaxy.rotate(1 * galsim.radians), psf),
        "turned sum": lambda: galsim.Convolve((galaxy.shear(g1=0.1) + star).dilate(0.8), psf),
        "image as PSF": lambda: galsim.Convolve(galaxy, lobes),
    }[kind]()


@pytest.mark.parametrize("poisson", [False, True])
@pytest.mark.parametrize(
    "kind", ["alone", "convolution", "sum", "sum of two", "turned sum", "image as PSF"]
)
def test_photons_have_the_flux_and_the_places_of_the_profile(toy, catalog, kind, poisson):
    hub = bg.GenerativeGalaxyModel(toy).sample(
        catalog[:1], rng=galsim.BaseDeviate(1), x_interpolant="lanczos3"
    )
    for galaxy in (bg.GenerativeGalaxy({**DISK, **NO_BULGE}, toy, 7), *hub):
        whole = scene(kind, galaxy.withFlux(1e5))
        grid = {"nx": 80, "ny": 80, "scale": 0.2, "dtype": float}
        expected = whole.drawImage(**grid, method="fft").array
        shot = whole.drawImage(
            **grid, method="phot", poisson_flux=poisson, rng=galsim.BaseDeviate(3)
        ).array
        assert shot.sum() == pytest.approx(expected.sum(), abs=5 * np.sqrt(whole.flux))
        bright = expected > 20  # counts, so that they are nearly Gaussian
        noise = (shot - expected)[bright] / np.sqrt(expected[bright])
        # with negative photons there are 1 / (1 - 2 eta)^2 as many: GalSim says the noise
        assert np.mean(noise**2) < 1.3
        assert whole.negative_flux > 0 or np.mean(noise**2) > 0.7
        x = np.arange(80) - 39.5
        for axis in (0, 1):
            size = [np.sum(image.sum(axis) * x**2) / image.sum() for image in (shot, expected)]
            assert size[0] == pytest.approx(size[1], rel=0.03)


@pytest.mark.parametrize("method", ["fft", "phot"])
def test_an_agn_keeps_the_flux_of_the_galaxy(toy, tmp_path, method):
    table = bg.catalogs.mock_catsim(3, seed=2).table
    table["fluxnorm_disk"], table["fluxnorm_bulge"] = 1.0, 0.0
    table["fluxnorm_agn"] = [0.0, 0.01, 1.0]
    table["a_d"], table["b_d"] = 0.3, 0.2
    table.write(tmp_path / "catalog.fits")
    config = configuration(toy, gal={"type": "GenerativeModelGalaxy", "flux": 1e5})
    config["input"]["generative_model"]["catalog"] = str(tmp_path / "catalog.fits")
    config["image"] |= {"nx_tiles": 3, "ny_tiles": 1, "stamp_size": 64, "pixel_scale": 0.2}
    config["stamp"] = {"draw_method": method} | (
        {"poisson_flux": False} if method == "phot" else {}
    )
    image = galsim.config.BuildImage(config).array
    flux = image.reshape(64, 3, 64).sum(axis=(0, 2))
    np.testing.assert_allclose(flux, 1e5, rtol=2e-3)


def test_an_image_with_negative_pixels_is_shot_as_galsim_does():
    image = np.random.default_rng(1).normal(1, 1, (16, 16)).astype(np.float32)
    ours = bg.LightProfiles(image[None], [0.1]).to_galsim()[0]
    theirs = galsim.InterpolatedImage(
        galsim.Image(image, scale=0.1), normalization="flux", flux=1.0
    )
    assert (ours.positive_flux, ours.negative_flux) == (theirs.positive_flux, theirs.negative_flux)
    a, b = (profile.shoot(1000, galsim.BaseDeviate(5)) for profile in (ours, theirs))
    assert a == b
