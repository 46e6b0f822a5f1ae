"""A low-rank product beside a matrix (LoRA: Hu et al., ICLR 2022, arXiv 2106.09685), folded into it.

    y = W x + up (down x) = (W + up down) x

`up` starts at zero, so the base is the base model; `down` starts at seeded random values, without which no
gradient would reach `up`. A patch may carry `up` alone. Which way the graph stores W is the write's
business.
"""

from __future__ import annotations

import hashlib

import numpy as np
import onnx

from edgeadapt.bundle import Region
from edgeadapt.bundle.writes import LowRank
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.analyse.view import GraphView, attribute
from edgeadapt_models.compile.extras.plan import Planned
from edgeadapt_models.compile.extras.request import AdapterRequest
from edgeadapt_models.compile.extras.select import Candidate, choose, layer_name
from edgeadapt_models.compile.extras.workpiece import Workpiece

_MIN_LIMIT = 1.0
_LIMIT_RATIO = 4.0


def add_low_rank(work: Workpiece, request: AdapterRequest, out_of_bounds: frozenset[str]) -> frozenset[str]:
    """Add two slots to every matrix that is asked for; arguments, result and errors as for convolutions.

    The rank is cut to the smaller side of the matrix.
    """
    chosen = choose(_candidates(work.view, out_of_bounds), request.where, "matrix product")
    for candidate in chosen:
        node = work.node(candidate.output)
        weight = work.own(node, 1)
        matrix = work.view.constant(weight)
        assert matrix is not None
        transposed = not (node.op_type == "Gemm" and attribute(node, "transB", 0))
        outputs, inputs = matrix.shape[::-1] if transposed else matrix.shape
        rank = min(request.size, outputs, inputs)
        limit = max(_MIN_LIMIT, _LIMIT_RATIO * float(np.abs(matrix).max()))
        down = seeded(f"{candidate.name}.down", (rank, inputs))
        down_slot = work.add_slot(f"{candidate.name}.down", "low_rank_down", candidate.name, down, limit)
        zeros = np.zeros((outputs, rank), np.float32)
        up_slot = work.add_slot(f"{candidate.name}.up", "low_rank_up", candidate.name, zeros, limit)
        write = LowRank(down_slot, up_slot, Region(0, matrix.shape), transposed)
        work.planned.append(Planned(write, {"weight": weight}))
    return frozenset(candidate.output for candidate in chosen)


def seeded(name: str, shape: tuple[int, ...]) -> FloatArray:
    """Uniform in +-1 / sqrt(inputs) (torch's default for a Linear), the same for the same name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    bound = shape[-1] ** -0.5
    return np.random.default_rng(seed).uniform(-bound, bound, shape).astype(np.float32)


def _candidates(view: GraphView, out_of_bounds: frozenset[str]) -> list[Candidate]:
    found = []
    for node in view.nodes:
        if node.op_type not in ("Gemm", "MatMul") or node.output[0] in out_of_bounds:
            continue
        weight, shape = view.constant(node.input[1]), view.shape(node.output[0])
        if weight is not None and weight.ndim == 2 and weight.dtype == np.float32 and shape and _plain(node):
            found.append(Candidate(layer_name(view, node), node.output[0], shape, channels_last=True))
    return found


def _plain(node: onnx.NodeProto) -> bool:
    """Whether the product is taken as it is; the factor of C does not matter."""
    return bool(attribute(node, "alpha", 1.0) == 1.0 and not attribute(node, "transA", 0))
