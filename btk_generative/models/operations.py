"""What the graph of a model may do: nothing but compute, with operations that a decoder needs.

The graph is a stranger's. It is judged as a message, before TensorFlow sees it, by a list of what
is allowed: TensorFlow has more than a thousand operations, and which of them read a file, write
one, call Python or run another graph that hides in a string, nobody can list.
"""

import math
import os
from collections.abc import Container
from typing import Any

from btk_generative.errors import ModelError

MAX_NODES = 50_000
"""Most operations in a graph, those of its functions counted at each call."""

MAX_DEPTH = 50
"""Most functions that call one another."""

MAX_CONSTANTS = 512 * 2**20
"""Largest size of all constants, in bytes."""

MAX_LENGTH = 2**24
"""Largest number that may stand, as a constant, where an operation wants a size."""

MAX_TEXT = 1024
"""Most characters of a text: the name of a padding, or what a failed assertion says."""

OPERATIONS = frozenset(
    # values, and their way through the graph
    "Assert CheckNumerics Const EnsureShape Identity IdentityN NoOp Placeholder"
    " PlaceholderWithDefault PreventGradient StopGradient"
    # loops, choices and calls, whose functions are checked too
    " Enter Exit If LoopCond Merge NextIteration PartitionedCall StatefulPartitionedCall"
    " StatelessIf StatelessWhile Switch While"
    # shapes and places
    " BatchToSpaceND BroadcastArgs BroadcastTo Concat ConcatV2 DepthToSpace ExpandDims Fill"
    " Gather GatherNd GatherV2 InvertPermutation LinSpace MatrixBandPart MatrixDiag"
    " MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixSetDiag"
    " MatrixSetDiagV2 MatrixSetDiagV3 MirrorPad OneHot OnesLike Pack Pad PadV2 Range Rank"
    " Reshape ReverseV2 Roll ScatterNd Select SelectV2 Shape ShapeN Size Slice SpaceToBatchND"
    " SpaceToDepth Split SplitV Squeeze StridedSlice TensorScatterUpdate Tile Transpose Unpack"
    " Where ZerosLike"
    # arithmetic
    " Abs Acos Acosh Add AddN AddV2 Asin Asinh Atan Atan2 Atanh BiasAdd Cast Ceil ClipByValue"
    " Cos Cosh Digamma Div DivNoNan Elu Equal Erf Erfc Erfinv Exp Expm1 Floor FloorDiv FloorMod"
    " Greater GreaterEqual IsFinite IsInf IsNan LeakyRelu Less LessEqual Lgamma Log Log1p"
    " LogSoftmax LogicalAnd LogicalNot LogicalOr Maximum Minimum Mod Mul MulNoNan Neg NotEqual"
    " Pow RealDiv Reciprocal Relu Relu6 Rint Round Rsqrt Selu Sigmoid Sign Sin Sinh Softmax"
    " Softplus Softsign Sqrt Square SquaredDifference Sub Tan Tanh TruncateDiv Xdivy Xlog1py"
    " Xlogy"
    # sums
    " All Any ArgMax ArgMin Cumprod Cumsum EuclideanNorm Max Mean Min Prod SegmentSum Sum"
    " UnsortedSegmentSum"
    # linear algebra, convolutions and images
    " AvgPool BatchMatMul BatchMatMulV2 BatchMatMulV3 Cholesky Conv2D Conv2DBackpropInput"
    " DepthwiseConv2dNative DepthwiseConv2dNativeBackpropInput Einsum FusedBatchNorm"
    " FusedBatchNormV2 FusedBatchNormV3 MatMul MatrixInverse MatrixSolve MatrixTriangularSolve"
    " MaxPool ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor"
    " ScaleAndTranslate".split()
)
"""What the networks of decoders and flows consist of, when they draw."""

RANDOM = frozenset({"RandomStandardNormal", "RandomUniform"})
"""What a TensorFlow-1 hub module may have beside, until inputs take its place."""

_SIZES = {
    "BroadcastTo": (1,),
    "Conv2DBackpropInput": (0,),
    "DepthwiseConv2dNativeBackpropInput": (0,),
    "Fill": (0,),
    "LinSpace": (2,),
    "MatrixDiagV2": (2, 3),
    "MatrixDiagV3": (2, 3),
    "MirrorPad": (1,),
    "OneHot": (1,),
    "Pad": (1,),
    "PadV2": (1,),
    "Range": (0, 1),
    "RandomStandardNormal": (0,),
    "RandomUniform": (0,),
    "ResizeArea": (1,),
    "ResizeBicubic": (1,),
    "ResizeBilinear": (1,),
    "ResizeNearestNeighbor": (1,),
    "ScaleAndTranslate": (1,),
    "ScatterNd": (2,),
    "SegmentSum": (1,),
    "SpaceToBatchND": (2,),
    "Tile": (1,),
    "UnsortedSegmentSum": (2,),
}
"""Inputs that say how large the output is."""

# numbers of tensorflow.DataType: bool, and integers and floats of all lengths
NUMBERS = {1: 4, 2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 9: 8, 10: 1, 14: 2, 17: 2, 19: 2, 22: 4, 23: 8}
"""Bytes of a number of each type that a tensor may have."""

_STRING = 7
_CONFIGURES = ("config", "config_proto", "executor_type")


def admit(graph_def: Any, path: str | os.PathLike, random: bool = False) -> None:
    """Raises a `ModelError` unless a graph and its functions do nothing but compute.

    What would configure TensorFlow in a call of a function is removed.

    Args:
        graph_def: The graph, a GraphDef.
        path: Where it comes from, for messages.
        random: Whether it may make random numbers.
    """
    functions = {}
    for function in graph_def.library.function:
        if function.signature.name in functions:
            raise ModelError(f"{path}: the graph has two functions of one name; not loaded")
        functions[function.signature.name] = function
    allowed = OPERATIONS | RANDOM if random else OPERATIONS
    size = 0
    for body in (graph_def.node, *(function.node_def for function in functions.values())):
        for node in body:
            _check_operation(node, allowed, functions, path)
        size += _check_constants(body, path)
    if size > MAX_CONSTANTS:
        raise ModelError(
            f"{path}: the constants of the graph take more than {MAX_CONSTANTS // 2**20} MiB; "
            "not loaded"
        )
    for function in functions.values():
        texts = {node.name for node in function.node_def if _is_text(node)}
        if any(node_name(source) in texts for source in function.ret.values()):
            raise ModelError(f"{path}: a function of the graph returns a text; not loaded")
    _check_calls(graph_def, functions, path)


def node_name(source: str) -> str:
    """Returns the name of the node in a reference to one of its outputs."""
    return source.removeprefix("^").split(":")[0]


def refuse(node: Any, path: str | os.PathLike, why: str) -> ModelError:
    """Returns the error that names an operation and its node, which are a stranger's words."""
    return ModelError(
        f"{path}: the graph has the operation {node.op[:80]!r} (node {node.name[:80]!r}), {why}; "
        "not loaded"
    )


def called(node: Any) -> list[str]:
    """Returns the functions that a node calls."""
    names = [value.func.name for value in node.attr.values() if value.HasField("func")]
    return names + [func.name for value in node.attr.values() for func in value.list.func]


def _check_operation(
    node: Any, allowed: Container[str], functions: Any, path: str | os.PathLike
) -> None:
    if node.op not in allowed:
        raise refuse(
            node, path, "which is none of those that a model may have: a model may only compute"
        )
    for name in _CONFIGURES:
        if name in node.attr:
            node.attr[name].s = b""
    for key, value in node.attr.items():
        inner = value.list
        if any(len(text) > MAX_TEXT for text in (value.s, *inner.s)):
            raise refuse(node, path, f"whose attribute {key[:80]!r} is a long text")
        if (value.HasField("tensor") and node.op != "Const") or inner.tensor:
            raise refuse(node, path, f"whose attribute {key[:80]!r} is a tensor")
        kinds = [value.type] if value.HasField("type") else []
        for kind in (*kinds, *inner.type):
            text = kind == _STRING and node.op in ("Assert", "Const")
            if kind not in NUMBERS and not text:
                raise refuse(
                    node, path, f"whose attribute {key[:80]!r} is no type of number ({kind})"
                )
        funcs = [value.func] if value.HasField("func") else []
        for func in (*funcs, *inner.func):
            if func.name not in functions or func.attr:
                raise refuse(node, path, f"which calls the unknown function {func.name[:80]!r}")


def _check_constants(body: Any, path: str | os.PathLike) -> int:
    """Checks the constants of a graph or function, and returns their size in bytes."""
    constants = {node.name: node for node in body if node.op == "Const"}
    size = sum(_size(node, path) for node in constants.values())
    for node in body:
        for place, source in enumerate(node.input):
            constant = constants.get(node_name(source))
            if constant is None or source.startswith("^"):
                continue
            if _is_text(constant) and node.op != "Assert":
                raise refuse(
                    node, path, f"which takes the text of the constant {constant.name[:80]!r}"
                )
            if place in _SIZES.get(node.op, ()) and _largest(constant, path) > MAX_LENGTH:
                raise refuse(node, path, f"which makes a tensor longer than {MAX_LENGTH}")
    return size


def _is_text(node: Any) -> bool:
    return node.op == "Const" and _STRING in (
        node.attr["dtype"].type,
        node.attr["value"].tensor.dtype,
    )


def _size(node: Any, path: str | os.PathLike) -> int:
    """Returns the bytes that a constant takes in memory, often more than in the file."""
    tensor = node.attr["value"].tensor
    lengths = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_shape.unknown_rank or any(length < 0 for length in lengths):
        raise refuse(node, path, "whose shape is not definite")
    if _is_text(node):
        texts = tensor.string_val
        if lengths or len(texts) > 1 or tensor.tensor_content or len(b"".join(texts)) > MAX_TEXT:
            raise refuse(node, path, "which is more than a short text")
        return MAX_TEXT
    if tensor.dtype not in NUMBERS:
        raise refuse(node, path, f"whose type is none of numbers ({tensor.dtype})")
    return math.prod(lengths) * NUMBERS[tensor.dtype]


def _largest(node: Any, path: str | os.PathLike) -> float:
    """Returns the largest absolute value of a constant."""
    from tensorflow.python.framework.tensor_util import MakeNdarray

    if _size(node, path) > MAX_CONSTANTS:
        return math.inf
    try:
        values = MakeNdarray(node.attr["value"].tensor)
    except (ValueError, TypeError) as error:
        raise refuse(node, path, "whose value is damaged") from error
    return max(float(values.max(initial=0)), -float(values.min(initial=0)))


def _check_calls(graph_def: Any, functions: Any, path: str | os.PathLike) -> None:
    """Raises a `ModelError` if functions call themselves, or grow without bound when called."""
    sizes = {}

    def size(name, depth):
        if depth > MAX_DEPTH:
            raise ModelError(
                f"{path}: functions of the graph call one another more than {MAX_DEPTH} deep; "
                "not loaded"
            )
        if name not in sizes:
            sizes[name] = total(functions[name].node_def, depth + 1)
        return sizes[name]

    def total(body, depth):
        return len(body) + sum(size(name, depth) for node in body for name in called(node))

    if max([total(graph_def.node, 0), *(size(name, 0) for name in functions)]) > MAX_NODES:
        raise ModelError(f"{path}: the graph has more than {MAX_NODES} operations; not loaded")
