"""Where things of the ONNX graph went in the LiteRT model: what a device must find to rewrite them."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeadapt_models.compile.tflite.lower.layout import Order


@dataclass(frozen=True, slots=True)
class Fold:
    """A norm layer that goes into the operator before it, which then computes the value `result`."""

    layer: str
    result: str


@dataclass(frozen=True, slots=True)
class Placement:
    """The constant `key` holds the ONNX initializer `name`, stored in `order`."""

    key: str
    name: str
    order: Order


@dataclass(frozen=True, slots=True)
class FoldedNorm:
    """Keys of the raw weights and bias that a norm layer scales and shifts; `axis`: its output channels."""

    weights: str
    axis: int
    bias: str


@dataclass(frozen=True, slots=True)
class AffineNorm:
    """Keys of the two constants that stand for a norm layer with statistics."""

    scale: str
    shift: str


@dataclass(slots=True)
class Ledger:
    """Where in the file things lie that a device rewrites.

    Attributes:
        placements: constants that hold an ONNX initializer, by key.
        norms: norm layers with running statistics, by name.
    """

    placements: dict[str, Placement] = field(default_factory=dict)
    norms: dict[str, FoldedNorm | AffineNorm] = field(default_factory=dict)
