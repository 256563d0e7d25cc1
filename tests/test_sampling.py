"""Which galaxies a blend has: the same by every door, and numbers that make no stamp."""

import copy
import pickle

import btk
import numpy as np
import pytest
from astropy.table import Table
from btk.blend_batch import BlendBatch
from btk.sampling_functions import DefaultSampling, FriendsOfFriendsSampling, PairSampling

from btk_generative import GenerativeGenerator, ParametricGenerator, load_model, open_dataset
from btk_generative.catalogs import mock_catsim
from btk_generative.compare.bench import Bench
from btk_generative.compare.config import CompareConfig
from btk_generative.datasets import GenerateConfig, generate
from btk_generative.draw import IndexedSampling
from btk_generative.draw import job as drawing
from btk_generative.draw.config import BlendsConfig, DrawConfig
from btk_generative.errors import ConfigError

BLENDS = {
    "catalog": {"mock": 300},
    "sampling": {"stamp_size": 6.0, "max_number": 3, "max_mag": 25.3, "seed": 8},
    "seed": 5,
    "add_noise": "background",
}
COLUMNS = ("blend_index", "galaxy_index", "ra", "dec", "i_ab", "a_d")


@pytest.fixture(scope="module")
def catalog():
    return mock_catsim(300)


@pytest.fixture(scope="module")
def lsst():
    return btk.survey.get_surveys("LSST")


@pytest.fixture(scope="module")
def script(catalog, lsst):
    """What a BTK script draws: images, and the truth of all galaxies."""
    sampling = DefaultSampling(stamp_size=6.0, max_number=3, max_mag=25.3, seed=8)
    options = {"seed": 5, "add_noise": "background", "batch_size": 6}
    batch = next(GenerativeGenerator(catalog, sampling, lsst, **options))
    return batch.blend_images, np.concatenate([rows(table) for table in batch.catalog_list])


def rows(table):
    return np.array([np.asarray(table[name], dtype=float) for name in COLUMNS]).T


@pytest.mark.parametrize("batch_size", [1, 3])
class TestEveryDoorDrawsTheSameBlends:
    def test_draw(self, script, tmp_path, batch_size):
        config = {"batch_size": batch_size, "batches": 6 // batch_size, "use_bar": False}
        drawing.run(DrawConfig(**BLENDS, **config), tmp_path / "out")
        batches = [BlendBatch.load(str(tmp_path / "out"), k) for k in range(6 // batch_size)]
        images = np.concatenate([batch.blend_images for batch in batches])
        np.testing.assert_array_equal(images, script[0])
        np.testing.assert_array_equal(rows(Table.read(tmp_path / "out/truth.parquet")), script[1])

    def test_generate(self, script, tmp_path, batch_size):
        config = {"batch_size": batch_size, "shards": 2, "blends_per_shard": 3}
        generate(GenerateConfig(**BLENDS, **config), tmp_path / "set", progress=False)
        dataset = open_dataset(tmp_path / "set")
        for k, images in enumerate(script[0]):
            np.testing.assert_array_equal(dataset[k].image, images.astype(np.float32))
        truth = [Table.read(tmp_path / f"set/truth/{shard}.parquet") for shard in range(2)]
        np.testing.assert_array_equal(np.concatenate([rows(t) for t in truth]), script[1])

    def test_a_script_that_begins_anywhere(self, script, catalog, lsst, batch_size):
        sampling = DefaultSampling(stamp_size=6.0, max_number=3, max_mag=25.3, seed=8)
        generator = GenerativeGenerator(catalog, sampling, lsst, seed=5, add_noise="background")
        generator.seek(3, batch_size)
        images = np.concatenate([next(generator).blend_images for _ in range(3 // batch_size)])
        np.testing.assert_array_equal(images, script[0][3:])


def test_compare_draws_the_same_blends(script):
    values = BLENDS | {"arms": ["parametric", "generative"], "deblenders": ["sep"]}
    bench = Bench(CompareConfig.model_validate(values))
    for blend in (4, 0):
        drawn = bench.draw(blend)
        np.testing.assert_array_equal(drawn["generative"].blend_images[0], script[0][blend])
        truth = script[1][script[1][:, 0] == blend]
        for batch in drawn.values():
            np.testing.assert_array_equal(rows(batch.catalog_list[0]), truth)


class Listed(DefaultSampling):
    """A user's own sampling function, which goes through a list."""

    def __init__(self, numbers):
        super().__init__(stamp_size=6.0, max_number=1)
        self.numbers = list(numbers)

    def __call__(self, table):
        return table[[self.numbers.pop(0)]]


def test_a_function_of_ones_own_is_asked_in_order(catalog, lsst):
    listed = Listed([7, 3, 5])
    generator = ParametricGenerator(catalog, listed, lsst, batch_size=1, add_noise="none")
    drawn = [next(generator).catalog_list[0]["galtileid"][0] for _ in range(3)]
    assert drawn == list(catalog.table["galtileid"][[7, 3, 5]])
    assert listed.numbers == []


@pytest.mark.parametrize("function", [PairSampling, FriendsOfFriendsSampling])
def test_the_seed_of_a_function_counts(catalog, function):
    """Those two draw from NumPy's global generator and do not heed their seed in BTK."""

    def draw(seed):
        sampling = IndexedSampling(function(seed=seed))
        return [tuple(sampling(catalog.table)["i_ab"]) for _ in range(5)]

    assert draw(1) == draw(1) != draw(2)


def test_a_function_that_is_passed_stays_as_it_is(catalog, lsst):
    sampling = DefaultSampling(stamp_size=6.0, seed=8)
    before = copy.deepcopy(sampling.rng.bit_generator.state)
    options = {"batch_size": 2, "add_noise": "none"}
    one, other = (ParametricGenerator(catalog, sampling, lsst, **options) for _ in range(2))
    first = [rows(table) for table in next(one).catalog_list]
    again = [rows(table) for table in next(other).catalog_list]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert sampling.rng.bit_generator.state == before


def test_an_indexed_function_pickles(catalog):
    sampling = IndexedSampling(DefaultSampling(seed=8))
    sampling.blend = 4
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(sampling))(catalog.table)["i_ab"],
        sampling(catalog.table)["i_ab"],
    )


def test_a_function_without_a_seed_has_no_blends_by_index():
    sampling = DefaultSampling()
    del sampling.rng
    with pytest.raises(ConfigError, match=r"DefaultSampling has no random generator of a seed"):
        IndexedSampling(sampling)


WRONG = [
    ("stamp_size", 0, "greater than 0"),
    ("stamp_size", -5, "greater than 0"),
    ("stamp_size", float("nan"), "finite number"),
    ("stamp_size", float("inf"), "finite number"),
    ("stamp_size", "big", "valid number"),
    ("stamp_size", True, "should be a number"),
    ("max_number", 0, "greater than 0"),
    ("max_number", -1, "greater than 0"),
    ("max_number", 2.5, "valid integer"),
    ("max_number", None, "valid integer"),
    ("min_number", -1, "greater than or equal to 0"),
    ("min_number", 9, "min_number=9 is more than max_number=2"),
    ("max_shift", float("nan"), "finite number"),
    ("max_shift", -1.0, "greater than or equal to 0"),
    ("max_shift", 12.1, r"max_shift=12.1 puts galaxies outside .* 12.0 at most"),
    ("max_mag", float("nan"), "should be a number"),
    ("min_mag", 26, "min_mag=26.0 is more than max_mag=25.3"),
    ("mag_name", 3, "valid string"),
    ("seed", -1, "greater than or equal to 0"),
    ("seed", 1.5, "valid integer"),
]


@pytest.mark.parametrize(("name", "value", "says"), WRONG)
def test_every_number_of_a_sampling_function_is_checked(name, value, says):
    with pytest.raises(ValueError, match=says) as error:
        BlendsConfig(catalog={"mock": 10}, sampling={name: value})
    message = str(error.value).splitlines()[2]
    assert name in message
    assert repr(value) in message


@pytest.mark.parametrize(
    ("function", "name", "value"),
    [
        ("DensitySampling", "density", -1.0),
        ("DensitySampling", "density", float("nan")),
        ("FriendsOfFriendsSampling", "link_distance", 0.0),
        ("PairSampling", "bright_cut", float("nan")),
        ("PairSampling", "dim_cut", 20.0),
        ("DefaultSamplingShear", "shear", [0.9, 0.9]),
        ("DefaultSamplingShear", "shear", [0.1]),
        ("DefaultSamplingShear", "shear", 0.1),
        ("DefaultSamplingShear", "shear", [float("nan"), 0.0]),
    ],
)
def test_arguments_of_the_other_functions(function, name, value):
    with pytest.raises(ValueError, match=name):
        BlendsConfig(catalog={"mock": 10}, sampling={"function": function, name: value})


def test_every_argument_of_btks_functions_is_known():
    """A number that BTK adds is to be checked, too."""
    import inspect

    from btk_generative.draw.sampling_config import _SAMPLING_ARGUMENTS

    functions = btk.sampling_functions.SamplingFunction.__subclasses__()
    names = {
        name
        for function in functions
        if function.__module__ == btk.sampling_functions.__name__
        for name in inspect.signature(function).parameters
    } | set(inspect.signature(btk.sampling_functions.DefaultSamplingShear).parameters)
    assert names == set(_SAMPLING_ARGUMENTS)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stamp_size": 0.1}, r"stamp_size=0.1 arcsec .* less than a pixel of survey LSST"),
        ({"stamp_size": float("nan")}, "stamp_size .* positive number of arcsec, not nan"),
        ({"stamp_size": -3.0}, "stamp_size .* positive number of arcsec, not -3.0"),
        ({"max_number": 2.5}, r"max_number .* integer of at least 1, not 2.5"),
        ({"max_number": 0, "min_number": 0}, r"max_number .* integer of at least 1, not 0"),
    ],
)
def test_a_function_that_makes_no_stamp(catalog, lsst, change, says):
    with pytest.raises(ConfigError, match=says):
        GenerativeGenerator(catalog, DefaultSampling(**change), lsst, model=load_model("default"))
