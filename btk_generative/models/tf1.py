"""TensorFlow-1 hub modules, the format of galsim_hub's models.

Such a module is a SavedModel of tag set [] with a checkpoint of its variables, whose signature
"default" takes named inputs and gives an image; `stamp_size` and `pixel_size` are attached to it.
It becomes a frozen graph to which all random numbers are given from outside, so that it draws as
an artifact does. See specifications.md of github.com/McWilliamsCenter/galsim_hub.
"""

import tempfile
from pathlib import Path

import numpy as np

from btk_generative.errors import ModelError
from btk_generative.models.card import SCHEMA
from btk_generative.models.graph import Graph, canonical, check_operations, import_tensorflow
from btk_generative.models.hub import Entry
from btk_generative.models.model import CHUNK, GenerativeModel

_RANDOM = "random_normal"


def is_module(files: dict[str, bytes]) -> bool:
    """Returns whether the files of an archive are those of a TensorFlow-1 hub module."""
    return "tfhub_module.pb" in files


def read_module(files: dict[str, bytes], digest: str, path, entry: Entry | None) -> GenerativeModel:
    """Returns the model in a TensorFlow-1 hub module.

    Its card is made up from what the module and the registry tell. The domain of an input that
    the registry does not tell is unlimited.

    Args:
        files: Contents by name.
        digest: SHA-256 of the archive.
        path: Where it comes from, for messages.
        entry: Entry of the registry, if it is one of those.

    Raises:
        ModelError: If it is not a module of that format, or may do more than compute.
    """
    tf = import_tensorflow()
    try:
        meta = _meta_graph(files["saved_model.pb"])
        attached = _attachments(meta)
        stamp_size = int(tf.train.Int64List.FromString(attached["stamp_size"]).value[0])
        pixel_scale = float(tf.train.FloatList.FromString(attached["pixel_size"]).value[0])
        signature = meta.signature_def["default"]
        output = signature.outputs["default"].name
        inputs = {name: info.name for name, info in sorted(signature.inputs.items())}
        graph_def = _freeze(meta, files, output)
    except Exception as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"{path} is not a TensorFlow-1 hub module of galsim_hub's format: "
            f"{type(error).__name__}: {error}"
        ) from error
    conditions = {name: tensor for name, tensor in inputs.items() if _RANDOM not in name}
    graph, random_size = _random_from_outside(graph_def, inputs, conditions, output, path)
    known = {given["name"]: given for given in (entry.inputs if entry else ())}
    card = {
        "schema": SCHEMA,
        "name": entry.name if entry else Path(path).name.removesuffix(".tar.gz"),
        "description": entry.description if entry else "TensorFlow-1 hub module",
        "inputs": [known.get(name, {"name": name}) for name in conditions],
        "random_size": random_size,
        "stamp_size": stamp_size,
        # kept as float32, in which 0.03 is 0.029999999
        "pixel_scale": round(pixel_scale, 7),
        "oriented": False,
        "licence": entry.licence if entry else "unknown",
        "citation": entry.citation if entry else "",
        "provenance": {"format": "TensorFlow-1 hub module", "url": entry.url if entry else None},
    }
    return GenerativeModel(card, lambda: graph, digest)


def _meta_graph(content: bytes):
    """Returns the graph of the tag set [] in a serialised SavedModel."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel.FromString(content)
    (meta,) = (meta for meta in saved.meta_graphs if not meta.meta_info_def.tags)
    return meta


def _attachments(meta) -> dict[str, bytes]:
    """Returns the messages attached to a module.

    An attachment is a message of a string, field 1, and of bytes, field 2; so is protobuf's Any.
    """
    from google.protobuf.any_pb2 import Any

    messages = meta.collection_def["hub_module_attachments"].bytes_list.value
    pairs = (Any.FromString(message) for message in messages)
    return {pair.type_url: pair.value for pair in pairs}


def _freeze(meta, files: dict[str, bytes], output: str):
    """Returns the graph that makes the output, its variables turned into constants."""
    tf = import_tensorflow()
    from tensorflow.python.framework import convert_to_constants

    with tempfile.TemporaryDirectory() as folder, tf.Graph().as_default():
        for name, content in files.items():
            if name.startswith("variables/"):
                path = Path(folder) / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
        with tf.compat.v1.Session() as session:
            tf.compat.v1.train.import_meta_graph(meta, clear_devices=True)
            variables = tf.compat.v1.global_variables()
            if variables:
                saver = tf.compat.v1.train.Saver(variables)
                saver.restore(session, str(Path(folder) / "variables" / "variables"))
            return convert_to_constants.convert_variables_to_constants_from_session_graph(
                session, session.graph.as_graph_def(), [output.split(":")[0]]
            )


def _random_from_outside(graph_def, inputs, conditions, output, path) -> tuple[Graph, int]:
    """Returns a graph whose random numbers are one input, and how many a galaxy needs.

    They take the place of inputs called ``random_normal`` and of operations that make random
    numbers, whose shapes are found by running the graph on one chunk of galaxies.
    """
    tf = import_tensorflow()
    transforms = {"RandomStandardNormal": lambda z: z, "RandomUniform": _uniform}
    sources = {tensor: "RandomStandardNormal" for n, tensor in inputs.items() if _RANDOM in n}
    sources |= {f"{node.name}:0": node.op for node in graph_def.node if node.op in transforms}
    shapes = _shapes(graph_def, sources, inputs, path)
    with tf.Graph().as_default() as graph:
        sizes = {name: int(np.prod(shape)) // CHUNK for name, shape in shapes.items()}
        total = sum(sizes.values())
        normal = tf.compat.v1.placeholder(tf.float32, [None, total], "btk_generative_normal")
        replaced, start = {}, 0
        for name, operation in sources.items():
            shape, batch = list(shapes[name]), shapes[name].index(CHUNK)
            part = normal[:, start : start + sizes[name]]
            part = tf.reshape(part, [CHUNK, *shape[:batch], *shape[batch + 1 :]])
            order = [*range(1, batch + 1), 0, *range(batch + 1, len(shape))]
            value = transforms[operation](tf.transpose(part, order))
            dtype = next(
                node.attr["dtype"].type for node in graph_def.node if f"{node.name}:0" == name
            )
            replaced[name] = tf.cast(value, dtype)
            start += sizes[name]
        tf.graph_util.import_graph_def(graph_def, replaced, name="")
        given = {**conditions, _RANDOM: normal.name}
        nodes = [name.split(":")[0] for name in given.values()]
        image = tf.cast(graph.get_tensor_by_name(output), tf.float32)
        pruned, (renamed,) = canonical(graph.as_graph_def(), nodes, [image])
    check_operations(pruned, path)
    content = pruned.SerializeToString(deterministic=True)
    return Graph(content, given, {"image": renamed}, str(path)), total


def _shapes(graph_def, names, inputs, path) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of tensors when a chunk of galaxies is drawn; one axis is the batch."""
    tf = import_tensorflow()
    check_operations(graph_def, path, random=True)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        tf.graph_util.import_graph_def(graph_def, name="")
        fed = {}
        for tensor in map(graph.get_tensor_by_name, inputs.values()):
            shape = [CHUNK, *tensor.shape.as_list()[1:]]
            if None in shape:
                raise ModelError(f"{path}: input {tensor.name} has no definite shape")
            fed[tensor] = np.ones(shape, tensor.dtype.as_numpy_dtype)
        found = {name: session.run(tf.shape(graph.get_tensor_by_name(name)), fed) for name in names}
    shapes = {name: tuple(map(int, shape)) for name, shape in found.items()}
    for name, shape in shapes.items():
        if CHUNK not in shape:
            raise ModelError(
                f"{path}: random numbers '{name}' of shape {list(shape)} are not per galaxy"
            )
    return shapes


def _uniform(normal):
    """Returns uniform numbers in [0, 1) from standard normal ones."""
    tf = import_tensorflow()
    return tf.minimum(0.5 * tf.math.erfc(-normal / np.sqrt(2)), np.float32(1 - 2**-24))
