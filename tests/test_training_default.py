"""The default model: its smooth galaxies, its exactness, its policy at the edge of the known."""

import galsim
import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from scipy import ndimage

from btk_generative.conditions import from_catsim, half_light_radius
from btk_generative.errors import CatalogError, OutputError
from btk_generative.models import load_model
from btk_generative.runs.config import load_config
from btk_generative.training.default.config import TrainConfig
from btk_generative.training.default.cosmos import read_fits
from btk_generative.training.default.sersic import BulgeDiskDecoder, _light, reach


def conditions(**changes):
    """Returns the conditions of disks of 1 arcsec^2 and 22 mag; bulges are absent."""
    n = max(np.size(value) for value in changes.values())
    table = Table()
    for name, value in {"zphot": 0.6, "disk_hlr": 0.5, "disk_q": 0.6, "disk_flux": 37.7}.items():
        table[name] = np.broadcast_to(changes.pop(name, value), n)
    for name, value in {"bulge_hlr": 0.1, "bulge_q": 0.8, "bulge_flux": 5.0}.items():
        given = changes.pop(name, None)
        values = np.broadcast_to(value if given is None else given, n)
        table[name] = MaskedColumn(values, mask=np.full(n, given is None))
    table["bulge_present"] = ~table["bulge_flux"].mask
    table["disk_present"] = np.ones(n, dtype=bool)
    assert not changes
    return table


@pytest.fixture(scope="module")
def model():
    return load_model("default")


@pytest.fixture(scope="module")
def decoder():
    return BulgeDiskDecoder()


def one(decoder, index, radius=0.3, q=0.6, angle=0.0):
    """Draws a single Sersic profile: image, pixel scale."""
    row = [
        np.array([pair], np.float32)
        for pair in ([0, 1], [radius, radius], [1, q], [0, angle], [4, index])
    ]
    image, scale, *_ = decoder(*row)
    return np.asarray(image)[0].astype(float), float(scale[0])


def radius_within(image, scale, q):
    """Returns the radius (circularised) of the ellipse with half the light, as it is rendered."""
    profile = galsim.InterpolatedImage(galsim.Image(image.astype(float), scale=float(scale)))
    fine = profile.drawImage(nx=320, ny=320, scale=float(scale) / 5, method="no_pixel").array
    x, y = np.meshgrid(*[(np.arange(320) - 159.5) * float(scale) / 5] * 2)
    radius = np.hypot(x * np.sqrt(q), y / np.sqrt(q)).ravel()
    order = np.argsort(radius)
    grown = np.cumsum(fine.ravel()[order].astype(float))
    return np.interp(0.5 * grown[-1], grown, radius[order])


@pytest.mark.parametrize("index", [0.3, 0.5, 1.0, 2.5, 4.0, 6.0])
def test_half_light_radius_is_as_asked(decoder, index):
    image, scale = one(decoder, index, q=1.0)
    profile = galsim.InterpolatedImage(galsim.Image(image, scale=scale), flux=1)
    drawn = profile.drawImage(nx=640, ny=640, scale=scale / 8, method="no_pixel")
    assert drawn.calculateHLR() == pytest.approx(0.3, rel=0.01)
    assert image.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("q", [0.2, 0.5, 0.9])
def test_second_moments_have_the_axis_ratio_and_the_angle_asked(decoder, q):
    image, _ = one(decoder, 1.0, q=q, angle=0.7)
    y, x = np.indices(image.shape) - 31.5
    xx, yy, xy = (image * x * x).sum(), (image * y * y).sum(), (image * x * y).sum()
    assert 0.5 * np.arctan2(2 * xy, xx - yy) == pytest.approx(0.7, abs=2e-3)
    root = np.hypot(xx - yy, 2 * xy)
    assert np.sqrt((xx + yy - root) / (xx + yy + root)) == pytest.approx(q, rel=5e-3)


@pytest.mark.parametrize("index", [0.5, 1.0])
def test_profile_is_galsims(decoder, index):
    image, scale = one(decoder, index, q=0.7)
    sersic = galsim.Sersic(index, half_light_radius=0.3).shear(q=0.7, beta=0 * galsim.degrees)
    expected = sersic.drawImage(nx=64, ny=64, scale=scale).array
    y, x = np.indices(image.shape) - 31.5
    inside = np.hypot(x, y / 0.7) < 0.5 * 32  # where the taper has not begun
    np.testing.assert_allclose(image[inside], expected[inside], rtol=0.07, atol=2e-3 * image.max())


@pytest.mark.parametrize("q", [0.3, 0.8])
@pytest.mark.parametrize("index", [0.5, 1.0, 2.5, 4.0])
def test_image_through_a_psf_is_the_profile(decoder, index, q):
    image, scale = one(decoder, index, q=q, angle=0.4)
    psf = galsim.Gaussian(fwhm=3 * scale)
    drawn = galsim.Convolve(galsim.InterpolatedImage(galsim.Image(image, scale=scale)), psf)
    drawn = drawn.drawImage(nx=64, ny=64, scale=scale, method="no_pixel").array

    finer = 15
    x = ((np.arange(64 * finer) + 0.5) / finer - 32) * scale
    x, y = np.meshgrid(x, x)
    along, across = x * np.cos(0.4) + y * np.sin(0.4), y * np.cos(0.4) - x * np.sin(0.4)
    squared = (along**2 * q + across**2 / q) / 0.3**2
    n = np.array([[index]], np.float32)
    end = np.maximum(reach(n), np.float32(32 * 0.985 * scale / (0.3 / np.sqrt(q))))
    shape = decoder._log_b(n), n, end, decoder._raising(n, end)
    expected = np.asarray(_light(squared.astype(np.float32), *shape))
    expected = ndimage.gaussian_filter(expected, psf.sigma / scale * finer)
    expected = expected[finer // 2 :: finer, finer // 2 :: finer] * finer**2 / expected.sum()
    off = np.abs(drawn - expected).max() / expected.max()
    # The cusp is narrower than a pixel.
    assert off < {0.5: 0.001, 1.0: 0.001, 2.5: 0.01, 4.0: 0.02}[index]


@pytest.mark.parametrize("radius", [0.1, 0.4])
@pytest.mark.parametrize("index", [1.0, 2.5, 4.0])
def test_adaptive_size_is_that_of_an_endless_profile(decoder, index, radius):
    """What the frame cuts off must not make the bright part of a steep profile any broader."""
    image, scale = one(decoder, index, radius, q=0.8)
    sersic = galsim.Sersic(index, half_light_radius=radius).shear(q=0.8, beta=0 * galsim.degrees)
    mine = galsim.InterpolatedImage(galsim.Image(image, scale=scale))
    size = []
    for profile in (sersic, mine):
        seen = galsim.Convolve(profile, galsim.Gaussian(fwhm=0.12))
        seen = seen.drawImage(nx=128, ny=128, scale=0.03, method="no_pixel")
        size.append(galsim.hsm.FindAdaptiveMom(seen).moments_sigma)
    assert size[1] / size[0] == pytest.approx(1, abs=0.03)


def test_radius_of_bulge_and_disk_together_is_as_asked(decoder):
    q, share = 0.6, np.array([0.2, 0.4, 0.6, 0.8])
    table = conditions(
        disk_q=q, disk_hlr=0.5, disk_flux=1 - share, bulge_q=q, bulge_hlr=0.15, bulge_flux=share
    )
    ones = np.ones((4, 1), np.float32)
    images, scales, *_ = decoder(
        np.stack([share, 1 - share], axis=1).astype(np.float32),
        *(ones * np.array(pair, np.float32) for pair in ([0.15, 0.5], [q, q], [0, 0], [4, 1])),
    )
    drawn = [radius_within(*pair, q) for pair in zip(np.asarray(images), scales, strict=True)]
    np.testing.assert_allclose(drawn, half_light_radius(table), rtol=0.01)


def test_thin_and_steep_profiles_have_no_negative_light(decoder):
    for index, q in ((1.0, 0.05), (4.0, 0.15), (6.0, 0.3)):
        image, _ = one(decoder, index, q=q)
        assert image.min() >= 0
        x, y = np.meshgrid(*[np.arange(64) - 31.5] * 2)
        assert abs((image * x).sum()) < 1e-4
        assert abs((image * y).sum()) < 1e-4


def test_light_ends_before_the_border(decoder):
    for index in (0.3, 1.0, 4.0, 6.0):
        image, scale = one(decoder, index, q=0.3, angle=0.4)
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert border.max() < 1e-4 * image.max()
        assert scale * 32 >= 0.3 / np.sqrt(0.3) * float(reach(np.float32(index)))


def test_drawn_galaxies_keep_size_shape_and_place(model):
    """Half-light radius; centroid and quadrupole under Gaussian weights on the asked ellipse.

    The model keeps the quadrupole under a weight of 0.8, the centroid under one of 1.5.
    """
    rng = np.random.default_rng(1)
    q, hlr = rng.uniform(0.3, 0.9, 150), np.exp(rng.uniform(np.log(0.1), np.log(0.8), 150))
    drawn = model.sample(conditions(disk_q=q, disk_hlr=hlr), rng=2)
    radius, moments = [], []
    y, x = np.indices(drawn.images.shape[1:]) - 31.5
    for k, image in enumerate(drawn.images.astype(float)):
        ellipse = np.hypot(x * np.sqrt(q[k]), y / np.sqrt(q[k]))  # pixels, circularised
        asked = hlr[k] / drawn.pixel_scale[k]
        radius.append(radius_within(image, 1.0, q[k]) / asked)
        for width in (0.8, 1.0, 1.5, 2.0):
            light = image * np.exp(-0.5 * (ellipse / width / asked) ** 2)
            place = np.hypot((light * x).sum(), (light * y).sum()) / light.sum() / asked
            xx, xy, yy = (np.sum(light * m) for m in (x * x, x * y, y * y))
            size = xx + yy + 2 * np.sqrt(xx * yy - xy**2)
            shape = np.hypot((xx - yy) / size - (1 - q[k]) / (1 + q[k]), 2 * xy / size)
            turn = abs(np.rad2deg(np.arctan2(2 * xy, xx - yy) / 2))
            moments.append((place, shape, turn))
    off = np.abs(np.array(radius) - 1)
    assert np.median(off) < 0.005
    assert np.quantile(off, 0.9) < 0.01
    place, shape, turn = np.median(np.reshape(moments, (len(q), 4, 3)), axis=0).T
    assert shape.max() < 0.02
    assert turn.max() < 2
    assert place[1:].max() < 0.02


def test_galaxies_of_the_same_conditions_differ_and_a_seed_fixes_them(model):
    table = conditions(zphot=np.full(6, 0.5))
    first, again = model.sample(table, rng=3), model.sample(table, rng=3)
    np.testing.assert_array_equal(first.images, again.images)
    moved = [
        0.5 * np.abs(a - b).sum() for a, b in zip(first.images, first.images[1:], strict=False)
    ]
    assert min(moved) > 0.05


def test_some_galaxies_have_a_knot(model):
    table = conditions(zphot=np.full(20, 0.5), disk_hlr=0.3)
    numbers = np.random.default_rng(0).standard_normal((20, model.random_size)).astype(np.float32)

    def drawn(knot):
        numbers[:, -3:] = knot
        return model.sample(table, random_normal=numbers).images

    none = drawn([0.69, 0.5, 0.5])
    np.testing.assert_array_equal(none, drawn([-2.0, -1.0, 1.0]))
    right, left = drawn([0.71, 1.0, 0.0]), drawn([0.71, -1.0, 0.0])
    # On +x the one, on -x the other, 0.8 half-light radii of the major axis from the centre.
    place = 31.5 + np.array([1, -1]) * 0.8 * 32 / 4.4
    for images, x in zip((right, left), place, strict=True):
        peak = images[:, 29:35, round(x) - 2 : round(x) + 3].max(axis=(1, 2))
        without = none[:, 29:35, round(x) - 2 : round(x) + 3].max(axis=(1, 2))
        assert np.median(peak / without) > 1.5


def test_extremes_are_drawn_and_said_to_be_outside(model):
    table = conditions(
        zphot=[0.6, 7.0, 0.6, 0.6, 0.6],
        disk_hlr=[0.3, 0.3, 1e-4, 20.0, 0.3],
        disk_flux=[37.7, 37.7, 37.7, 37.7, 10 ** (-0.4 * (29 - 25.94))],
    )
    assert model.in_domain(table).tolist() == [True, False, False, False, False]
    drawn = model.sample(table, rng=4)
    assert np.isfinite(drawn.images).all()
    # Structure fades beyond the domain: what is left is a smooth profile, which is symmetric.
    odd = 0.5 * np.abs(drawn.images - drawn.images[:, ::-1, ::-1]).sum(axis=(1, 2))
    assert odd[0] > 0.1
    assert odd[1] < 0.05
    assert odd[2:].max() < 1e-3


def test_every_galaxy_of_catsim_can_be_drawn(model, data):
    table = from_catsim(Table.read(data("catalogs/catsim_10k.fits"))[:640])
    drawn = model.sample(table, rng=5)
    assert np.isfinite(drawn.images).all()
    assert drawn.images.min() >= 0
    border = np.abs(drawn.images[:, [0, -1]]).max(axis=(1, 2))
    assert (border < 1e-4 * drawn.images.max(axis=(1, 2))).all()
    # No frame is a great deal smaller or larger than its galaxy.
    ratio = drawn.pixel_scale * 64 / half_light_radius(table)
    there = np.asarray(table["disk_present"] | table["bulge_present"])
    assert ratio[there].min() > 4


def test_catalogue_of_single_and_double_fits(data):
    galaxies = read_fits(data("cosmos_catalog/cosmos_25.2_parametric.fits"))
    single = np.isfinite(galaxies.index)
    assert single.mean() == pytest.approx(0.7126, abs=1e-3)
    both = np.asarray(galaxies.conditions["bulge_present"] & galaxies.conditions["disk_present"])
    angle = np.asarray(galaxies.conditions["bulge_angle"])
    assert (angle[~both] == 0).all()
    assert (np.abs(angle) <= 90).all()
    assert angle[both].std() > 30  # degrees: COSMOS has angles of its own
    disk = np.asarray(galaxies.conditions["disk_present"])
    assert (galaxies.index[single & disk] < 2.5).all()
    assert (galaxies.index[single & ~disk] >= 2.5).all()


def test_a_file_that_is_not_a_catalogue_is_named(tmp_path):
    path = tmp_path / "nothing.fits"
    path.write_text("no FITS")
    with pytest.raises(CatalogError, match=r"nothing\.fits"):
        read_fits(path)


@pytest.mark.slow
def test_the_whole_path_gives_a_model(tmp_path, data, request, monkeypatch):
    from btk_generative.training.default.job import run

    monkeypatch.setenv("BTK_GENERATIVE_DATA", str(data("cosmos_catalog").parent))
    config = load_config(request.config.rootpath / "configs/train_default.yaml", TrainConfig)
    folder = tmp_path / "out"
    galaxies = conditions(zphot=[0.5, 1.0])
    images = load_model(run(config.smoke(), folder)).sample(galaxies, rng=1).images
    np.testing.assert_allclose(images.sum(axis=(1, 2)), 1, rtol=1e-5)

    with pytest.raises(OutputError, match="--resume"):
        run(config.smoke(), folder)
    with pytest.raises(OutputError, match="no training of this configuration"):
        run(config.smoke().model_copy(update={"seed": 7}), folder, resume=True)
    for lost in ("model.tar.gz", "structure.json"):  # as if killed while fitting the second flow
        (folder / lost).unlink()
    again = load_model(run(config.smoke(), folder, resume=True)).sample(galaxies, rng=1).images
    np.testing.assert_array_equal(again, images)
