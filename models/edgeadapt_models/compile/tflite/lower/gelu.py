"""GELU, as exporters write it out, put together again.

    x / 2 * (1 + erf(x / sqrt(2)))                         LiteRT: GELU
    x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))    LiteRT: GELU, approximate

LiteRT has no erf of its own. What is inside erf or tanh is recognised by the numbers it had in the trace,
since exporters write it in many ways; the product around it by its nodes.
Hendrycks and Gimpel 2016, arXiv 1606.08415.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx

from edgeadapt_models.compile.tflite.file.program import Array
from edgeadapt_models.compile.tflite.lower.source import Source


@dataclass(frozen=True, slots=True)
class Gelu:
    """The value `result` is the GELU of the value `x`."""

    x: str
    result: str
    approximate: bool


def find_gelus(source: Source) -> Iterator[Gelu]:
    """Every GELU of the graph."""
    for node in source.graph.node:
        if node.op_type in ("Erf", "Tanh"):
            found = _around(source, node)
            if found is not None:
                yield found


def _around(source: Source, node: onnx.NodeProto) -> Gelu | None:
    """Follow erf or tanh through + 1 and the products with 0.5 and x."""
    plus = source.only_reader(node.output[0])
    if plus is None or plus.op_type != "Add" or _other_number(source, plus, node.output[0]) != 1.0:
        return None
    inner = source.trace.samples[node.input[0]].astype(np.float64)
    value, factor = plus.output[0], 1.0
    x = ""
    for _ in range(3):
        step = source.only_reader(value)
        if step is None or step.op_type not in ("Mul", "Div"):
            return None
        number = _other_number(source, step, value)
        if step.op_type == "Div":
            if number is None or step.input[0] != value:
                return None
            factor /= number
        elif number is not None:
            factor *= number
        elif x:
            return None
        else:
            x, scale = _halved(source, next(name for name in step.input if name != value))
            factor *= scale
        value = step.output[0]
        if x and math.isclose(factor, 0.5, rel_tol=1e-6):
            matches = _same(inner, source.trace.samples[x].astype(np.float64), node.op_type)
            return Gelu(x, value, node.op_type == "Tanh") if matches else None
    return None


def _halved(source: Source, name: str) -> tuple[str, float]:
    """(x, factor) of a value that is x times a number; (name, 1) of any other."""
    node = source.producers.get(name)
    if node is not None and node.op_type in ("Mul", "Div"):
        for other in node.input[: 1 if node.op_type == "Div" else 2]:
            number = _other_number(source, node, other)
            if number == 0.5 and node.op_type == "Mul":
                return other, number
            if number == 2.0 and node.op_type == "Div":
                return other, 0.5
    return name, 1.0


def _other_number(source: Source, node: onnx.NodeProto, name: str) -> float | None:
    """The single constant number that a binary node combines with `name`."""
    others = [other for other in node.input if other != name]
    value = source.trace.constant(others[0]) if len(others) == 1 else None
    return float(value.reshape(())) if value is not None and value.size == 1 else None


def _same(inner: Array, x: Array, operator: str) -> bool:
    expected = x / math.sqrt(2.0)
    if operator == "Tanh":
        expected = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)
    return inner.shape == x.shape and bool(np.allclose(inner, expected, rtol=1e-4, atol=1e-5))
