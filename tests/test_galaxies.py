"""The door: every way to a galaxy gives the same one, and it is the catalogue's."""

import galsim
import galsim.config
import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from btk.catalog import CatsimCatalog
from btk.sampling_functions import SamplingFunction
from btk.survey import get_surveys
from toy_model import draw_toy, toy_card, write_toy

import btk_generative as bg
from btk_generative.conditions import clip, from_catsim, half_light_radius, lacks
from btk_generative.errors import ConfigError, ModelError
from btk_generative.galaxies import GalaxySampler
from btk_generative.inputs import COMPONENTS
from btk_generative.models import ModelInput
from btk_generative.randomness import MORPHOLOGY, normals
from btk_generative.surveys import band_flux
from btk_generative.validation.arms import ProfileBatch

ANGLES = np.array([0.0, 30.0, 60.0, 90.0, 137.0])
FLUX = 10 ** (-0.4 * (21.0 - 25.94))


def draw_upright(**given):
    """The toy's galaxies, lying along +y."""
    import tensorflow as tf

    drawn = draw_toy(**given)
    return drawn | {"image": tf.transpose(drawn["image"], (0, 2, 1))}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """A model whose galaxies lie along +x, and one that says nothing of how they lie."""
    folder = tmp_path_factory.mktemp("models")
    write_toy(folder / "toy.tar.gz")
    write_toy(folder / "upright.tar.gz", draw_upright, name="upright", oriented=False)
    return {name: str(folder / f"{name}.tar.gz") for name in ("toy", "upright")}


@pytest.fixture(scope="module")
def model(paths):
    return bg.load_model(paths["toy"])


def disks(**columns):
    """Five inclined disks of i = 21, some columns replaced."""
    table = bg.catalogs.mock_catsim(5, seed=2).table
    values = {
        "fluxnorm_bulge": 0.0, "fluxnorm_disk": 1.0, "fluxnorm_agn": 0.0, "i_ab": 21.0,
        "a_d": 0.6, "b_d": 0.2, "pa_disk": ANGLES, "redshift": 0.5, "ra": 0.0, "dec": 0.0,
    }  # fmt: skip
    for name, value in (values | columns).items():
        table[name] = value
    return table


class OneByOne(SamplingFunction):
    """Blend k is row k."""

    def __init__(self):
        super().__init__(stamp_size=12.0, max_number=1, min_number=1)
        self.row = 0

    def __call__(self, table):
        self.row += 1
        return table[self.row - 1 : self.row]


def angle_of(image):
    image = galsim.Image(np.ascontiguousarray(image, dtype=float))
    return galsim.hsm.FindAdaptiveMom(image).observed_shape.beta.deg


def apart(one, other):
    return abs((one - other + 90) % 180 - 90)


def conditions_of(table, row, model):
    """What a user would write for a row of a catalogue."""
    given = from_catsim(table)
    values = {i.name: given[i.name][row] for i in model.inputs}
    return {name: None if v is np.ma.masked else float(v) for name, v in values.items()}


@pytest.mark.parametrize("name", ["toy", "upright"])
def test_all_doors_give_the_same_galaxy(paths, name, tmp_path):
    """The second galaxy is larger than any in the training."""
    model, lsst = bg.load_model(paths[name]), get_surveys("LSST")
    major = np.array([0.6, 6.0, 0.5, 0.4, 0.5])
    table = disks(a_d=major, b_d=major / 3)
    batch = next(
        bg.GenerativeGenerator(
            CatsimCatalog(table), OneByOne(), lsst, batch_size=5, add_noise="none", model=model,
            seed=4,
        )
    )  # fmt: skip
    band = list(lsst.available_filters).index("i")
    images, psf = batch.isolated_images[:, 0, band], batch.psf[band]
    scale, counts = lsst.pixel_scale.to_value("arcsec"), band_flux(table, lsst, ["i"])[:, 0]

    sampler = GalaxySampler(model, seed=4)
    galaxies = sampler.draw(sampler.from_catalog(table), [(k, 0) for k in range(5)])
    validated = ProfileBatch(None, np.arange(5), None, 0, galaxies, np.full(5, FLUX), None)
    numbers = normals(4, [(MORPHOLOGY, k, 0) for k in range(5)], model.random_size)
    table.write(tmp_path / "catalog.fits")
    driver = bg.GenerativeGalaxyModel(paths[name], str(tmp_path / "catalog.fits"))
    for k, of_validation in enumerate(validated.galaxies()):
        given, angle, light, _ = driver.row(k)
        (of_driver,) = driver.draw([given], numbers[k : k + 1]).to_galsim([light])
        alone = bg.GenerativeGalaxy(
            conditions_of(table, k, model), paths[name], random_normal=numbers[k]
        )
        for galaxy in (
            of_validation,
            of_driver.rotate(angle * galsim.radians),
            alone.rotate(ANGLES[k] * galsim.degrees),
        ):
            assert galaxy.flux == pytest.approx(FLUX)
            seen = galsim.Convolve(galaxy.withFlux(counts[k]), psf)
            drawn = seen.drawImage(nx=60, ny=60, scale=scale, dtype=float).array
            np.testing.assert_allclose(images[k], drawn, rtol=0, atol=2e-3 * drawn.max())
        if k != 1:
            assert apart(angle_of(images[k]), ANGLES[k]) < 5  # the toy has a clump


@pytest.mark.parametrize("name", ["toy", "upright"])
def test_the_driver_turns_galaxies_to_the_catalogue_s_angle(paths, name, tmp_path):
    table = disks()
    table.write(tmp_path / "catalog.fits")
    source = {"file_name": paths[name], "catalog": str(tmp_path / "catalog.fits")}
    config = {
        "modules": ["btk_generative"],
        "psf": {"type": "Gaussian", "sigma": 0.1},
        "gal": {"type": "GenerativeModelGalaxy"},
        "image": {
            "type": "Tiled", "nx_tiles": 5, "ny_tiles": 1, "stamp_size": 48, "pixel_scale": 0.1,
            "random_seed": 3,
        },
        "input": {"generative_model": source},
    }  # fmt: skip
    image = galsim.config.BuildImage(config).array
    for k, angle in enumerate(ANGLES):
        assert apart(angle_of(image[:, 48 * k : 48 * k + 48]), angle) < 5


def test_the_driver_heeds_the_policy(paths, tmp_path):
    inside = {"type": "GenerativeModelGalaxy", "zphot": 0.5, "disk_flux": 60.0, "disk_q": 0.5}

    def drawn(policy, size=6.0):
        model = {"file_name": paths["toy"]} | ({"out_of_domain": policy} if policy else {})
        config = {
            "gal": inside | {"disk_hlr": size},
            "image": {"type": "Single", "size": 400, "pixel_scale": size / 60, "random_seed": 3},
            "input": {"generative_model": model},
        }
        return galsim.config.BuildImage(config)

    with pytest.raises(ModelError, match=r"disk_hlr = 6 is outside the domain .*, 0.02 to 3 "):
        drawn("raise")
    exact = galsim.Exponential(half_light_radius=6.0, flux=60.0).shear(
        q=0.5, beta=0 * galsim.degrees
    )
    exact = exact.drawImage(nx=400, ny=400, scale=0.1)
    parametric = drawn("parametric")
    np.testing.assert_allclose(parametric.array, exact.array, atol=1e-6 * exact.array.max())
    clipped = drawn(None)
    assert clipped == drawn("clip")
    largest = drawn("raise", 3.0).array  # of the training: the same galaxy at half the scale
    np.testing.assert_allclose(clipped.array, largest, rtol=0, atol=1e-5 * largest.max())
    with pytest.raises(ConfigError, match="out_of_domain must be one of"):
        drawn("ignore")


def mixed(n=400):
    """Conditions with both components, of which the bulge may be very faint."""
    table = disks()[np.zeros(n, dtype=int)]
    rng = np.random.default_rng(1)
    share = 10 ** rng.uniform(-4, 0, n)
    share[::2] = 1 - share[::2]
    table["fluxnorm_bulge"], table["fluxnorm_disk"] = share, 1 - share
    table["i_ab"] = rng.uniform(16, 28, n)
    table["a_b"], table["b_b"] = 10 ** rng.uniform(-3, 1, (1, n)).repeat(2, axis=0)
    return from_catsim(table)


def light(conditions):
    return [
        np.where(lacks(conditions, part), 0.0, np.ma.getdata(conditions[f"{part}_flux"]))
        for part in COMPONENTS
    ]


def test_clipping_keeps_the_shares_of_the_light():
    inputs = [
        *(ModelInput(f"{part}_hlr", "arcsec", 0.02, 2.0, 0.1) for part in COMPONENTS),
        *(ModelInput(f"{part}_flux", "", 0.3, 1000.0, 3.0) for part in COMPONENTS),
    ]
    conditions = mixed()
    bulge, disk = light(conditions)
    radius = half_light_radius(conditions)
    ratio = clip(conditions, inputs)
    clipped = light(conditions)
    share, total = bulge / (bulge + disk), clipped[0] + clipped[1]
    np.testing.assert_allclose(clipped[0] / total, share, atol=0.01)
    brighter = np.maximum(bulge, disk)
    untouched = (brighter > 0.3) & (brighter < 1000)
    assert 100 < np.count_nonzero(untouched) < 400
    np.testing.assert_allclose(total[untouched], (bulge + disk)[untouched], rtol=1e-12)
    assert np.all((np.maximum(*clipped) > 0.3 * 0.98) & (np.maximum(*clipped) < 1001))
    # only what is too faint for the model, and for it to matter, is left out
    for part, flux in (("bulge", bulge), ("disk", disk)):
        gone = lacks(conditions, part)
        np.testing.assert_array_equal(gone, (flux < 0.3) & (flux < 0.01 * (bulge + disk)))
        np.testing.assert_array_equal(conditions[f"{part}_present"], ~gone)
    assert lacks(conditions, "bulge").any()
    assert lacks(conditions, "disk").any()
    np.testing.assert_allclose(half_light_radius(conditions) * ratio, radius, rtol=1e-9)


def test_the_catalogue_keeps_its_bulge_shares(data):
    table = Table.read(data("catalogs/catsim_10k.fits"))
    conditions = from_catsim(table[np.asarray(table["i_ab"]) < 25.3])
    bulge, disk = light(conditions)
    clip(conditions, bg.load_model().inputs)
    clipped = light(conditions)
    share = clipped[0] / (clipped[0] + clipped[1])
    np.testing.assert_allclose(share, bulge / (bulge + disk), atol=0.01)
    changed = abs((clipped[0] + clipped[1]) / (bulge + disk) - 1) > 0.01
    assert np.mean(changed) < 0.005  # brighter or fainter than any galaxy of the training


def test_a_galaxy_that_loses_its_disk_lies_as_its_bulge(model):
    table = disks(fluxnorm_bulge=0.999, fluxnorm_disk=0.001, a_b=0.6, b_b=0.2, pa_bulge=ANGLES)
    table["i_ab"] = 26.0
    table["a_d"], table["b_d"] = 0.5, 0.5
    found = GalaxySampler(model).from_catalog(table)
    assert found.encoded["disk_present"].tolist() == [0.0] * 5
    assert np.degrees(found.angle) == pytest.approx(ANGLES)


@pytest.mark.parametrize("unit", ["arcsec", "mas"])
def test_clip_and_policies_heed_the_unit_of_the_card(tmp_path, unit):
    factor = {"arcsec": 1.0, "mas": 1000.0}[unit]
    card = toy_card()
    for given in card["inputs"]:
        if given["unit"] == "arcsec":
            limits = ("minimum", "maximum", "missing")
            given |= {"unit": unit} | {k: factor * given[k] for k in limits}
    write_toy(tmp_path / "m.tar.gz", _in(factor), inputs=card["inputs"])
    model = bg.load_model(tmp_path / "m.tar.gz")
    table = disks(a_d=[0.6, 6.0, 0.01, 0.4, 0.5], b_d=[0.2, 6.0, 0.01, 0.2, 0.5])
    sampler = GalaxySampler(model)
    candidates = sampler.from_catalog(table)
    assert candidates.in_domain.tolist() == [True, False, False, True, True]
    assert candidates.size_ratio == pytest.approx([1, 2, 0.5, 1, 1])
    drawn = sampler.draw(candidates, [(k,) for k in range(5)]).profiles
    expected = 5.0 / 32 * np.sqrt(np.asarray(table["a_d"]) * table["b_d"])
    np.testing.assert_allclose(drawn.pixel_scale, expected, rtol=1e-5)
    with pytest.raises(ModelError, match=rf"row 1: disk_hlr = 6 arcsec .* {3 * factor:g} {unit}"):
        GalaxySampler(model, "raise").from_catalog(table)


def _in(factor):
    def draw(**given):
        given |= {f"{part}_hlr": given[f"{part}_hlr"] / factor for part in COMPONENTS}
        return draw_toy(**given)

    return draw


def test_a_component_without_flux_is_missing(model):
    """It was taken as a bulge of size 0, outside every domain."""
    masked = from_catsim(disks())
    zero = masked.copy()
    for name in ("bulge_hlr", "bulge_q", "bulge_flux"):
        assert masked[name].mask.all()
        zero[name] = MaskedColumn(np.zeros(5), unit=masked[name].unit)
    for table in (zero, zero[[n for n in zero.colnames if not n.endswith("_present")]]):
        drawn = model.sample(table, 1)
        np.testing.assert_array_equal(drawn.images, model.sample(masked, 1).images)
        assert model.in_domain(table).all()
    zero["disk_hlr"][2] = 0.0
    with pytest.raises(ModelError, match=r"'disk_hlr', row 2: value 0.0 is not a size"):
        model.sample(zero, 1)


DISK = {"zphot": 0.8, "disk_hlr": 0.6, "disk_q": 0.5, "disk_flux": 40.0}
NO_BULGE = {"bulge_hlr": None, "bulge_q": None, "bulge_flux": None}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"disk_q": 1.5}, "'disk_q', row 0: value 1.5 is not an axis ratio"),
        ({"disk_q": 0.0}, "'disk_q', row 0: value 0.0 is not an axis ratio"),
        ({"disk_q": -0.5}, "is not an axis ratio"),
        ({"disk_hlr": -1.0}, "'disk_hlr', row 0: value -1.0 is not a size"),
        ({"disk_hlr": 0.0}, "is not a size"),
        ({"disk_flux": -3.0}, "'disk_flux', row 0: value -3.0 is negative"),
        ({"disk_flux": np.nan}, "is not finite"),
        ({"zphot": -1.0}, "'zphot', row 0: value -1.0 is negative"),
        ({"disk_hlr": None}, "without any light"),
        ({"disk_flux": 0.0}, "without any light"),
        ({"diskhlr": 2.0}, "no input 'diskhlr'; did you mean 'disk_hlr'"),
    ],
)
def test_what_no_galaxy_has_is_refused(paths, change, says):
    with pytest.raises((ModelError, ConfigError), match=says):
        bg.GenerativeGalaxy({**DISK, **NO_BULGE, **change}, paths["toy"], rng=7)
    if "diskhlr" in change or None in change.values():
        return
    config = {
        "gal": {"type": "GenerativeModelGalaxy", **DISK, **change},
        "image": {"type": "Tiled", "nx_tiles": 2, "ny_tiles": 1, "stamp_size": 32,
                  "pixel_scale": 0.2, "random_seed": 5},
        "input": {"generative_model": {"file_name": paths["toy"]}},
    }  # fmt: skip
    with pytest.raises(ModelError, match=says):
        galsim.config.BuildImage(config)
