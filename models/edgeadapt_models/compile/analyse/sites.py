"""What a norm layer is, wherever it was found: the values that the search hands to the surgery.

A node is named by its first output, which is unique in a graph and survives the insertion of other nodes.
Constants are held as float32; everything here is valid once constructed and nothing reads the graph again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from edgeadapt.bundle.manifest import NormKind, SlotKind
from edgeadapt.tensors import FloatArray


@dataclass(frozen=True, slots=True)
class Operand:
    """Input number `index` of the node whose first output is `node`."""

    node: str
    index: int


@dataclass(frozen=True, slots=True)
class Value:
    """A constant of a norm layer.

    Attributes:
        kind: which slot it becomes.
        value: float32 [channels].
        operand: where it enters; None when the graph has no such constant (a LayerNorm without scale or
            bias), so that one must be added that changes nothing.
        shape: the constant's shape in the graph, such as (C, 1, 1).
        tensor: the constant's name in the graph; "" when there is none.
    """

    kind: SlotKind
    value: FloatArray
    operand: Operand | None
    shape: tuple[int, ...]
    tensor: str = ""


@dataclass(frozen=True, slots=True)
class NormSite:
    """A norm layer whose parameters are constants of the graph.

    Attributes:
        kind: batch, layer, group or instance.
        channels: length of each value.
        tensor: what it normalises; measured by the probe.
        axis: channel axis of `tensor`.
        rank: number of axes of `tensor`.
        epsilon: added to the variance.
        node: the node that normalises (its first output).
        operator: for people, such as "LayerNormalization" or "ReduceMean ... Div".
        normal: the normalised tensor, behind which a missing scale is multiplied in.
        values: scale and bias, and for "batch" mean and var, in the order in which BatchNormalization takes
            them.
    """

    kind: NormKind
    channels: int
    tensor: str
    axis: int
    rank: int
    epsilon: float
    node: str
    operator: str
    normal: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class FoldedSite:
    """A convolution or matrix with the norm layer behind it already folded in ("channel").

    Attributes:
        channels: its output channels.
        tensor: its output with the bias added; measured by the probe.
        axis: channel axis of `tensor`.
        rank: number of axes of `tensor`.
        node: the node that computes (its first output).
        operator: for people, such as "Conv + bias".
        weight: where the weights enter.
        weight_axis: output axis of the weights.
        bias: where the bias enters; None when there is none.
        weight_tensor: the weights' name in the graph.
    """

    channels: int
    tensor: str
    axis: int
    rank: int
    node: str
    operator: str
    weight: Operand
    weight_axis: int
    bias: Operand | None
    weight_tensor: str

    @property
    def kind(self) -> NormKind:
        """Always "channel"."""
        return "channel"


@dataclass(frozen=True, slots=True)
class AffineSite:
    """A constant scale and shift per channel, as a BatchNorm with frozen statistics leaves it ("channel").

    Attributes:
        channels: length of both.
        tensor: what is scaled; measured by the probe.
        axis: channel axis of `tensor`.
        rank: number of axes of `tensor`.
        node: the node that scales (its first output).
        operator: for people.
        scale: the factor.
        shift: the summand.
    """

    channels: int
    tensor: str
    axis: int
    rank: int
    node: str
    operator: str
    scale: Value
    shift: Value

    @property
    def kind(self) -> NormKind:
        """Always "channel"."""
        return "channel"


Site: TypeAlias = NormSite | FoldedSite | AffineSite


@dataclass(frozen=True, slots=True)
class Unusable:
    """Something that looks like a norm layer and cannot be adapted.

    Attributes:
        node: the node's first output.
        operator: its operator.
        reason: why not, and what would help.
    """

    node: str
    operator: str
    reason: str


def reduce_axes(site: Site) -> tuple[int, ...]:
    """Axes of the measured tensor that are neither the batch nor the channels."""
    return tuple(axis for axis in range(1, site.rank) if axis != site.axis)
