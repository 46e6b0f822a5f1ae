"""A small ONNX model with every kind of write, and values for all of its slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgeadapt.bundle import Artifact, Copy, NormLayer, Region, Write
from edgeadapt.bundle.manifest import NormKind
from edgeadapt.bundle.writes import Affine, ConvAdapter, FoldNorm, HeadShift, LowRank, Prompt
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.wire_walk import initializer_spans
from tests.models.compile.tflite.graphs import graph

SHAPE = (1, 3, 8, 6)
_SLOTS = ("scale", "bias", "mean", "var")
_CHANNELS = {"folded": 4, "channel": 6, "affine": 6, "alone": 6, "layer": 7}


@dataclass(frozen=True)
class Changeable:
    """An ONNX model whose tensors may change.

    Attributes:
        data: the file; outputs logits and embedding.
        artifact: its writes.
        layers: its norm layers.
        base: base values of all slots.
    """

    data: bytes
    artifact: Artifact
    layers: tuple[NormLayer, ...]
    base: dict[str, FloatArray]

    def random_values(self, seed: int = 0) -> dict[str, FloatArray]:
        """A value for every slot; variances stay positive."""
        rng = np.random.default_rng(seed)
        values = {}
        for name, value in self.base.items():
            moved = value + 0.3 * rng.standard_normal(value.shape)
            values[name] = (np.abs(moved) + 0.1 if name.endswith("var") else moved).astype(np.float32)
        return values


def changeable() -> Changeable:
    """The model; every tensor that may change has values of its own, so that none is taken for another."""
    constants = _constants()
    data = graph(_nodes(), SHAPE, constants, outputs=("logits", "embedding"))
    spans = initializer_spans(data)

    def at(name: str, shape: Sequence[int] | None = None) -> Region:
        return Region(spans[name].offset, tuple(np.shape(constants[name]) if shape is None else shape))

    writes: list[Write] = [
        Prompt("prompt", at("prompt/constant", SHAPE[1:]), "low", (1.0, 2.0, 0.5)),
        ConvAdapter("depthwise.adapter", at("w2"), (2, 3)),
        ConvAdapter("channel.adapter", at("w3"), (2, 3)),
        LowRank("down", "up", at("w4"), transposed=True),
        FoldNorm("channel", at("w3"), 0, at("b3")),
        Affine("affine", at("factor"), at("summand")),
        *(Copy(name, at(name, (len(constants[name]),))) for name in constants if name.partition(".")[1]),
        Copy("head.weight", at("w5")),
        Copy("head.bias", at("b5")),
        HeadShift("shift", at("w5"), at("b5")),
    ]
    measured = ("input", "output", "input", "input", "input")
    artifact = Artifact("onnxruntime", "model.onnx", "", tuple(writes), measured)  # type: ignore[arg-type]
    return Changeable(data, artifact, _layers(), _base(constants))


def _values(*shape: int, seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _constants() -> dict[str, Any]:
    """Weights, and slots under their own names ("LAYER.KIND") where they are copied."""
    constants: dict[str, Any] = {
        "prompt/constant": _values(*SHAPE, seed=0),
        "w1": _values(4, 3, 3, 3, seed=1),
        "w2": _values(4, 1, 3, 3, seed=2),
        "w3": _values(6, 4, 3, 3, seed=3) / 4,
        "b3": _values(6, seed=4),
        "factor": _values(6, 1, 1, seed=5),
        "summand": _values(6, 1, 1, seed=6),
        "w4": _values(6, 7, seed=7),
        "b4": _values(7, seed=8),
        "w5": _values(5, 7, seed=9),
        "b5": _values(5, seed=10),
    }
    for place, name in enumerate(("folded", "alone", "layer")):
        for kind in _SLOTS if name != "layer" else _SLOTS[:2]:
            value = _values(_CHANNELS[name], seed=20 + 4 * place + _SLOTS.index(kind))
            constants[f"{name}.{kind}"] = np.abs(value) + 0.5 if kind == "var" else value
    return constants


def _nodes() -> list[onnx.NodeProto]:
    node = helper.make_node
    pads = {"pads": [1, 1, 1, 1]}
    return [
        node("Add", ["input", "prompt/constant"], ["x"]),
        node("Conv", ["x", "w1"], ["c1"], strides=[2, 2], **pads),
        node("BatchNormalization", ["c1", *(f"folded.{kind}" for kind in _SLOTS)], ["n1"]),
        node("Relu", ["n1"], ["r1"]),
        node("Conv", ["r1", "w2"], ["c2"], group=4, **pads),
        node("Relu", ["c2"], ["r2"]),
        node("Conv", ["r2", "w3", "b3"], ["c3"], **pads),
        node("Relu", ["c3"], ["r3"]),
        node("Mul", ["r3", "factor"], ["m3"]),
        node("Add", ["m3", "summand"], ["a3"]),
        node("Tanh", ["a3"], ["t3"]),
        node("BatchNormalization", ["t3", *(f"alone.{kind}" for kind in _SLOTS)], ["n3"]),
        node("GlobalAveragePool", ["n3"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("MatMul", ["flat", "w4"], ["c4"]),
        node("Add", ["c4", "b4"], ["s4"]),
        node("LayerNormalization", ["s4", "layer.scale", "layer.bias"], ["embedding"]),
        node("Gemm", ["embedding", "w5", "b5"], ["logits"], transB=1),
    ]


def _layers() -> tuple[NormLayer, ...]:
    kinds: dict[str, NormKind] = {
        "folded": "batch",
        "channel": "channel",
        "affine": "channel",
        "alone": "batch",
        "layer": "layer",
    }
    layers, offset = [], 0
    for name, kind in kinds.items():
        slots = [f"{name}.{part}" for part in (_SLOTS if kind != "layer" else _SLOTS[:2])]
        layers.append(NormLayer(name, kind, _CHANNELS[name], 1e-5, offset, *slots))
        offset += _CHANNELS[name]
    return tuple(layers)


def _base(constants: dict[str, Any]) -> dict[str, FloatArray]:
    """Base values: of slots that are copied as they lie there, of the others as if they did nothing."""
    base = {name: value for name, value in constants.items() if name.partition(".")[1]}
    for layer in ("channel", "affine"):
        for kind, value in zip(_SLOTS, (1.0, 0.0, 0.0, 1.0 - 1e-5), strict=True):
            base[f"{layer}.{kind}"] = np.full(6, value, np.float32)
    base["affine.scale"] = constants["factor"].reshape(-1).copy()
    base["affine.bias"] = constants["summand"].reshape(-1).copy()
    zeros = {
        "prompt": (3, 2, 2),
        "depthwise.adapter": (4, 1),
        "channel.adapter": (6, 4),
        "down": (2, 6),
        "up": (7, 2),
        "shift": (7,),
    }
    base.update((name, np.zeros(shape, np.float32)) for name, shape in zeros.items())
    base["head.weight"], base["head.bias"] = constants["w5"], constants["b5"]
    return {name: np.asarray(value, np.float32) for name, value in base.items()}
