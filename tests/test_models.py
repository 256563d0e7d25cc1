"""Artifacts and sampling."""

import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from toy_model import RANDOM, SIZE, draw_toy, toy_card, write_toy

import btk_generative as bg
from btk_generative.errors import ConfigError, ModelError, OutputError
from btk_generative.models import GenerativeModel, ModelInput, load_model, write_artifact
from btk_generative.models.archive import pack, sha256, unpack


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "toy.tar.gz"
    write_toy(path)
    return path


@pytest.fixture(scope="module")
def model(path):
    return load_model(path)


@pytest.fixture(scope="module")
def conditions():
    return bg.conditions.from_catsim(bg.catalogs.mock_catsim(150, seed=0).table)


@pytest.fixture
def convolutional(tmp_path):
    """A network of the kinds of layers that decoders have, with weights of its own."""
    import tensorflow as tf

    rng = np.random.default_rng(3)

    def weights(*shape):
        return tf.Variable(rng.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape), dtype=tf.float32)

    class Decoder(tf.Module):
        def __init__(self):
            self.dense = [weights(RANDOM + 1, 200), weights(200, 4 * 4 * 30)]
            self.convolutions = [weights(3, 3, 30, 24), weights(3, 3, 24, 16)]
            self.last = weights(3, 3, 16, 4)

        def draw(self, zphot, random_normal):
            x = tf.concat([zphot[:, None], random_normal], 1)
            for matrix in self.dense:
                x = tf.nn.silu(x @ matrix)
            x = tf.reshape(x, [-1, 4, 4, 30])
            for kernel in self.convolutions:
                x = tf.image.resize(x, tf.shape(x)[1:3] * 2)
                x = tf.nn.silu(tf.nn.conv2d(x, kernel, 1, "SAME"))
            x = tf.nn.depth_to_space(tf.nn.conv2d(x, self.last, 1, "SAME"), 2)
            return {"image": tf.nn.softplus(x)[..., 0]}

    card = toy_card(name="convolutional", pixel_scale=0.03, oriented=False)
    card["inputs"] = card["inputs"][:1]
    return write_artifact(tmp_path / "convolutional.tar.gz", Decoder(), card)


def test_a_written_model_loads_with_its_card(path, model):
    assert model.name == "toy"
    assert model.card["licence"] == "MIT"
    assert model.stamp_size == SIZE
    assert model.random_size == RANDOM
    assert model.oriented
    assert model.sha256 == sha256(path.read_bytes())
    size = model.inputs[1]
    assert size == ModelInput("bulge_hlr", "arcsec", 0.02, 3.0, 0.1, size.description)
    assert load_model(str(path)) is model


def test_writing_is_deterministic(path, tmp_path):
    import tensorflow as tf

    def with_loop(**given):
        drawn = draw_toy(**given)
        _, image = tf.while_loop(
            lambda i, _: i < 3, lambda i, x: (i + 1, x * 1.5), [tf.constant(0), drawn["image"]]
        )
        return {**drawn, "image": image}

    for function in (draw_toy, with_loop):
        first, second = tmp_path / "first.tar.gz", tmp_path / "second.tar.gz"
        write_toy(first, function)
        write_toy(second, function)
        assert first.read_bytes() == second.read_bytes()


def test_profiles_are_what_the_network_draws(model, conditions):
    profiles = model.sample(conditions, rng=5)
    assert profiles.images.shape == (150, SIZE, SIZE)
    assert profiles.images.dtype == np.float32
    np.testing.assert_allclose(profiles.images.sum((1, 2), dtype=np.float64), 1, atol=1e-5)
    noise = np.random.default_rng(5).standard_normal((150, RANDOM)).astype(np.float32)
    given = {}
    for part in ("bulge", "disk"):
        assert (~conditions[f"{part}_present"]).any()
        for name, missing in (("hlr", 0.1), ("q", 1.0), ("flux", 1.0), ("present", 0.0)):
            column = np.ma.asarray(conditions[f"{part}_{name}"])
            given[f"{part}_{name}"] = np.float32(column.filled(missing))
    direct = draw_toy(**given, random_normal=noise)
    image = direct["image"].numpy()
    np.testing.assert_allclose(profiles.images, image / image.sum((1, 2), keepdims=True), atol=1e-6)
    np.testing.assert_allclose(profiles.pixel_scale, direct["pixel_scale"], rtol=1e-6)


def test_a_profile_does_not_depend_on_its_batch(model, convolutional, conditions):
    for network in (model, convolutional):
        noise = np.random.default_rng(0).standard_normal((150, RANDOM))
        whole = network.sample(conditions, random_normal=noise)
        order = np.random.default_rng(1).permutation(150)
        shuffled = network.sample(conditions[order], random_normal=noise[order])
        np.testing.assert_array_equal(shuffled.images, whole.images[order])
        np.testing.assert_array_equal(shuffled.pixel_scale, whole.pixel_scale[order])
        start = 0
        for size in (1, 63, 2, 70, 14):
            rows = slice(start, start + size)
            part = network.sample(conditions[rows], random_normal=noise[rows])
            np.testing.assert_array_equal(part.images, whole.images[rows])
            start += size


def test_random_numbers(model, conditions):
    seeded = model.sample(conditions[:3], rng=7).images
    for rng in (7, np.random.SeedSequence(7), np.random.default_rng(7)):
        np.testing.assert_array_equal(model.sample(conditions[:3], rng).images, seeded)
    assert not np.array_equal(model.sample(conditions[:3], 8).images, seeded)
    with pytest.raises(ConfigError, match="seed or generator"):
        model.sample(conditions[:3])
    with pytest.raises(ConfigError, match=r"shape \[3, 4\]"):
        model.sample(conditions[:3], random_normal=np.zeros((3, 5)))


def test_a_fresh_process_draws_the_same(path, model, conditions, tmp_path):
    conditions[:5].write(tmp_path / "conditions.ecsv")
    code = (
        "import sys, numpy as np, btk_generative as bg; from astropy.table import Table;"
        "conditions = Table.read(sys.argv[2]);"
        "drawn = bg.load_model(sys.argv[1]).sample(conditions, 3);"
        "np.save(sys.argv[3], drawn.images)"
    )
    saved = tmp_path / "images.npy"
    run = subprocess.run(
        [sys.executable, "-c", code, path, tmp_path / "conditions.ecsv", saved],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"},
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""  # and without TensorFlow's notes
    np.testing.assert_array_equal(np.load(saved), model.sample(conditions[:5], 3).images)


def test_threads_that_start_tensorflow_together_all_get_the_whole_of_it():
    code = """
import threading
from concurrent.futures import ThreadPoolExecutor
from btk_generative.models.graph import import_tensorflow

together = threading.Barrier(4)

def start(_):
    together.wait()
    return float(import_tensorflow().constant(2.0))

with ThreadPoolExecutor(4) as pool:
    print(*pool.map(start, range(4)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "2.0 2.0 2.0 2.0\n", run.stderr


def test_an_empty_table_gives_no_profiles(model, conditions):
    assert model.sample(conditions[:0], rng=0).images.shape == (0, SIZE, SIZE)


def test_a_model_can_be_pickled(model, conditions):
    copy = pickle.loads(pickle.dumps(model))
    assert isinstance(copy, GenerativeModel)
    np.testing.assert_array_equal(
        copy.sample(conditions[:2], 0).images, model.sample(conditions[:2], 0).images
    )


def test_units_are_converted(model, conditions):
    first = conditions[:4]
    other = first.copy()
    for name in ("bulge_hlr", "disk_hlr"):
        other[name] = MaskedColumn(first[name] * 1000, unit="mas")
    drawn, expected = model.sample(other, 0), model.sample(first, 0)
    np.testing.assert_allclose(drawn.images, expected.images, rtol=1e-4, atol=1e-8)
    np.testing.assert_array_equal(model.in_domain(other), model.in_domain(first))
    other["disk_hlr"].unit = "kg"
    with pytest.raises(ModelError, match="'disk_hlr' has unit 'kg'"):
        model.sample(other, 0)


def test_an_input_that_is_not_known_is_named(tmp_path, caplog):
    card = toy_card()
    card["inputs"].append({"name": "metallicity", "minimum": 0.0, "maximum": 1.0})

    def draw(metallicity, **given):
        return draw_toy(**given)

    write_toy(tmp_path / "m.tar.gz", draw, inputs=card["inputs"])
    caplog.clear()
    load_model(tmp_path / "m.tar.gz")
    assert "model 'toy' takes metallicity" in caplog.text


def test_a_missing_component(model, conditions):
    lacks = conditions[~conditions["bulge_present"]][:3]
    drawn = model.sample(lacks, 0)
    derived = lacks.copy()
    derived.remove_columns(["bulge_present", "disk_present"])
    np.testing.assert_array_equal(model.sample(derived, 0).images, drawn.images)
    assert model.in_domain(derived).all()
    derived["zphot"] = MaskedColumn(derived["zphot"], mask=[False, True, False])
    assert list(model.in_domain(derived)) == [True, False, True]
    with pytest.raises(ModelError, match=r"'zphot', row 1: .* masked"):
        model.sample(derived, 0)


def test_the_domain_is_closed(model, conditions):
    edges = Table(conditions[conditions["bulge_present"] & conditions["disk_present"]][:4])
    edges["zphot"] = [0.0, 4.0, 4.0 + 1e-9, -1e-9]
    assert list(model.in_domain(edges)) == [True, True, False, False]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_must_be_finite(model, conditions, value):
    bad = conditions.copy()
    bad["zphot"][[17, 20]] = value
    with pytest.raises(ModelError, match=rf"'zphot', row 17: value {value} .*\(2 such rows\)"):
        model.sample(bad, 0)
    assert not model.in_domain(bad)[17]


def test_a_missing_column_is_named(model, conditions):
    with pytest.raises(ModelError, match="column 'disk_q' is missing; model 'toy' needs"):
        model.sample(conditions["zphot", "bulge_hlr", "bulge_q", "bulge_flux", "disk_hlr"], 0)


def test_a_missing_file(tmp_path):
    with pytest.raises(ModelError, match=r"nowhere\.tar\.gz: No such file"):
        load_model(tmp_path / "nowhere.tar.gz")


def damaged(path, how):
    content = path.read_bytes()
    files = unpack(content, path)
    card = json.loads(files["model.json"])
    if how == "truncated":
        return content[: len(content) // 2]
    if how == "flipped bit":
        return content[:500] + bytes([content[500] ^ 1]) + content[501:]
    if how == "no archive":
        return b"PK\x03\x04 and so on"
    if how == "gzip of something else":
        return gzip.compress(b"text" * 1000)
    if how == "altered network":
        files["saved_model/saved_model.pb"] += b"\0"
    if how == "another schema":
        files["model.json"] = json.dumps(card | {"schema": 2}).encode()
    if how == "no card":
        del files["model.json"]
    if how == "no network":
        del files["saved_model/saved_model.pb"]
    if how == "not JSON":
        files["model.json"] = b"{"
    if how == "misspelt key":
        files["model.json"] = json.dumps(card | {"license": "MIT"}).encode()
    if how.startswith("card "):
        files["model.json"] = how.removeprefix("card ").encode()
    if how == "a key twice":
        files["model.json"] = files["model.json"].replace(b"{", b'{"schema": 1, ', 1)
    if how == "not a number":
        card["provenance"]["loss"] = float("nan")
        files["model.json"] = json.dumps(card).encode()
    if how == "large frames":
        files["model.json"] = json.dumps(card | {"stamp_size": 10**4}).encode()
    if how == "many random numbers":
        files["model.json"] = json.dumps(card | {"random_size": 10**12}).encode()
    if how == "wrong value":
        files["model.json"] = json.dumps(card | {"stamp_size": "large"}).encode()
    return pack(files)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "truncated or damaged"),
        ("flipped bit", "truncated or damaged"),
        ("no archive", "not a model archive"),
        ("gzip of something else", "not a model archive"),
        ("altered network", "has been altered"),
        ("another schema", "has schema 2, and this version of btk_generative reads schema 1"),
        ("no card", "holds no model.json"),
        ("no network", "holds no saved_model"),
        ("not JSON", "not JSON"),
        ("misspelt key", "license: Extra inputs are not permitted"),
        ("wrong value", "stamp_size: Input should be a valid integer"),
        ("large frames", "stamp_size: Input should be less than or equal to 1024"),
        ("many random numbers", "random_size: Input should be less than or equal to 65536"),
        ("a key twice", "not JSON: key 'schema' is given twice"),
        ("not a number", "not JSON: Out of range float values"),
        ("card " + "[" * 10**5 + "]" * 10**5, "not JSON: .* nested more than 50 deep"),
        ("card " + "[" * 60 + "]" * 60, "not JSON: .* nested more than 50 deep"),
        ('card {"a": 1' + "0" * 5000 + "}", "not JSON: .*4300 digits"),
        ("card " + " " * 2**21, "not JSON: it is larger than 1 MiB"),
        ("card 3", "has schema None"),
    ],
)
def test_a_damaged_model_says_what_is_wrong(path, tmp_path, how, message):
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(damaged(path, how))
    with pytest.raises(ModelError, match=message) as caught:
        load_model(bad)
    assert str(bad) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stamp_size": SIZE + 1}, "not images of 33 x 33"),
        ({"pixel_scale": 0.03}, r"outputs \['image', 'pixel_scale'\], but by"),
        ({"random_size": -1}, "random_size"),
        ({"inputs": [{"name": "zphot", "unit": "parsnip"}]}, "unit 'parsnip'"),
        ({"inputs": [{"name": "zphot", "minimum": 2, "maximum": 1}]}, "minimum 2.0 above"),
        ({"licence": ""}, "licence"),
    ],
)
def test_a_model_that_breaks_its_card_is_not_written(tmp_path, changes, message):
    with pytest.raises(ModelError, match=message):
        write_toy(tmp_path / "bad.tar.gz", **changes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda image: image - 1e-6, "negative"),
        (lambda image: image * 0, "no light"),
        (lambda image: image / 0, "no light, or light that is not finite"),
        (lambda image: image + image[::-1], "depends on the others"),
    ],
)
def test_a_network_that_draws_nonsense_is_not_written(tmp_path, spoil, message):
    def draw(**given):
        drawn = draw_toy(**given)
        return drawn | {"image": spoil(drawn["image"])}

    with pytest.raises(ModelError, match=message):
        write_toy(tmp_path / "bad.tar.gz", draw)
    assert not list(tmp_path.iterdir())


def test_an_unwritable_path(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_toy(tmp_path / "file" / "toy.tar.gz")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero", "nul\0byte"):
        with pytest.raises(ModelError, match="cannot read the model"):
            load_model(path)


def test_a_model_without_random_numbers(tmp_path):
    def draw(**given):
        return draw_toy(**given | {"random_normal": given["zphot"][:, None] * [[0.0] * RANDOM]})

    model = write_toy(tmp_path / "model.tar.gz", draw, random_size=0)
    assert model.random_size == 0


def test_values_beyond_single_precision_are_refused(model, conditions):
    bad = conditions.copy()
    bad["zphot"][3] = 1e39
    with pytest.raises(ModelError, match="'zphot', row 3: value 1e"):
        model.sample(bad, 0)


def archive(*members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, changes in members:
            info = tarfile.TarInfo(name)
            content = changes.pop("content", b"x")
            info.size = len(content)
            for key, value in changes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../outside", {})], "outside the archive"),
        ([("saved_model/../../outside", {})], "outside the archive"),
        ([("/etc/passwd", {})], "outside the archive"),
        ([("model.json", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})], "link or device"),
        ([("model.json", {"type": tarfile.LNKTYPE, "linkname": "other"})], "link or device"),
        ([("model.json", {"type": tarfile.FIFOTYPE})], "link or device"),
        ([("model.json", {"type": tarfile.CHRTYPE})], "link or device"),
        ([("weights.pkl", {})], "no part of a model"),
        ([("saved_model/code.py", {})], "no part of a model"),
        ([("saved_model/assets/model.keras", {})], "no part of a model"),
        ([("model.json", {}), ("./model.json", {})], "twice"),
        ([(f"folder{i}", {"type": tarfile.DIRTYPE}) for i in range(65)], "more than 64"),
        ([("model.json", {"content": bytes(2**20)})] * 3, "2 MiB"),
        ([("model.json", {"content": bytes(2**22)})], "2 MiB"),
    ],
)
def test_a_malicious_archive_is_not_opened(tmp_path, monkeypatch, members, message):
    monkeypatch.setattr("btk_generative.models.archive.MAX_BYTES", 2**21)
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(archive(*((name, dict(changes)) for name, changes in members)))
    with pytest.raises(ModelError, match=message):
        load_model(bad)
    assert list(tmp_path.iterdir()) == [bad]


def test_a_git_lfs_pointer_is_recognised(tmp_path):
    pointer = tmp_path / "model.tar.gz"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:8d\nsize 11515607\n")
    with pytest.raises(ModelError, match=r"Git LFS pointer.*models add FILE"):
        load_model(pointer)


@pytest.mark.parametrize(
    ("what", "operation"),
    [
        ("write a file", "WriteFile"),
        ("read a file", "ReadFile"),
        ("call Python", "PyFunc"),
        ("print", "PrintV2"),
    ],
)
def test_a_graph_may_only_compute(tmp_path, what, operation):
    import tensorflow as tf

    target = tmp_path / "target"

    def draw(**given):
        drawn = draw_toy(**given)
        match what:
            case "write a file":
                action = tf.io.write_file(str(target), "text")
            case "read a file":
                action = tf.io.read_file("/etc/hostname")
            case "call Python":
                action = tf.numpy_function(lambda: target.write_text("x"), [], tf.int64)
            case "print":
                action = tf.print("text")
        with tf.control_dependencies([action]):
            return {name: tf.identity(value) for name, value in drawn.items()}

    with pytest.raises(ModelError, match=f"the operation '{operation}' .node 'n"):
        write_toy(tmp_path / "bad.tar.gz", draw)
    assert not list(tmp_path.iterdir())
