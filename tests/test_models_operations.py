"""What the graph of a model may hold, whoever wrote it."""

import json

import numpy as np
import pytest
from toy_model import RANDOM, draw_toy, toy_card, write_toy

import btk_generative as bg
from btk_generative.errors import ModelError
from btk_generative.models import load_model, write_artifact
from btk_generative.models.archive import pack, sha256, unpack
from btk_generative.models.operations import OPERATIONS

NETWORK = "saved_model/saved_model.pb"


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("operations") / "toy.tar.gz"
    write_toy(path)
    return path


def altered(path, change, to):
    """Writes a model whose graph was changed, with a card that fits, and returns its path."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    files = unpack(path.read_bytes(), path)
    saved = SavedModel.FromString(files[NETWORK])
    change(saved.meta_graphs[0].graph_def)
    files[NETWORK] = saved.SerializeToString()
    card = json.loads(files["model.json"]) | {"files": {NETWORK: sha256(files[NETWORK])}}
    to.write_bytes(pack(files | {"model.json": json.dumps(card).encode()}))
    return to


def constant(body, name, value):
    import tensorflow as tf

    node = body.add(name=name, op="Const")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype
    return node


def before_the_image(graph, name):
    """Makes a node run before the image is drawn."""
    next(node for node in graph.node if node.op == "AddV2").input.append(f"^{name}")


@pytest.fixture
def refused(toy, tmp_path):
    """Returns a function: a changed graph is refused, before TensorFlow sees it, with a message."""

    def check(change, message):
        model = load_model(altered(toy, change, tmp_path / "bad.tar.gz"))
        with pytest.raises(ModelError, match=message) as caught:
            model._load()
        assert "bad.tar.gz" in str(caught.value)

    return check


HARMFUL = [  # those of the second line TensorFlow calls stateless
    *("WriteFile", "SaveV2", "RestoreV2", "PyFunc", "EagerPyFunc", "PrintV2", "VarHandleOp"),
    *("DatasetFromGraph", "DecodeProtoV2", "ReadFile", "MatchingFiles", "ImmutableConst"),
    *("RandomStandardNormal", "StatelessRandomNormal", "SymbolicGradient", "RemoteCall"),
    *("TensorListReserve", "MapDefun", "XlaHostCompute", "Bitcast", "DecodeRaw", "NoSuchOp"),
]


@pytest.mark.parametrize("operation", HARMFUL)
def test_an_operation_that_no_decoder_needs(refused, operation):
    def change(graph):
        graph.node.add(name="evil/one", op=operation)
        before_the_image(graph, "evil/one")

    refused(change, rf"the operation '{operation}' \(node 'evil/one'\)")


@pytest.mark.parametrize("operation", ["DatasetFromGraph", "WriteFile"])
def test_an_operation_in_a_function_that_nobody_calls(refused, operation):
    def change(graph):
        function = graph.library.function.add()
        function.signature.name = "hidden"
        function.node_def.add(name="evil", op=operation)

    refused(change, rf"the operation '{operation}' \(node 'evil'\)")


def test_a_graph_in_a_text(refused):
    """`DatasetFromGraph` runs the graph that a text holds."""

    def change(graph):
        constant(graph.node, "graph", graph.SerializeToString())

    refused(change, r"the operation 'Const' \(node 'graph'\), which is more than a short text")

    def change(graph):
        constant(graph.node, "name", b"/etc/passwd")
        graph.node.add(name="copy", op="Identity", input=["name"]).attr["T"].type = 1

    refused(change, r"the operation 'Identity' \(node 'copy'\), which takes the text of .* 'name'")

    def change(graph):
        graph.node[0].attr["note"].s = graph.SerializeToString()

    refused(change, "whose attribute 'note' is a long text")

    def change(graph):
        graph.node.add(name="copy", op="Identity").attr["T"].type = 7

    refused(change, r"the operation 'Identity' \(node 'copy'\), .* no type of number")


def calls(graph, *pairs):
    """Adds functions that do nothing but call functions, given as pairs of names."""
    for caller, names in pairs:
        function = graph.library.function.add()
        function.signature.name = caller
        for index, name in enumerate(names):
            node = function.node_def.add(name=f"call{index}", op="PartitionedCall")
            node.attr["f"].func.name = name


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("a", ["b"]), ("b", ["a"])], "call one another more than 50 deep"),
        ([("a", ["a"])], "call one another more than 50 deep"),
        ([("f0", [])] + [(f"f{i + 1}", [f"f{i}"] * 2) for i in range(20)], "more than 50000 oper"),
        ([("a", ["PyFunc"])], "calls the unknown function 'PyFunc'"),
        ([("a", []), ("a", [])], "two functions of one name"),
    ],
)
def test_functions_that_grow_or_lead_elsewhere(refused, pairs, message):
    refused(lambda graph: calls(graph, *pairs), message)


def sized(operation, place, value, inputs):
    def change(graph):
        constant(graph.node, "size", value)
        sources = ["x"] * inputs
        sources[place] = "size"
        graph.node.add(name="large", op=operation, input=sources)

    return change


def unfilled(*lengths):
    def change(graph):
        tensor = constant(graph.node, "large", np.float32(1)).attr["value"].tensor
        for length in lengths:
            tensor.tensor_shape.dim.add(size=length)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (unfilled(10**6, 10**6), "constants of the graph take more than 512 MiB"),
        (unfilled(2**62, 2**62), "constants of the graph take more than 512 MiB"),
        (unfilled(-1), r"\(node 'large'\), whose shape is not definite"),
        (sized("Range", 1, 10**9, 3), r"'Range' \(node 'large'\), which makes a tensor longer"),
        (sized("Fill", 0, [4, 10**9], 2), r"'Fill' \(node 'large'\), which makes"),
        (sized("Tile", 1, [10**8], 2), r"'Tile' \(node 'large'\), which makes"),
        (sized("Pad", 1, [[0, 10**8]], 2), r"'Pad' \(node 'large'\), which makes"),
        (sized("ResizeBilinear", 1, [10**8, 1], 2), r"'ResizeBilinear' \(node 'large'\)"),
        (lambda g: [g.node.add(op="NoOp") for _ in range(50_001)], "more than 50000 operations"),
    ],
)
def test_memory_without_bound(refused, change, message):
    refused(change, message)


def test_a_large_tensor_of_every_galaxy(tmp_path):
    import tensorflow as tf

    def draw(**given):
        drawn = draw_toy(**given)
        size = tf.stack([tf.shape(given["zphot"])[0], 2**12, 2**13])
        return {**drawn, "image": drawn["image"] + tf.reduce_max(tf.fill(size, 1.0))}

    with pytest.raises(ModelError, match=r"\(None, 4096, 8192\), more than 4 GiB for 40 galaxies"):
        write_toy(tmp_path / "bad.tar.gz", draw)


def test_a_large_tensor_in_the_making(toy, tmp_path):
    def change(graph):
        constant(graph.node, "dims", np.int32([2**12, 2**12, 2**12]))
        constant(graph.node, "one", np.float32(1))
        node = graph.node.add(name="large", op="Fill", input=["dims", "one"])
        node.attr["T"].type, node.attr["index_type"].type = 1, 3

    model = load_model(altered(toy, change, tmp_path / "bad.tar.gz"))
    with pytest.raises(ModelError, match=r"'Fill' \(node 'large'\) makes .*more than 4 GiB for 40"):
        model.check()


def test_the_list_is_of_operations_that_neither_keep_state_nor_touch_files():
    import tensorflow as tf
    from tensorflow.python.framework import op_def_registry

    tf.no_op()
    known = {name: op_def_registry.get(name) for name in OPERATIONS}
    assert None not in known.values()
    stateful = {name for name, found in known.items() if found.is_stateful}
    assert stateful == {"Assert", "CheckNumerics", "If", "While", "StatefulPartitionedCall"}
    texts = {  # operations with an input or output of a type that is always text or a handle
        name
        for name, found in known.items()
        for tensor in (*found.input_arg, *found.output_arg)
        if tensor.type in (7, 20, 21) or tensor.is_ref
    }
    assert not texts


def test_calls_loops_and_assertions_draw_as_without(toy, tmp_path):
    import tensorflow as tf

    @tf.function(experimental_attributes={"_noinline": True}, autograph=False)
    def twice(image):
        return image * 2

    def draw(**given):
        drawn = draw_toy(**given)
        image = twice(drawn["image"])
        with tf.control_dependencies([tf.debugging.assert_non_negative(image, "negative")]):
            _, image = tf.while_loop(
                lambda i, _: i < 2, lambda i, x: (i + 1, x * 2), [tf.constant(0), image]
            )
        return {**drawn, "image": image}

    model = write_toy(tmp_path / "calls.tar.gz", draw)
    conditions = bg.conditions.from_catsim(bg.catalogs.mock_catsim(50, seed=0).table)
    drawn, plain = model.sample(conditions, 1), load_model(toy).sample(conditions, 1)
    np.testing.assert_allclose(drawn.images, plain.images, rtol=1e-5, atol=1e-12)
    graph = model._load().definition
    assert b"PartitionedCall" in graph
    assert b"Assert" in graph
    assert b"LoopCond" in graph


def test_the_layers_of_keras(tmp_path):
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    decoder = keras.Sequential(
        [
            layers.Dense(4 * 4 * 8, activation="gelu"),
            layers.LayerNormalization(),
            layers.Reshape((4, 4, 8)),
            layers.Conv2DTranspose(8, 3, 2, "same", activation="elu"),
            layers.BatchNormalization(),
            layers.UpSampling2D(2, interpolation="bilinear"),
            layers.UpSampling2D(2),
            layers.ZeroPadding2D(1),
            layers.Conv2D(8, 3, activation="silu"),
            layers.GroupNormalization(4),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.PReLU(shared_axes=[1, 2]),
            layers.SeparableConv2D(8, 3, padding="same", activation="leaky_relu"),
            layers.AveragePooling2D(2),
            layers.MaxPooling2D(2),
            layers.Resizing(16, 16, interpolation="bicubic"),
            layers.SpectralNormalization(layers.Conv2D(8, 3, padding="same", activation="mish")),
            layers.RMSNormalization(),
            layers.Cropping2D(4),
            layers.Conv2D(16, 1, activation="softplus"),
        ]
    )
    attention = layers.MultiHeadAttention(2, 4)

    def draw(zphot, random_normal):
        import tensorflow as tf

        x = decoder(keras.ops.concatenate([zphot[:, None], random_normal], 1), training=False)
        rows = keras.ops.reshape(x, (-1, 64, 16))
        x = x + keras.ops.reshape(keras.ops.softmax(attention(rows, rows)), (-1, 8, 8, 16))
        return {"image": tf.nn.depth_to_space(x, 4)[..., 0]}

    import tensorflow as tf

    draw(tf.zeros(2), tf.zeros((2, RANDOM)))  # makes the weights
    card = toy_card(name="keras", pixel_scale=0.03, oriented=False, stamp_size=32)
    card["inputs"] = card["inputs"][:1]
    assert write_artifact(tmp_path / "keras.tar.gz", draw, card).name == "keras"
