"""A parallel 1x1 convolution beside a convolution, folded into the centre of its kernel.

    conv(x; W) + conv_1x1(x; A) = conv(x; W'),   W' = W with A added at the centre tap

This holds where the centre tap looks at the pixel that the branch looks at: an odd kernel, padded by half
of its reach on every side. Groups stay: A is [O, I / groups]. A norm layer behind the convolution scales
both. With A = 0 the model is the base model (the parallel adapter of Rebuffi et al., CVPR 2018, arXiv
1803.10082).
"""

from __future__ import annotations

import numpy as np
import onnx

from edgeadapt.bundle import Region
from edgeadapt.bundle.writes import ConvAdapter
from edgeadapt_models.compile.analyse.view import GraphView, attribute
from edgeadapt_models.compile.extras.plan import Planned
from edgeadapt_models.compile.extras.request import AdapterRequest
from edgeadapt_models.compile.extras.select import Candidate, choose, layer_name
from edgeadapt_models.compile.extras.workpiece import Workpiece

_MIN_LIMIT = 1.0
_LIMIT_RATIO = 4.0


def add_conv_adapters(
    work: Workpiece, request: AdapterRequest, out_of_bounds: frozenset[str]
) -> frozenset[str]:
    """Add a slot to every convolution that is asked for.

    Args:
        work: the graph.
        request: which ones.
        out_of_bounds: nodes (first outputs) that get none: those before the first norm layer, the head, and
            those that have one.

    Returns:
        The nodes that have one now.

    Raises:
        CompileError: there is none.
    """
    candidates, passed_over = _candidates(work.view, out_of_bounds)
    chosen = choose(candidates, request.where, "convolution")
    names = {candidate.name for candidate in chosen}
    for name, reason in passed_over:
        if name not in names:
            work.notes.append(f"conv adapter: {name} gets none: {reason}")
    for candidate in chosen:
        node = work.node(candidate.output)
        weight = work.own(node, 1)
        kernel = work.view.constant(weight)
        assert kernel is not None
        base = np.zeros(kernel.shape[:2], np.float32)
        limit = max(_MIN_LIMIT, _LIMIT_RATIO * float(np.abs(kernel).max()))
        slot = work.add_slot(f"{candidate.name}.adapter", "conv_adapter", candidate.name, base, limit)
        write = ConvAdapter(slot, Region(0, kernel.shape), tuple(range(2, kernel.ndim)))
        work.planned.append(Planned(write, {"weight": weight}))
    return frozenset(candidate.output for candidate in chosen)


def _candidates(
    view: GraphView, out_of_bounds: frozenset[str]
) -> tuple[list[Candidate], list[tuple[str, str]]]:
    found, passed_over = [], []
    for node in view.nodes:
        if node.op_type != "Conv" or node.output[0] in out_of_bounds:
            continue
        name, shape = layer_name(view, node), view.shape(node.output[0])
        kernel = view.shape(node.input[1]) if view.is_constant(node.input[1]) else None
        reason = "its weights are computed" if kernel is None else _off_centre(node, kernel[2:])
        if reason or shape is None:
            passed_over.append((name, reason or "its shape is not known"))
        else:
            found.append(Candidate(name, node.output[0], shape))
    return found, passed_over


def _off_centre(node: onnx.NodeProto, kernel: tuple[int, ...]) -> str:
    """Why the centre tap does not stay on the pixel, or ""."""
    if any(size % 2 == 0 for size in kernel):
        return f"its kernel {kernel} has no centre"
    dilations = attribute(node, "dilations", [1] * len(kernel))
    reach = [step * (size // 2) for step, size in zip(dilations, kernel, strict=True)]
    if attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        strides = attribute(node, "strides", [1] * len(kernel))
        same = attribute(node, "auto_pad") in (b"SAME_UPPER", b"SAME_LOWER")
        centred = all(step == 1 for step in strides) if same else not any(reach)
        return "" if centred or not any(reach) else "its automatic padding moves the centre off the pixel"
    pads = list(attribute(node, "pads", [0] * (2 * len(kernel))))
    return "" if pads == reach + reach else f"its padding {pads} does not keep the centre on the pixel"
