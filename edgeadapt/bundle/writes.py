"""Writes: how slot values become bytes of a model artifact.

An artifact lists its writes in order; `bundle.materialise` runs them on a copy of the file. A `Copy` puts one
slot's values where they lie. All others *fold* slots into tensors that the runtime reads anyway, so that a
patched model costs no more per inference than the base; they read the tensor as the writes before left it,
so an adapter may be added to a kernel that a norm layer then scales.

In a file with folds the tensors hold raw values (a convolution before its norm layer is multiplied in): what
is written is always computed from them and never from a ratio of new and old values. Such a file is not the
base model until its writes have run. Structs only; the arithmetic is in `bundle.folds`.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import msgspec

_ITEM_BYTES = {"float32": 4, "int32": 4, "int8": 1}


class Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tensor of `shape` at byte `offset` of the file, little endian, rows last."""

    offset: int
    shape: tuple[int, ...]
    dtype: Literal["float32", "int32", "int8"] = "float32"

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Number of bytes."""
        return self.size * _ITEM_BYTES[self.dtype]

    @property
    def end(self) -> int:
        """One past the last byte."""
        return self.offset + self.size_bytes


class _Write(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="fold"):
    """Base of all writes; `fold` in JSON says which one it is."""


class Copy(_Write, frozen=True, tag="copy"):
    """The slot's values as they are. Runs only when the slot has a value of its own.

    `transposed` when a slot [K, D] lies there as [D, K].
    """

    slot: str
    at: Region
    transposed: bool = False


class FoldNorm(_Write, frozen=True, tag="norm"):
    """A norm layer folded into the convolution or matrix before it.

    With a = scale / sqrt(var + epsilon): weight *= a along `axis`, bias = (bias - mean) * a + norm bias.
    """

    layer: str
    weight: Region
    axis: int
    bias: Region


class Affine(_Write, frozen=True, tag="affine"):
    """A norm layer with running statistics as two constants: a, and norm bias - mean * a."""

    layer: str
    scale: Region
    shift: Region


class FoldNormInt8(_Write, frozen=True, tag="norm_int8"):
    """A norm layer folded into an int8 convolution: only its scales and its int32 bias change.

    `weight_scale` holds the raw kernel's scale s per output channel; it becomes s * |a|. `bias` holds the raw
    bias as float32 and becomes int32 round(folded bias / (input_scale * s * |a|)). `bias_scale`, where
    the format keeps one, becomes input_scale * s * |a|. The sign of a at the base is in the int8 weights:
    `negative` lists the channels where it is below 0, and a value that would turn a sign is refused.

    `low` and `high` are the ends of what the 8-bit tensor behind the layer can hold, or None where values
    beyond are no loss (an activation cuts them, or the tensor is float). What leaves them is not refused
    here but by `bundle.limits`.
    """

    layer: str
    weight_scale: Region
    bias: Region
    input_scale: float
    negative: tuple[int, ...] = ()
    bias_scale: Region | None = None
    low: float | None = None
    high: float | None = None


class ConvAdapter(_Write, frozen=True, tag="conv_adapter"):
    """A parallel 1x1 convolution [O, I/groups] added to the centre of a kernel.

    `weight` has one output axis, one input axis and `spatial_axes`, all of odd length; `transposed` when
    the input axis comes first. Equal to the parallel branch where padding keeps the centre on the pixel.
    """

    slot: str
    weight: Region
    spatial_axes: tuple[int, ...]
    transposed: bool = False


class LowRank(_Write, frozen=True, tag="low_rank"):
    """weight [O, I] += up [O, R] @ down [R, I]; `transposed` when weight is [I, O]."""

    down: str
    up: str
    weight: Region
    transposed: bool = False


class HeadShift(_Write, frozen=True, tag="head_shift"):
    """bias [K] += weight [K, D] @ slot [D]: what moving the embedding would do to the logits."""

    slot: str
    weight: Region
    bias: Region
    transposed: bool = False


class Prompt(_Write, frozen=True, tag="prompt"):
    """An additive input prompt, spread to the size of the input and added to a constant of the graph.

    `full`: slot [C, H, W]. `border`: slot [C, B], the pixels of a frame `border` pixels wide, in row order.
    `low`: slot [C, h, w], bilinear with half-pixel centres. `at` is [C, H, W], or [H, W, C] for NHWC;
    `gain` [C] are the factors that the graph applies before that constant.
    """

    slot: str
    at: Region
    form: Literal["full", "border", "low"]
    gain: tuple[float, ...]
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    border: int = 0


Write: TypeAlias = Copy | FoldNorm | Affine | FoldNormInt8 | ConvAdapter | LowRank | HeadShift | Prompt


def regions(write: Write) -> tuple[Region, ...]:
    """Every region that the write reads or changes."""
    values = (getattr(write, field) for field in write.__struct_fields__)
    return tuple(value for value in values if isinstance(value, Region))


def layer_of(write: Write) -> str:
    """The norm layer whose slots are folded; "" when the write names its slots itself."""
    return write.layer if isinstance(write, FoldNorm | Affine | FoldNormInt8) else ""


def slots_of(write: Write) -> tuple[str, ...]:
    """The slots that the write names itself; a folded norm layer names none."""
    if isinstance(write, LowRank):
        return write.down, write.up
    return (write.slot,) if isinstance(write, Copy | ConvAdapter | HeadShift | Prompt) else ()
