"""GroupNorm, as exporters write it out, as one operator.

    Reshape to [N, G, rest], InstanceNormalization with scale 1 and bias 0, Reshape back

Left as it is, it would be brought to ONNX's order of axes and back. The scale and bias per channel that
follow stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx

from edgeadapt_models.compile.tflite.lower.source import Source


@dataclass(frozen=True, slots=True)
class Grouped:
    """The value `result` is the value `x`, normalised in groups.

    `scale` and `bias` are the constants 1 and 0 of the InstanceNormalization, one per group.
    """

    x: str
    result: str
    groups: int
    epsilon: float
    scale: str
    bias: str


def find_groups(source: Source) -> Iterator[Grouped]:
    """Every GroupNorm of the graph."""
    for node in source.graph.node:
        if node.op_type == "InstanceNormalization":
            found = _around(source, node)
            if found is not None:
                yield found


def _around(source: Source, node: onnx.NodeProto) -> Grouped | None:
    before = source.producers.get(node.input[0])
    after = source.only_reader(node.output[0])
    if before is None or after is None or before.op_type != "Reshape" or after.op_type != "Reshape":
        return None
    x, result = before.input[0], after.output[0]
    shape, grouped = source.trace.shape(x), source.trace.shape(node.input[0])
    scale, bias = (source.trace.constant(name) for name in node.input[1:3])
    if len(shape) < 3 or source.trace.shape(result) != shape or shape[1] % grouped[1]:
        return None
    if scale is None or bias is None or (scale != 1).any() or (bias != 0).any():
        return None
    epsilon = next((entry.f for entry in node.attribute if entry.name == "epsilon"), 1e-5)
    return Grouped(x, result, grouped[1], float(epsilon), node.input[1], node.input[2])
