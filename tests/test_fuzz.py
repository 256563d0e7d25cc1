"""A hundred and more broken inputs of each kind, from a seed: one line, or the same blends.

What ends with exit code 0 and should not change anything draws what the original draws.
"""

import random

import fuzzing
import numpy as np
import pytest
import yaml
from astropy.table import MaskedColumn, Table

from btk_generative.catalogs import mock_catsim
from btk_generative.compare.config import CompareConfig
from btk_generative.datasets import GenerateConfig
from btk_generative.draw.config import DrawConfig
from btk_generative.errors import ConfigError
from btk_generative.runs.config import load_config
from btk_generative.training.default.config import TrainConfig
from btk_generative.training.settings import GanTraining, VaeTraining

TINY = {
    "catalog": {"mock": 50},
    "survey": "LSST",
    "sampling": {"stamp_size": 3.0, "max_number": 2, "max_mag": 27.0},
    "seed": 3,
    "batches": 1,
    "batch_size": 2,
    "use_bar": False,
}
TRAIN = {
    "name": "n",
    "description": "d",
    "licence": "MIT",
    "conditions": ["mag_auto", "zphot"],
    "data": {"rows": 10, "stamp_size": 32},
}
FIT = {"epochs": 2, "batch_size": 8, "learning_rate": 0.1}
SCHEMAS = {
    "draw": (DrawConfig, TINY),
    "generate": (
        GenerateConfig,
        {k: v for k, v in TINY.items() if k not in ("batches", "use_bar")} | {"shards": 2},
    ),
    "compare": (
        CompareConfig,
        {k: v for k, v in TINY.items() if k not in ("batches", "batch_size", "use_bar")}
        | {"blends": 2, "arms": ["parametric", "generative"], "deblenders": [{"name": "sep"}]},
    ),
    "vae": (VaeTraining, TRAIN | {"kind": "vae", "flow": {"kind": "maf"}, "fit_vae": FIT}),
    "gan": (GanTraining, TRAIN | {"kind": "gan", "gan": {"latent": 4}, "fit_gan": FIT}),
    "default": (
        TrainConfig,
        {"kind": "default", "data": ".", "catalog": "c.fits", "structure": {"stamps": "s.npz"}},
    ),
}
VALUES = (
    *(None, True, False, -1, 0, 1, 3, 2.5, -0.1, 10**12, -(10**30), 1e300, "", "x", "1e3", "π\x07"),
    *(float("nan"), float("inf"), -float("inf"), [], {}, [1, 2], [None], {"a": 1}, {1: 2}, [[1]]),
    *("LSST", ["LSST", "HSC"], "DefaultSampling", "PairSampling", "0x10", "2026-01-01", "a b"),
)


def places(values, parents=()):
    """Returns the path of every key of nested dictionaries."""
    for key, value in values.items():
        yield (*parents, key)
        if isinstance(value, dict):
            yield from places(value, (*parents, key))


def broken(values, dice):
    """Returns a copy of a configuration with one or two things changed, and what they are."""
    values, said = yaml.safe_load(yaml.safe_dump(values)), []
    for _ in range(dice.randint(1, 2)):
        *parents, key = dice.choice(list(places(values)))
        inner = values
        for parent in parents:
            inner = inner[parent]
        deed = dice.choice(["value"] * 6 + ["remove", "rename", "add"])
        if deed == "value":
            inner[key] = dice.choice(VALUES)
        elif deed == "remove":
            del inner[key]
        elif deed == "rename":
            inner[dice.choice([str(key) + "s", str(key)[:-1], 7, None])] = inner.pop(key)
        else:
            inner[dice.choice(ALL_KEYS)] = dice.choice(VALUES)
        said.append((deed, (*parents, key)))
    return values, said


ALL_KEYS = sorted(
    {name for schema, _ in SCHEMAS.values() for name in schema.model_fields}
    | {"min_number", "max_shift", "function", "mag_name", "path", "format", "region", "max_mag"}
)


def is_quick(config):
    sampling = config.sampling.build(config.seed)
    return (
        (config.catalog.mock or 0) <= 50
        and config.batches * config.batch_size <= 4
        and sampling.stamp_size <= 8
        and sampling.max_number <= 4
        and config.njobs <= 4
    )


@pytest.mark.parametrize("name", SCHEMAS)
def test_broken_configurations(name, tmp_path, monkeypatch):
    schema, values = SCHEMAS[name]
    dice, path = random.Random(name), tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(values))
    load_config(path, schema)
    loaded, drawn = 0, 0
    for _ in range(150):
        changed, said = broken(values, dice)
        path.write_text(yaml.safe_dump(changed, allow_unicode=True))
        try:
            config = load_config(path, schema)
        except ConfigError as error:
            assert str(path) in str(error), said
            assert "\n" not in str(error), said
            continue
        loaded += 1
        if name == "draw" and drawn < 8 and is_quick(config):
            drawn += 1
            images = fuzzing.draw(monkeypatch, tmp_path, path)
            if not isinstance(images, str):
                assert np.isfinite(images).all(), said
    assert loaded >= 5


def test_broken_lines_of_configurations(tmp_path):
    """Bytes of the file, rather than values in it."""
    path, dice = tmp_path / "c.yaml", random.Random(1)
    text = yaml.safe_dump(TINY).encode()
    for _ in range(200):
        content = bytearray(text)
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(content))
            content[place : place + dice.randint(0, 3)] = bytes(
                dice.choice(b"\0\t\n :-{}[]&*!|>'\"%@`,#?\xff~aA0.")
                for _ in range(dice.randint(0, 3))
            )
        path.write_bytes(content)
        try:
            load_config(path, DrawConfig)
        except ConfigError as error:
            assert "\n" not in str(error)


def test_broken_changes_on_the_command_line(tmp_path, monkeypatch):
    path, dice = tmp_path / "c.yaml", random.Random(2)
    path.write_text(yaml.safe_dump(TINY))
    keys = [".".join(place) for place in places(TINY)] + [
        "",
        ".",
        "a.b",
        "catalog.",
        "sampling.seed",
    ]
    texts = "0 -1 .nan 2.5 x [ {} [1,2] null ~ & *a !!python/object:os.system '\"' 1e3 =".split()
    for _ in range(150):
        change = dice.choice(keys) + dice.choice(["=", "=", "=", ""]) + dice.choice(texts)
        try:
            load_config(path, DrawConfig, [change])
        except ConfigError as error:
            assert "\n" not in str(error)


SAME = (
    ("batch_size=1", "batches=2"),
    ("njobs=2",),
    ("verbose=true",),
    ("survey=[LSST]",),
    ("sampling.seed=3",),
    ("sampling.max_number=2.0",),
    ("sampling.stamp_size=3",),
    ("sampling.function=DefaultSampling",),
    ("sampling.max_shift=0.3",),
    ("catalog.seed=0",),
    ("seed='3'",),
    ("out_of_domain=clip", "color=flat", "model=default", "device=cpu"),
)


def test_what_says_the_same_draws_the_same(tmp_path, monkeypatch):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(TINY))
    original = fuzzing.draw(monkeypatch, tmp_path, path)
    for changes in SAME:
        np.testing.assert_array_equal(
            fuzzing.draw(monkeypatch, tmp_path, path, *changes), original, str(changes)
        )


# --- catalogue files ---------------------------------------------------------------------------

DRAWN = (
    *("ra", "dec", "redshift", "fluxnorm_bulge", "fluxnorm_disk", "fluxnorm_agn", "a_b", "b_b"),
    *("a_d", "b_d", "pa_bulge", "pa_disk", "i_ab", "r_ab"),
)


def bytes_changed(content, dice):
    content = bytearray(content)
    deed = dice.choice(["flip", "flip", "flip", "cut", "zeros", "garbage", "header"])
    if deed == "cut":
        del content[dice.randrange(len(content)) :]
    elif deed == "zeros":
        start = dice.randrange(len(content))
        content[start : start + 200] = bytes(len(content[start : start + 200]))
    elif deed == "garbage":
        start = dice.randrange(len(content))
        content[start : start + 50] = dice.randbytes(len(content[start : start + 50]))
    else:
        area = len(content) if deed == "flip" else min(9000, len(content))
        for _ in range(dice.randint(1, 5)):
            content[dice.randrange(area)] ^= 1 << dice.randrange(8)
    return bytes(content), deed


@pytest.mark.parametrize("ending", ["fits", "parquet"])
def test_broken_bytes_of_catalogues(ending, tmp_path, monkeypatch):
    dice, path, config = random.Random(ending), tmp_path / f"c.{ending}", tmp_path / "c.yaml"
    table = mock_catsim(50).table
    table.meta.clear()
    table.write(path)
    content = path.read_bytes()
    config.write_text(yaml.safe_dump(TINY | {"catalog": str(path)}))
    assert not isinstance(fuzzing.draw(monkeypatch, tmp_path, config), str)
    read = 0
    for _ in range(120):
        changed, deed = bytes_changed(content, dice)
        path.write_bytes(changed)
        limited = dice.random() < 0.5
        changes = ["catalog.max_mag=26"] if limited else []
        # a flip that changes a value cannot be told: what is drawn then is drawn without a fault
        if read < 6:
            read += not isinstance(fuzzing.draw(monkeypatch, tmp_path, config, *changes), str)
            continue
        try:
            load_config(config, DrawConfig, changes).catalog.read()
        except fuzzing.cli.GenerativeError as error:
            assert str(path) in str(error), deed


def value_changed(table, dice):
    """Returns a table with a column that is not what it should be, and whether it may be drawn."""
    table, name = table.copy(), dice.choice(DRAWN)
    row, deed = dice.randrange(len(table)), dice.choice(DEEDS)
    if deed in ("nan", "inf", "-inf"):
        table[name][row] = float(deed)
        # the size and angle of a component that is not there do not matter
        return table, (deed, name), name.startswith(("a_", "b_", "pa_"))
    if deed == "negative":
        table[name][row] = -5.0
        return (
            table,
            (deed, name),
            name in ("ra", "dec", "pa_bulge", "pa_disk", "i_ab", "r_ab")
            or (name.startswith(("a_", "b_"))),
        )
    if deed == "missing":
        table.remove_column(name)
        return table, (deed, name), False
    if deed == "empty":
        return table[:0], deed, False
    values = np.asarray(table[name])
    table[name] = {
        "text": lambda: np.array([f"{value:.3f}" for value in values]),
        "vector": lambda: np.stack([values, values], axis=1),
        "complex": lambda: values + 0j,
        "masked": lambda: MaskedColumn(values, mask=np.arange(len(values)) == row),
        "all-masked": lambda: MaskedColumn(values, mask=True),
        "boolean": lambda: values > np.median(values),
    }[deed]()
    return table, (deed, name), deed in ("masked", "all-masked", "text")  # of numbers


DEEDS = "nan inf -inf negative missing empty text vector complex masked boolean all-masked".split()


@pytest.mark.parametrize("ending", ["fits", "parquet"])
def test_wrong_values_in_catalogues(ending, tmp_path, monkeypatch):
    dice, path, config = random.Random(ending), tmp_path / f"c.{ending}", tmp_path / "c.yaml"
    table = mock_catsim(50).table
    table.meta.clear()
    for column in table.columns.values():
        column.unit = column.format = None
    config.write_text(yaml.safe_dump(TINY | {"catalog": str(path)}))
    drawn = 0
    for _ in range(110):
        changed, deed, may_be_drawn = value_changed(table, dice)
        try:
            changed.write(path, overwrite=True)
        except (NotImplementedError, ValueError, TypeError, KeyError):  # not for this format
            continue
        if may_be_drawn and drawn >= 5:
            continue
        images = fuzzing.draw(monkeypatch, tmp_path, config)
        drawn += not isinstance(images, str)
        assert may_be_drawn or isinstance(images, str), deed
        if not isinstance(images, str):
            assert np.isfinite(images).all(), deed


def test_another_form_of_the_same_catalogue(tmp_path, monkeypatch):
    config = tmp_path / "c.yaml"
    table = mock_catsim(50).table
    table.meta.clear()

    def draw(changed, ending):
        path = tmp_path / f"c.{ending}"
        changed.write(path, overwrite=True)
        config.write_text(yaml.safe_dump(TINY | {"catalog": str(path)}))
        return fuzzing.draw(monkeypatch, tmp_path, config)

    original = draw(table, "fits")
    masked = Table(table, masked=True)
    turned = table[table.colnames[::-1]]
    more = table.copy()
    more["number"] = 7
    big = Table({n: np.asarray(c).astype(c.dtype.newbyteorder(">")) for n, c in table.items()})
    for form in (masked, turned, more, big):
        for ending in ("fits", "parquet", "fits.gz"):
            np.testing.assert_array_equal(draw(form, ending), original)
