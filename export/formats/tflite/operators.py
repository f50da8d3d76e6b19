"""Match the operators of a TFLite file to the layers of the network that it was built from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar

from distill.console import Failure
from export.bundle.quiet import quiet_stderr
from export.graph.folded import Add, Convolution, FoldedGraph, L2Norm, Layer, Linear, MeanPool

__all__ = ["builtin_name", "inspecting_interpreter", "layer_operators", "operator_names"]

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
_PAD, _GROUP = "PAD", "RESHAPE"
FileOperator = TypeVar("FileOperator")


def operator_names(graph: FoldedGraph) -> list[tuple[str, ...]]:
    """Return the names of each layer's operators, in order.

    Each layer has one. A PAD precedes a convolution whose padding is not SAME, and a RESHAPE one that is computed on
    groups of columns.
    """
    names: list[tuple[str, ...]] = []

    def step(layer: Layer, sides: tuple[int, ...]) -> int:
        before: tuple[str, ...] = ()
        if isinstance(layer, Convolution) and not layer.is_same(sides * 2):
            before = (_PAD,) if layer.grouped_kernel(sides[0]) is None else (_GROUP,)
        names.append((*before, _name(layer)))
        return layer.cells(sides[0]) if isinstance(layer, Convolution) else sides[0]

    graph.flow(graph.side, step)
    return names


def layer_operators(
    graph: FoldedGraph, operators: Iterable[FileOperator], name: Callable[[FileOperator], str]
) -> list[tuple[FileOperator, ...]]:
    """Return the operators of each layer; the last one produces its output.

    Args:
        graph: the network.
        operators: operators of the file, in order; QUANTIZE and DEQUANTIZE are skipped.
        name: returns the name of an operator, e.g. ``CONV_2D``.

    Raises:
        Failure: the operators do not match the layers one by one.
    """
    inner = [operator for operator in operators if name(operator) not in _CONVERSIONS]
    wanted = operator_names(graph)
    if [name(operator) for operator in inner] != [one for names in wanted for one in names]:
        raise Failure(
            f"{len(inner)} operators do not match {len(wanted)} layers one by one",
            "this works only on files that distill-export built from a folded network",
        )
    rest = iter(inner)
    return [tuple(next(rest) for _ in names) for names in wanted]


def builtin_name(model: Any, operator: Any) -> str:
    """Return the name of an operator of an unpacked model (``ModelT``)."""
    code = model.operatorCodes[operator.opcodeIndex]
    return _builtins()[max(code.builtinCode, code.deprecatedBuiltinCode)]


def inspecting_interpreter(content: bytes) -> Any:
    """Return an interpreter that runs the file operator by operator and keeps every tensor."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with quiet_stderr():
        interpreter = Interpreter(
            model_content=content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
    return interpreter


@cache
def _builtins() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


def _name(layer: Layer) -> str:
    match layer:
        case Convolution():
            return "DEPTHWISE_CONV_2D" if layer.depthwise else "CONV_2D"
        case Add():
            return "ADD"
        case MeanPool():
            return "MEAN"
        case Linear():
            return "FULLY_CONNECTED"
        case L2Norm():
            return "L2_NORMALIZATION"
    raise TypeError(type(layer))
