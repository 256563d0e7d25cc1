"""TensorFlow-1 hub modules, the format of galsim_hub's models.

Such a module is a SavedModel of tag set [] with a checkpoint of its variables, whose signature
"default" takes named inputs and gives an image; `stamp_size` and `pixel_size` are attached to it.
It becomes a frozen graph to which all random numbers are given from outside, so that it draws as
an artifact does. See specifications.md of github.com/McWilliamsCenter/galsim_hub.

To load a module, nothing of it is run but what its output needs, and that only when it is known to
be harmless: the values of variables are read from the checkpoint and put into the graph as
constants, so initialisers and all else that the output does without are left out.
"""

import math
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from btk_generative.errors import ModelError
from btk_generative.models.card import SCHEMA
from btk_generative.models.graph import (
    CHUNK,
    Graph,
    canonical,
    import_graph,
    import_tensorflow,
)
from btk_generative.models.model import GenerativeModel
from btk_generative.models.operations import (
    MAX_CONSTANTS,
    NUMBERS,
    admit,
    called,
    node_name,
    refuse,
)
from btk_generative.models.registry import Entry

_RANDOM = "random_normal"
_STEPS = 50  # from a variable into a loop within loops
_VARIABLES = ("VariableV2", "Variable", "VarHandleOp")


def is_module(files: dict[str, bytes]) -> bool:
    """Returns whether the files of an archive are those of a TensorFlow-1 hub module."""
    return "tfhub_module.pb" in files


def read_module(
    files: dict[str, bytes], digest: str, path: str | os.PathLike, entry: Entry | None
) -> GenerativeModel:
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
        graph_def = _freeze(meta, files, list(inputs.values()), output, path)
        conditions = {name: tensor for name, tensor in inputs.items() if _RANDOM not in name}
        graph, random_size = _random_from_outside(graph_def, inputs, conditions, output, path)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{path} is not a TensorFlow-1 hub module of galsim_hub's format: "
            f"{type(error).__name__}: {error}"
        ) from error
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


def _meta_graph(content: bytes) -> Any:
    """Returns the graph of the tag set [] in a serialised SavedModel."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel.FromString(content)
    (meta,) = (meta for meta in saved.meta_graphs if not meta.meta_info_def.tags)
    return meta


def _attachments(meta: Any) -> dict[str, bytes]:
    """Returns the messages attached to a module.

    An attachment is a message of a string, field 1, and of bytes, field 2; so is protobuf's Any.
    """
    from google.protobuf.any_pb2 import Any

    messages = meta.collection_def["hub_module_attachments"].bytes_list.value
    pairs = (Any.FromString(message) for message in messages)
    return {pair.type_url: pair.value for pair in pairs}


def _freeze(
    meta: Any, files: dict[str, bytes], inputs: list[str], output: str, path: str | os.PathLike
) -> Any:
    """Returns the graph from inputs to the output, its variables turned into constants."""
    tf = import_tensorflow()
    graph_def = _needed(meta.graph_def, [output, *inputs], path)
    variables = {node.name: node for node in graph_def.node if node.op in _VARIABLES}
    values = _read_variables(files, variables, path)
    nodes = {node.name: node for node in graph_def.node}

    def variable(node):
        """Returns the variable whose handle a node gets, as it is or into a loop."""
        for _ in range(_STEPS):
            if node.op in _VARIABLES:
                return node.name
            if node.op not in ("Identity", "Enter") or not node.input:
                break
            node = nodes[node_name(node.input[0])]
        raise refuse(node, path, "which stands where a variable should be")

    handles = [
        node
        for node in graph_def.node
        if node.op == "ReadVariableOp"
        or (
            node.op in ("Identity", "Enter") and node.attr["T"].type == tf.resource.as_datatype_enum
        )
    ]
    kinds = {
        node.name: values[variable(nodes[node_name(node.input[0])])].dtype
        for node in handles
        if node.input
    }
    for node in graph_def.node:
        node.device = ""
        for key in [key for key in node.attr if key.startswith("_")]:
            del node.attr[key]  # such as the place of a node that is left out
        if node.name in kinds:
            if node.op == "ReadVariableOp":
                node.op = "Identity"
                del node.attr["dtype"]
            node.attr["T"].type = kinds[node.name]
        elif node.name in variables:
            node.op = "Const"
            node.ClearField("attr")
            node.attr["dtype"].type = values[node.name].dtype
            node.attr["value"].tensor.CopyFrom(values[node.name])
    admit(graph_def, path, random=True)
    return graph_def


def _needed(graph_def: Any, tensors: list[str], path: str | os.PathLike) -> Any:
    """Returns the nodes and functions of a graph that make some tensors, in their order."""
    nodes = {node.name: node for node in graph_def.node}
    needed, waiting = set(), list(map(node_name, tensors))
    while waiting:
        name = waiting.pop()
        if name not in needed:
            if name not in nodes:
                raise ModelError(f"{path}: the graph lacks the node {name[:80]!r}")
            needed.add(name)
            waiting += map(node_name, nodes[name].input)
    part = type(graph_def)(versions=graph_def.versions)
    part.node.extend(node for node in graph_def.node if node.name in needed)
    functions = {function.signature.name: function for function in graph_def.library.function}
    waiting = [name for node in part.node for name in called(node)]
    while waiting:
        function = functions.pop(waiting.pop(), None)
        if function is not None:
            part.library.function.append(function)
            waiting += [name for node in function.node_def for name in called(node)]
    return part


def _read_variables(files: dict[str, bytes], variables: dict, path: str | os.PathLike) -> dict:
    """Returns the values of variables in a module's checkpoint, as TensorProtos by name."""
    tf = import_tensorflow()
    if not variables:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            if name.startswith("variables/"):
                (Path(folder) / name.removeprefix("variables/")).write_bytes(content)
        reader = tf.train.load_checkpoint(str(Path(folder) / "variables"))
        shapes, kinds = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        size = 0
        for name, node in variables.items():
            if name not in shapes:
                raise refuse(node, path, "which the checkpoint lacks")
            kind = node.attr["dtype"].type
            if kind not in NUMBERS or kind != kinds[name].as_datatype_enum:
                raise refuse(node, path, f"which is {kinds[name].name} in the checkpoint")
            size += math.prod(shapes[name]) * NUMBERS[kind]
        if size > MAX_CONSTANTS:
            raise ModelError(
                f"{path}: its variables take more than {MAX_CONSTANTS // 2**20} MiB; not loaded"
            )
        return {name: tf.make_tensor_proto(reader.get_tensor(name)) for name in variables}


def _random_from_outside(
    graph_def: Any,
    inputs: dict[str, str],
    conditions: dict[str, str],
    output: str,
    path: str | os.PathLike,
) -> tuple[Graph, int]:
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
    admit(pruned, path)
    content = pruned.SerializeToString(deterministic=True)
    return Graph(content, given, {"image": renamed}, str(path)), total


def _shapes(
    graph_def: Any, names: Iterable[str], inputs: dict[str, str], path: str | os.PathLike
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of tensors when a chunk of galaxies is drawn; one axis is the batch."""
    tf = import_tensorflow()
    graph = import_graph(tf, graph_def, path)
    with tf.compat.v1.Session(graph=graph) as session:
        fed = {}
        for tensor in map(graph.get_tensor_by_name, inputs.values()):
            shape = [CHUNK, *tensor.shape.as_list()[1:]]
            if None in shape:
                raise ModelError(f"{path}: input {tensor.name} has no definite shape")
            fed[tensor] = np.ones(shape, tensor.dtype.as_numpy_dtype)
        found = {name: session.run(tf.shape(graph.get_tensor_by_name(name)), fed) for name in names}
    shapes = {name: tuple(map(int, shape)) for name, shape in found.items()}
    for name, found_shape in shapes.items():
        if CHUNK not in found_shape:
            raise ModelError(
                f"{path}: random numbers '{name}' of shape {list(found_shape)} are not per galaxy"
            )
    return shapes


def _uniform(normal):
    """Returns uniform numbers in [0, 1) from standard normal ones."""
    tf = import_tensorflow()
    return tf.minimum(0.5 * tf.math.erfc(-normal / np.sqrt(2)), np.float32(1 - 2**-24))
