"""Which operators of a TFLite file belong to which layer of the network that it was made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar

from distill.console import Failure
from export.graph.folded import Add, Convolution, FoldedGraph, L2Norm, Layer, Linear, MeanPool

__all__ = ["builtin_name", "layer_operators", "operator_names"]

_BORDER = ("QUANTIZE", "DEQUANTIZE")
_PAD, _GROUP = "PAD", "RESHAPE"
Operator = TypeVar("Operator")


def operator_names(graph: FoldedGraph) -> list[tuple[str, ...]]:
    """For each layer its operators in order: one, and before some convolutions another.

    A PAD where SAME cannot say what is padded, a RESHAPE before one that is computed on groups of columns.
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
    graph: FoldedGraph, operators: Iterable[Operator], name: Callable[[Operator], str]
) -> list[tuple[Operator, ...]]:
    """The operators of each layer, the one that gives its output last.

    Args:
        graph: the network.
        operators: of the file, in order; QUANTIZE and DEQUANTIZE are passed over.
        name: of an operator, e.g. ``CONV_2D``.

    Raises:
        Failure: they are not those of the layers one by one.
    """
    inner = [operator for operator in operators if name(operator) not in _BORDER]
    wanted = operator_names(graph)
    if [name(operator) for operator in inner] != [one for names in wanted for one in names]:
        raise Failure(
            f"{len(inner)} operators are not those of {len(wanted)} layers one by one",
            "this works on our own files only",
        )
    rest = iter(inner)
    return [tuple(next(rest) for _ in names) for names in wanted]


def builtin_name(model: Any, operator: Any) -> str:
    """Of an operator of an unpacked model (``ModelT``)."""
    code = model.operatorCodes[operator.opcodeIndex]
    return _builtins()[max(code.builtinCode, code.deprecatedBuiltinCode)]


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
