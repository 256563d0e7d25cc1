"""Reading and writing model artifacts, schema 1 (see docs/model-artifact.md)."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from btk_generative.errors import ModelError
from btk_generative.models import archive
from btk_generative.models.card import SCHEMA, Card, parse, read
from btk_generative.models.graph import Graph, freeze, import_tensorflow
from btk_generative.models.model import GenerativeModel
from btk_generative.models.operations import admit
from btk_generative.runs.files import write_bytes

_NETWORK = "saved_model/saved_model.pb"
_SIGNATURE = "serving_default"


def read_artifact(files: dict[str, bytes], digest: str, path: str | os.PathLike) -> GenerativeModel:
    """Returns the model in the files of an artifact.

    Raises:
        ModelError: If a file is missing or is not the one that `model.json` names, the card is
            not valid, or the network does not have the inputs and outputs that the card tells.
    """
    for name in ("model.json", _NETWORK):
        if name not in files:
            raise ModelError(f"{path} is not a complete model: it holds no {name}")
    card = read(files["model.json"], path)
    parsed = parse(card, path)
    if parsed.files != {_NETWORK: archive.sha256(files[_NETWORK])}:
        raise ModelError(
            f"{path} has been altered: {_NETWORK} is not the file whose SHA-256 is in model.json; "
            "fetch the model again"
        )
    return GenerativeModel(card, partial(_network, files[_NETWORK], parsed, path), digest)


def _network(content: bytes, card: Card, path: str | os.PathLike) -> Graph:
    """Returns the graph of a SavedModel that only computes, and as the card says."""
    import_tensorflow()
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    try:
        (meta,) = SavedModel.FromString(content).meta_graphs
        signature = meta.signature_def[_SIGNATURE]
    except Exception as error:
        raise ModelError(f"{path}: {_NETWORK} is not a SavedModel of one graph") from error
    inputs = {name: info.name for name, info in sorted(signature.inputs.items())}
    outputs = {name: info.name for name, info in sorted(signature.outputs.items())}
    expected = {given.name for given in card.inputs} | {"random_normal"}
    promised = {"image"} | ({"pixel_scale"} if card.pixel_scale == "output" else set())
    for what, found, told in (("inputs", inputs, expected), ("outputs", outputs, promised)):
        if set(found) != told:
            raise ModelError(
                f"{path}: signature '{_SIGNATURE}' has the {what} {sorted(found)}, but by "
                f"model.json they are {sorted(told)}"
            )
    admit(meta.graph_def, path)
    return Graph(meta.graph_def.SerializeToString(deterministic=True), inputs, outputs, str(path))


def write_artifact(path: str | os.PathLike, function: Callable, card: dict) -> GenerativeModel:
    """Writes a model, having checked that it works. The same model gives the same bytes.

    Args:
        path: The file to write, ``NAME.tar.gz``.
        function: The network: takes a float32 tensor ``[None]`` per input of the card and
            ``random_normal [None, random_size]``, all by keyword, and returns a dictionary of
            ``image [None, S, S]`` and, where the card's pixel scale is "output",
            ``pixel_scale [None]`` in arcsec. May also be an object with such a method ``draw``.
            Its variables are written as constants.
        card: What `model.json` is to hold; ``schema`` and ``files`` are filled in.

    Returns:
        The model as it loads from that file.

    Raises:
        ModelError: If the card or what the network gives is not as the format asks.
        OutputError: If the file cannot be written.
    """
    path = Path(path)
    card = {"schema": SCHEMA, **card, "files": {}}
    parsed = parse(card, path)
    graph = freeze(
        getattr(function, "draw", function),
        [given.name for given in parsed.inputs],
        parsed.random_size,
    )
    network = _saved_model(graph)
    card["files"] = {_NETWORK: archive.sha256(network)}
    text = json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False).encode()
    files = {"model.json": text, _NETWORK: network}
    content = archive.pack(files)
    model = read_artifact(files, archive.sha256(content), path)
    model.check()
    write_bytes(path, content)
    return model


def _saved_model(graph: Graph) -> bytes:
    """Returns a SavedModel with one signature, serialised."""
    tf = import_tensorflow()
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel(saved_model_schema_version=1)
    meta = saved.meta_graphs.add()
    meta.meta_info_def.tags.append("serve")
    meta.meta_info_def.tensorflow_version = tf.__version__
    meta.graph_def.ParseFromString(graph.definition)
    signature = meta.signature_def[_SIGNATURE]
    signature.method_name = "tensorflow/serving/predict"
    with tf.Graph().as_default() as scratch:
        tf.graph_util.import_graph_def(meta.graph_def, name="")
    for names, infos in ((graph.inputs, signature.inputs), (graph.outputs, signature.outputs)):
        for key, name in names.items():
            tensor = scratch.get_tensor_by_name(name)
            infos[key].name = name
            infos[key].dtype = tensor.dtype.as_datatype_enum
            infos[key].tensor_shape.CopyFrom(tensor.shape.as_proto())
    return saved.SerializeToString(deterministic=True)
