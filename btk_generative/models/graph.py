"""Networks as frozen TensorFlow graphs.

A frozen graph holds its weights as constants, so it needs no other file and no initialisation, and
what it may do can be read off the list of its operations.
"""

import math
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from btk_generative.errors import ModelError
from btk_generative.models.operations import node_name

CHUNK = 40
"""Galaxies decoded at a time: always as many, so that a galaxy never depends on its batch."""

MAX_TENSOR = 4 * 2**30
"""Largest tensor that may come up when a chunk of galaxies is drawn, in bytes."""

_NOTES = (
    *(b"oneDNN custom operations", b"absl::InitializeLog", b"cpu_feature_guard", b"AVX"),
    *(b"cudart_stub", b"failed call to cuInit"),  # on a machine without a GPU
)
"""Lines that TensorFlow writes when it starts, whatever its log level."""

_starting = threading.RLock()


def import_tensorflow(threads: int = 1) -> ModuleType:
    """Returns the module tensorflow, imported without its start-up notes.

    Warnings and errors are passed on, and a user who has set TF_CPP_MIN_LOG_LEVEL gets all of it.

    Args:
        threads: How many threads share an operation, 0 for as many as there are cores, in a process
            that has not imported TensorFlow, if TF_NUM_INTRAOP_THREADS does not say. The operations
            of a model that draws are small: sharing them costs more than it gains.

    Raises:
        ModelError: In a process that was forked when TensorFlow was there already: it would hang.
    """
    if was_forked():
        raise ModelError(
            "a model cannot run in a process forked from one that has used TensorFlow: run the"
            " model in the parent process, or start its processes by 'spawn'"
        )
    with _starting:  # a module is in sys.modules before another thread has done with importing it
        if "tensorflow" not in sys.modules:
            _import_quietly(threads)
        import tensorflow
    return tensorflow


def _import_quietly(threads: int) -> None:
    hidden = "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with _without_notes() if hidden else nullcontext():
            import tensorflow

            if "TF_NUM_INTRAOP_THREADS" not in os.environ:
                tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
            tensorflow.constant(0.0)
    finally:
        if hidden:
            del os.environ["TF_CPP_MIN_LOG_LEVEL"]


def was_forked() -> bool:
    """Returns whether this process was forked from one that had TensorFlow."""
    return _forked


def _note_fork():
    global _forked
    _forked = "tensorflow" in sys.modules


_forked = False
os.register_at_fork(after_in_child=_note_fork)


@contextmanager
def _without_notes():
    """Holds back the file descriptor of stderr, and then passes on all but TensorFlow's notes."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if not any(note in line for note in _NOTES):
                    os.write(2, line)


@dataclass
class Graph:
    """A frozen graph with named inputs and outputs. It can be pickled."""

    definition: bytes
    """Serialised GraphDef."""

    inputs: dict[str, str]
    """Name of the tensor of each input."""

    outputs: dict[str, str]
    """Name of the tensor of each output, "image" and perhaps "pixel_scale"."""

    path: str = "the model"
    """Where it comes from, for messages."""

    _run: Any = field(default=None, repr=False, compare=False)

    def __getstate__(self):
        return {**self.__dict__, "_run": None}

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the graph.

        Args:
            inputs: An array per input; each is cast and reshaped to what the graph takes.

        Returns:
            An array per output.

        Raises:
            ModelError: If TensorFlow cannot run the graph.
        """
        tf = import_tensorflow()
        with _starting:
            if self._run is None:
                self._run = self._compile(tf)
        try:
            return self._run(inputs)
        except tf.errors.OpError as error:
            raise ModelError(f"{self.path}: the graph fails: {error.message}") from error
        except (ValueError, TypeError) as error:  # of NumPy: an input of another shape
            raise ModelError(f"{self.path}: the graph does not take its inputs: {error}") from error

    def _compile(self, tf: Any) -> Callable:
        graph = import_graph(tf, tf.compat.v1.GraphDef.FromString(self.definition), self.path)
        try:
            taken = {key: graph.get_tensor_by_name(name) for key, name in self.inputs.items()}
            made = {key: graph.get_tensor_by_name(name) for key, name in self.outputs.items()}
            # A session, which any number of threads may run, takes less time than a tf.function.
            # Each runs it itself (-1): TensorFlow's own threads would be in the way of one another.
            config = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=-1)
            session = tf.compat.v1.Session(graph=graph, config=config)
            run = session.make_callable(made, list(taken.values()))
            kinds = {
                key: (tensor.shape.as_list()[1:], tensor.dtype.as_numpy_dtype)
                for key, tensor in taken.items()
            }
        except (ValueError, KeyError, TypeError, tf.errors.OpError) as error:
            raise ModelError(
                f"{self.path}: TensorFlow {tf.__version__} cannot read the graph: {error}"
            ) from error
        return lambda inputs: run(
            *(
                inputs[key].reshape(len(inputs[key]), *shape).astype(kind)
                for key, (shape, kind) in kinds.items()
            )
        )


def import_graph(tf: Any, graph_def: Any, path: str | os.PathLike) -> Any:
    """Returns a `tf.Graph` of a graph whose operations are known to be harmless.

    Raises:
        ModelError: If TensorFlow cannot read it, or it makes a tensor larger than `MAX_TENSOR`, as
            far as shapes tell before it runs.
    """
    try:
        with tf.Graph().as_default() as graph:
            tf.graph_util.import_graph_def(graph_def, name="")
    except (ValueError, KeyError, TypeError, RecursionError, tf.errors.OpError) as error:
        raise ModelError(
            f"{path}: TensorFlow {tf.__version__} cannot read the graph: {error}"
        ) from error
    for operation in graph.get_operations():
        for tensor in operation.outputs:
            lengths = tensor.shape.as_list() if tensor.shape.rank is not None else []
            count = math.prod(CHUNK if length is None else length for length in lengths)
            if count * tensor.dtype.size > MAX_TENSOR:
                raise ModelError(
                    f"{path}: the operation {operation.type!r} (node {operation.name[:80]!r}) makes"
                    f" a tensor of shape {tensor.shape}, more than {MAX_TENSOR // 2**30} GiB for"
                    f" {CHUNK} galaxies; not loaded"
                )
    return graph


def freeze(function: Callable, inputs: list[str], random_size: int) -> Graph:
    """Returns the graph of a function, its variables turned into constants.

    Args:
        function: Takes a float32 tensor ``[None]`` per name in inputs and ``random_normal``
            ``[None, random_size]``, as keywords, and returns a dictionary of tensors.
        inputs: Names of the conditions.
        random_size: Length of a galaxy's random vector.
    """
    tf = import_tensorflow()
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    specs = {name: tf.TensorSpec([None], tf.float32, name) for name in inputs}
    specs["random_normal"] = tf.TensorSpec([None, random_size], tf.float32, "random_normal")
    whole = tf.function(lambda **tensors: function(**tensors), autograph=False)
    traced = whole.get_concrete_function(**specs)
    if not isinstance(traced.structured_outputs, dict):
        raise ModelError("the function to write must return a dictionary with the key 'image'")
    keys = sorted(traced.structured_outputs)
    frozen = convert_variables_to_constants_v2(traced)
    graph_def, renamed = canonical(frozen.graph.as_graph_def(), sorted(specs), frozen.outputs)
    return Graph(
        graph_def.SerializeToString(deterministic=True),
        {name: f"{name}:0" for name in sorted(specs)},
        dict(zip(keys, renamed, strict=True)),
    )


def canonical(graph_def: Any, inputs: list[str], outputs: list) -> tuple[Any, list[str]]:
    """Returns the part of a graph that makes its outputs, and the outputs' names in it.

    Order and names of the nodes do not tell how the graph was traced.
    """
    nodes = {node.name: node for node in graph_def.node}
    order, waiting = list(inputs), [tensor.op.name for tensor in reversed(outputs)]
    seen = set(order)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            order.append(name)
            waiting += [node_name(source) for source in reversed(nodes[name].input)]
    names = dict(zip(inputs, inputs, strict=True))
    names |= {name: f"n{index}" for index, name in enumerate(order) if name not in names}
    frames: dict[bytes, bytes] = {}
    part = type(graph_def)(versions=graph_def.versions, library=graph_def.library)
    for name in order:
        node = part.node.add()
        node.CopyFrom(nodes[name])
        node.name = names[name]
        node.ClearField("experimental_debug_info")
        for index, source in enumerate(node.input):
            old = node_name(source)
            node.input[index] = source.replace(old, names[old], 1)
        for key in [key for key in node.attr if key.startswith("_")]:
            del node.attr[key]
        if "frame_name" in node.attr:
            frame = node.attr["frame_name"].s
            node.attr["frame_name"].s = frames.setdefault(frame, f"f{len(frames)}".encode())
    return part, [f"{names[tensor.op.name]}:{tensor.value_index}" for tensor in outputs]
