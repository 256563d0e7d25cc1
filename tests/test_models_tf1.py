"""TensorFlow-1 hub modules."""

import numpy as np
import pytest
from astropy.table import Table
from hub_module import internally_random, published, write_hub_module

from btk_generative.errors import ModelError
from btk_generative.models import load_model


@pytest.fixture(scope="module")
def hub_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("hub") / "module.tar.gz"
    run = write_hub_module(path, tmp_path_factory.mktemp("module"), published)
    return path, run


@pytest.fixture
def conditions():
    rng = np.random.default_rng(2)
    return Table(
        {
            "mag_auto": rng.uniform(20, 25, 70),
            "flux_radius": rng.uniform(4, 20, 70),
            "zphot": rng.uniform(0.1, 2, 70),
        }
    )


def test_it_draws_what_its_graph_gives_in_a_session(hub_model, conditions):
    path, run = hub_model
    model = load_model(path)
    assert model.stamp_size == 128
    assert model.random_size == 16
    assert not model.oriented
    assert {given.name for given in model.inputs} == {"mag_auto", "flux_radius", "zphot"}
    noise = np.random.default_rng(1).standard_normal((70, 16)).astype(np.float32)
    profiles = model.sample(conditions, random_normal=noise)
    given = {name: np.float32(conditions[name]) for name in conditions.colnames}
    image = run(random_normal=noise[:, None, None, :], **given)[..., 0]
    expected = image / image.sum((1, 2), keepdims=True)
    np.testing.assert_allclose(profiles.images, expected, rtol=1e-4, atol=1e-8)
    np.testing.assert_array_equal(profiles.pixel_scale, 0.03)


def test_a_profile_does_not_depend_on_its_batch(hub_model, conditions):
    model = load_model(hub_model[0])
    noise = np.random.default_rng(1).standard_normal((70, 16))
    whole = model.sample(conditions, random_normal=noise).images
    part = model.sample(conditions[5:8], random_normal=noise[5:8]).images
    np.testing.assert_array_equal(part, whole[5:8])


def test_the_domain_is_open_where_nothing_is_known_of_it(hub_model, conditions):
    model = load_model(hub_model[0])
    assert model.in_domain(conditions).all()
    assert model.inputs[0].minimum == -np.inf
    assert model.inputs[0].maximum == np.inf
    with pytest.raises(ModelError, match="the domain of 'flux_radius' is not given"):
        model.check()


def test_the_registry_tells_units_and_domain(hub_model, conditions, monkeypatch):
    from dataclasses import replace

    from btk_generative.models import reading
    from btk_generative.models.archive import sha256

    known = reading.registry()["Lanusse2020"]
    here = replace(known, sha256=sha256(hub_model[0].read_bytes()))
    monkeypatch.setattr(reading, "registry", lambda: {"Lanusse2020": here})
    from btk_generative.models import load

    monkeypatch.setattr(load, "_loaded", {})
    model = load_model(hub_model[0])
    assert model.name == "Lanusse2020"
    inputs = {given.name: given for given in model.inputs}
    assert inputs["mag_auto"].unit == "mag"
    assert inputs["flux_radius"].unit == "pix"
    conditions["mag_auto"][3] = 26.0
    assert list(np.flatnonzero(~model.in_domain(conditions))) == [3]


def test_random_numbers_made_inside_come_from_the_seed(tmp_path):
    path, folder = tmp_path / "module.tar.gz", tmp_path / "module"
    folder.mkdir()
    write_hub_module(path, folder, internally_random)
    model = load_model(path)
    assert model.random_size == 16 * 16 + 16
    table = Table({"flux": np.ones(200)})
    drawn = model.sample(table, rng=3)
    np.testing.assert_array_equal(model.sample(table, rng=3).images, drawn.images)
    assert len(np.unique(drawn.images[:, 0, 0])) == 200
    # the first 256 numbers are the normal ones, the others become uniform between 1 and 3
    noise = np.random.default_rng(4).standard_normal((200, 272))
    profile = model.sample(table, random_normal=noise).images
    from scipy.stats import norm

    expected = np.exp(2 * noise[:, :256].reshape(200, 16, 16))
    expected *= (1 + 2 * norm.cdf(noise[:, 256:]))[:, ::1, None]
    expected /= expected.sum((1, 2), keepdims=True)
    np.testing.assert_allclose(profile, expected, rtol=1e-4, atol=1e-9)


def spoiled(how):
    def build(v1):
        import tensorflow as tf

        inputs, image, size = internally_random(v1)
        if how == "python":
            image = v1.py_func(lambda x: x, [image], tf.float32)
        elif how == "file":
            text = tf.io.read_file("/etc/hostname")
            image = image + tf.cast(tf.strings.length(text), tf.float32)
        elif how == "shared noise":
            image = image + v1.random_normal([size, size])
        return inputs, image, size

    return build


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("python", r"the operation 'PyFunc' \(node 'PyFunc'\)"),
        ("file", r"the operation 'ReadFile' \(node 'ReadFile'\)"),
        ("shared noise", "are not per galaxy"),
    ],
)
def test_a_module_may_only_compute(tmp_path, how, message):
    path, folder = tmp_path / "module.tar.gz", tmp_path / "module"
    folder.mkdir()
    write_hub_module(path, folder, spoiled(how))
    with pytest.raises(ModelError, match=message):
        load_model(path)


def write_file_before(node, target):
    """Returns a change of a graph: it writes a file before a node is run."""

    def change(graph):
        for name, text in (("name", str(target)), ("text", "written")):
            constant = graph.node.add(name=f"evil/{name}", op="Const")
            constant.attr["dtype"].type = constant.attr["value"].tensor.dtype = 7
            constant.attr["value"].tensor.tensor_shape.SetInParent()
            constant.attr["value"].tensor.string_val.append(text.encode())
        graph.node.add(name="evil/write", op="WriteFile", input=["evil/name", "evil/text"])
        (victim,) = (other for other in graph.node if other.name == node)
        victim.input.append("^evil/write")

    return change


@pytest.mark.parametrize("node", ["dense/Read/ReadVariableOp", "dense/Assign"])
def test_nothing_runs_but_what_the_image_needs(hub_model, conditions, tmp_path, node):
    """The first ran when the module was loaded, and wrote the file."""
    path, folder, target = tmp_path / "module.tar.gz", tmp_path / "module", tmp_path / "target"
    folder.mkdir()
    change = write_file_before(node, target)
    write_hub_module(path, folder, published, change=change)
    drawn = load_model(path).sample(conditions, 3)
    assert not target.exists()
    expected = load_model(hub_model[0]).sample(conditions, 3)
    np.testing.assert_array_equal(drawn.images, expected.images)


def test_what_the_image_needs_may_not_write(tmp_path):
    path, folder, target = tmp_path / "module.tar.gz", tmp_path / "module", tmp_path / "target"
    folder.mkdir()
    change = write_file_before("Softplus", target)
    write_hub_module(path, folder, published, change=change)
    with pytest.raises(ModelError, match=r"operation 'WriteFile' \(node 'evil/write'\)"):
        load_model(path)
    assert not target.exists()


def test_a_variable_read_in_a_loop(tmp_path):
    def build(v1):
        import tensorflow as tf

        v1.disable_control_flow_v2()
        flux = v1.placeholder(tf.float32, [None], "flux")
        weight = v1.get_variable("weight", initializer=np.float32(1.5), use_resource=True)
        image = tf.tile(flux[:, None, None], [1, 8, 8])
        image = v1.while_loop(
            lambda step, _: step < 3,
            lambda step, x: (step + 1, x * weight.read_value() + tf.eye(8)),
            [tf.constant(0), image],
        )[1]
        return {"flux": flux}, image, 8

    path, folder = tmp_path / "module.tar.gz", tmp_path / "module"
    folder.mkdir()
    run = write_hub_module(path, folder, build)
    flux = np.float32([1, 2])
    drawn = load_model(path).sample(Table({"flux": flux}), 0).images
    image = run(flux=flux)
    np.testing.assert_allclose(drawn, image / image.sum((1, 2), keepdims=True), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("variables/variables.index"), "not a TensorFlow-1 hub module"),
        (
            lambda files: files.update({"variables/variables.index": b"nonsense"}),
            "not a TensorFlow-1 hub module",
        ),
        (lambda files: files.update({"saved_model.pb": b"\xff\xff"}), "DecodeError"),
        (lambda files: files.pop("saved_model.pb"), "KeyError"),
    ],
)
def test_a_module_with_damaged_files(hub_model, tmp_path, change, message):
    from btk_generative.models.archive import pack, unpack

    files = unpack(hub_model[0].read_bytes(), "module")
    change(files)
    (tmp_path / "bad.tar.gz").write_bytes(pack(files))
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "bad.tar.gz")


@pytest.mark.parametrize("change", [{"attach": False}, {"tags": ["serve"]}])
def test_another_format_says_so(tmp_path, change):
    path, folder = tmp_path / "module.tar.gz", tmp_path / "module"
    folder.mkdir()
    write_hub_module(path, folder, internally_random, **change)
    with pytest.raises(ModelError, match="not a TensorFlow-1 hub module of galsim_hub's format"):
        load_model(path)
