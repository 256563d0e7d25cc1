"""Configuration files: what is accepted, and what the errors say."""

from pathlib import Path

import pytest

from btk_generative.draw.config import DrawConfig
from btk_generative.errors import ConfigError
from btk_generative.runs.config import load_config

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


BOMB = "seed: [&a [x,x,x,x,x,x,x,x,x]" + "".join(
    f", &{name} [{','.join(['*' + before] * 9)}]"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB + "]", "more than 20000 values, aliases counted each time"),
        ("seed: &a [*a]", r"alias '\*a' stands inside what it stands for"),
        ("seed: " + "[" * 100_000, "nested more than 50 deep"),
        ("seed: " + "{a: " * 100_000, "nested more than 50 deep"),
        ("a: " * 5_000, "is not YAML"),
        ("seed: [" + "1, " * 20_001 + "]", "more than 20000 values"),
        ("#" * (2**20 + 1), "larger than 1 MiB"),
        ("seed: 1\nseed: 2", "key 'seed' is given twice"),
        ("catalog: {mock: 10, mock: 20}", "key 'mock' is given twice"),
        ("seed: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("seed: 2020-13-45", "is not YAML.*month must be"),
        ("seed: !!int x", "is not YAML.*invalid literal"),
        ("seed: !!timestamp x", "is not YAML"),
        ("seed: " + "9" * 5000, "is not YAML.*4300 digits"),
        ("? [a]\n: 1", "unhashable key"),
        ("seed: \0", "special characters"),
    ],
)
def test_yaml_that_is_legal_but_harmful(write, text, says):
    path = write(text)
    with pytest.raises(ConfigError, match=says) as error:
        load_config(path, DrawConfig)
    assert str(path) in str(error.value)
    value = text.removeprefix("seed: ")
    if value != text and "twice" not in says:
        with pytest.raises(ConfigError, match=f"--set .*{says.removeprefix('is not YAML')}"):
            load_config(write("catalog: {mock: 10}"), DrawConfig, [f"seed={value}"])


def test_binary_garbage_is_no_configuration(tmp_path):
    path = tmp_path / "config.yaml"
    for content in (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), b"\xff\xfe\x00", bytes(1000)):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="is not YAML"):
            load_config(path, DrawConfig)


def test_aliases_merges_and_their_changes_are_kept(write):
    path = write(
        "catalog: {mock: &n 10, seed: *n}\nsampling: {<<: &s {max_number: 3, stamp_size: 6.0},"
        " max_number: 4}"
    )
    config = load_config(path, DrawConfig)
    assert config.catalog.seed == 10
    assert config.sampling.model_extra == {"max_number": 4, "stamp_size": 6.0}


def test_a_message_stays_short(write):
    many = ", ".join(f"k{number}: 1" for number in range(5000))
    for text in (f"catalog: {{mock: 10}}\nseed: [{'1, ' * 5000}]", f"catalog: {{{many}}}"):
        with pytest.raises(ConfigError) as error:
            load_config(write(text), DrawConfig)
        assert len(str(error.value)) < 5000
    with pytest.raises(ConfigError, match="--set: a key of 10001 parts"):
        load_config(write("catalog: {mock: 10}"), DrawConfig, ["a." * 10_000 + "b=1"])
