"""From plans to writes: where in the serialised model each planned initializer lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx

from edgeadapt.bundle import Copy, Region
from edgeadapt.bundle.writes import Affine, FoldNorm, Write
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.place import AffinePlan, CopyPlan, Plan
from edgeadapt_models.compile.graph.wire_walk import initializer_spans


def locate(
    model: onnx.ModelProto, data: bytes, plans: Iterable[Plan], base: Mapping[str, FloatArray]
) -> tuple[Write, ...]:
    """The writes of an artifact.

    Args:
        model: the graph.
        data: the same, serialised.
        plans: what is written where.
        base: base value of every slot that is copied.

    Raises:
        CompileError: an initializer is not in the file, or a slot's bytes are not its base value.
    """
    spans = initializer_spans(data)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}

    def region(name: str, shape: Sequence[int] | None = None) -> Region:
        span = spans.get(name)
        found = Region(span.offset if span else 0, tuple(shapes[name] if shape is None else shape))
        if span is None or span.length != found.size_bytes:
            raise CompileError(f"{name!r} is not stored in the model as it should be")
        return found

    writes: list[Write] = []
    for plan in plans:
        if isinstance(plan, CopyPlan):
            value = base[plan.slot]
            at = region(plan.slot, value.shape)
            if data[at.offset : at.end] != value.astype("<f4").tobytes():
                raise CompileError(f"slot {plan.slot!r} is not stored in the model as it should be")
            writes.append(Copy(plan.slot, at))
        elif isinstance(plan, AffinePlan):
            writes.append(Affine(plan.layer, region(plan.scale), region(plan.shift)))
        else:
            writes.append(FoldNorm(plan.layer, region(plan.weight), plan.axis, region(plan.bias)))
    return tuple(writes)
