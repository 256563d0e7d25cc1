"""Configuration files: what is accepted, and what the errors say."""

from pathlib import Path

import pytest

from btk_generative.config import DrawConfig, load_config
from btk_generative.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write


def test_the_quickstart_is_valid_and_gives_every_option():
    config = load_config(CONFIGS / "quickstart.yaml", DrawConfig)
    assert config.model_fields_set == set(DrawConfig.model_fields)
    assert config.sampling.build(config.seed).max_number == 5


def test_overrides_change_nested_keys(write):
    path = write("catalog: {path: some.parquet}\nseed: 4")
    changes = ["sampling.max_number=3", "survey=[LSST, HSC]", "catalog.format=cosmodc2"]
    config = load_config(path, DrawConfig, changes)
    assert config.catalog.path == Path("some.parquet")
    assert config.catalog.format == "cosmodc2"
    assert config.survey == ["LSST", "HSC"]
    assert config.sampling.build(7).max_number == 3


def test_a_catalogue_may_be_just_a_path(write):
    path = write("catalog: some.fits")
    assert load_config(path, DrawConfig).catalog.path == Path("some.fits")
    with pytest.raises(ConfigError, match=r"'catalog' is 'some.fits'.*no keys"):
        load_config(path, DrawConfig, ["catalog.format=cosmodc2"])


def test_the_sampling_seed_follows_the_seed_unless_given(write):
    one = load_config(write("catalog: {mock: 5}"), DrawConfig).sampling
    other = load_config(write("catalog: {mock: 5}\nsampling: {seed: 9}"), DrawConfig).sampling
    assert one.build(9).rng.random() == other.build(1).rng.random()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("catalog: {mock: 10}\nsede: 3", r"unknown key 'sede'; did you mean 'seed'"),
        ("catalog: {mock: 10, sed: 3}", r"unknown key 'catalog.sed'; did you mean 'seed'"),
        ("seed: 3", r"'catalog' is missing"),
        ("catalog: {}", r"catalog: give either 'path'"),
        ("catalog: {mock: 10}\nbatch_size: 0", r"'batch_size'.*greater than 0, not 0"),
        ("catalog: {mock: 10}\nadd_noise: some", r"'add_noise'.*'background'.*not 'some'"),
        ("catalog: {mock: 10}\nsurvey: LSTS", r"no survey 'LSTS'; did you mean 'LSST'"),
        ("catalog: {mock: 10}\nsurvey: [LSST, LSST]", r"survey is named twice"),
        (
            "catalog: {mock: 10}\nsampling: {max_numbr: 3}",
            r"no argument 'max_numbr'; did you mean 'max_number'",
        ),
        (
            "catalog: {mock: 10}\nsampling: {function: DefaultSamplin}",
            r"no sampling function 'DefaultSamplin'; did you mean 'DefaultSampling'",
        ),
        ("catalog: [", r"is not YAML"),
        ("just words", r"must hold 'key: value'"),
    ],
)
def test_a_mistake_names_the_key_and_what_it_may_be(write, text, says):
    path = write(text)
    with pytest.raises(ConfigError, match=says) as error:
        load_config(path, DrawConfig)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_every_mistake_is_reported_at_once(write):
    with pytest.raises(ConfigError, match=r"'sede'.*'njobs'|'njobs'.*'sede'"):
        load_config(write("catalog: {mock: 10}\nsede: 3\nnjobs: -1"), DrawConfig)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml", DrawConfig)


@pytest.mark.parametrize("change", ["seed", "=3", "a..b=3", "seed=["])
def test_a_malformed_override(write, change):
    with pytest.raises(ConfigError, match="--set"):
        load_config(write("catalog: {mock: 10}"), DrawConfig, [change])


def test_a_bad_value_for_the_sampling_function(write):
    path = write("catalog: {mock: 10}\nsampling: {max_number: 1, min_number: 3}")
    with pytest.raises(ConfigError, match="min_number"):
        load_config(path, DrawConfig).sampling.build(0)
