"""Writes of the ONNX artifact as writes of the LiteRT one.

An ONNX write names bytes of `model.onnx`. Those bytes are an initializer, and the ledger knows which
constants of the LiteRT file hold it, in which order of axes. Norm layers that LiteRT has folded or turned
into two constants get a write of their own instead of four copies.

Order: values and adapters first, since they change raw weights; then what a norm layer multiplies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import onnx

from edgeadapt.bundle import NormLayer, Region, Write
from edgeadapt.bundle.writes import Affine, ConvAdapter, Copy, FoldNorm, HeadShift, LowRank, Prompt, regions
from edgeadapt.errors import CompileError
from edgeadapt_models.compile.graph.wire_walk import initializer_spans
from edgeadapt_models.compile.tflite.file.flatbuffer import TfliteFile
from edgeadapt_models.compile.tflite.file.program import Array
from edgeadapt_models.compile.tflite.lower.layout import moving
from edgeadapt_models.compile.tflite.lower.ledger import FoldedNorm, Ledger, Placement

Shapes = Mapping[str, tuple[int, ...]]
_TURNS: tuple[tuple[type[Write], ...], ...] = ((Copy,), (ConvAdapter, LowRank, Prompt), (HeadShift,))


@dataclass(frozen=True, slots=True)
class Initializers:
    """Initializers of the ONNX file that writes name.

    Attributes:
        by_offset: name, by where the bytes begin.
        shapes: as ONNX has them.
    """

    by_offset: Mapping[int, str]
    shapes: Shapes

    @staticmethod
    def of(model: onnx.ModelProto, data: bytes) -> Initializers:
        """From a model and its bytes."""
        spans = initializer_spans(data)
        shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
        return Initializers({span.offset: name for name, span in spans.items()}, shapes)

    def name(self, region: Region) -> str:
        """The initializer that a region is; raises CompileError when it is none."""
        name = self.by_offset.get(region.offset)
        if name is None:
            raise CompileError(f"a write of the ONNX artifact names byte {region.offset}: no tensor is there")
        return name

    def copied(self, writes: Sequence[Write]) -> dict[str, str]:
        """The initializer that a slot is copied to, by slot."""
        return {write.slot: self.name(write.at) for write in writes if isinstance(write, Copy)}

    def mutable(self, writes: Sequence[Write]) -> frozenset[str]:
        """Every initializer that a write touches."""
        return frozenset(self.name(region) for write in writes for region in regions(write))


def translate(
    writes: Sequence[Write],
    layers: Sequence[NormLayer],
    initializers: Initializers,
    ledger: Ledger,
    file: TfliteFile,
    constants: Mapping[str, Array],
) -> tuple[Write, ...]:
    """The writes of the LiteRT file.

    Args:
        writes: those of the ONNX artifact.
        layers: the norm layers.
        initializers: what they name.
        ledger: where they are in the LiteRT file, by key.
        file: where the keys are in its bytes.
        constants: the values by key.

    Raises:
        CompileError: a slot lies in the LiteRT file in a way that no write can fill.
    """
    target = _Target(initializers, ledger, file, constants)
    translated: list[Write] = [target.norm(layer.name) for layer in layers if layer.name in ledger.norms]
    covered = {
        name
        for layer in layers
        if layer.name in ledger.norms
        for name in (layer.scale, layer.bias, layer.mean, layer.var)
    }
    for write in writes:
        if not (isinstance(write, Copy) and write.slot in covered):
            translated += target.moved(write)
    return tuple(sorted(translated, key=_turn))


def _turn(write: Write) -> int:
    return next((turn for turn, kinds in enumerate(_TURNS) if isinstance(write, kinds)), len(_TURNS))


@dataclass(frozen=True, slots=True)
class _Target:
    """The LiteRT file, as writes see it."""

    initializers: Initializers
    ledger: Ledger
    file: TfliteFile
    constants: Mapping[str, Array]

    def norm(self, layer: str) -> Write:
        """The write of a norm layer that was folded, or became two constants."""
        held = self.ledger.norms[layer]
        if isinstance(held, FoldedNorm):
            return FoldNorm(layer, self._region(held.weights), held.axis, self._region(held.bias))
        return Affine(layer, self._region(held.scale), self._region(held.shift))

    def moved(self, write: Write) -> Iterator[Write]:
        """The same write, once for every constant that holds its tensor."""
        for held in self._placements(regions(write)[0]):
            at = self._region(held.key)
            if isinstance(write, Copy):
                yield self._copy(write, held, at)
            elif isinstance(write, Prompt):
                yield self._prompt(write, held, at)
            elif isinstance(write, Affine):
                yield msgspec.structs.replace(write, scale=at, shift=self._beside(held, write.shift))
            elif isinstance(write, FoldNorm):
                axis = held.order.index(write.axis)
                bias = self._beside(held, write.bias)
                yield msgspec.structs.replace(write, weight=at, axis=axis, bias=bias)
            else:
                assert isinstance(write, ConvAdapter | LowRank | HeadShift)
                yield self._product(write, held, at)

    def _product(
        self, write: ConvAdapter | LowRank | HeadShift, held: Placement, at: Region
    ) -> ConvAdapter | LowRank | HeadShift:
        """Weights with an output and an input axis, which may have changed places."""
        turned = held.order.index(0) > held.order.index(1)
        transposed = write.transposed != turned
        if isinstance(write, ConvAdapter):
            space = tuple(place for place, axis in enumerate(held.order) if axis not in (0, 1))
            return msgspec.structs.replace(write, weight=at, spatial_axes=space, transposed=transposed)
        matrix = Region(
            at.offset, tuple(at.shape[held.order.index(axis)] for axis in ((1, 0) if turned else (0, 1)))
        )
        if isinstance(write, LowRank):
            return msgspec.structs.replace(write, weight=matrix, transposed=transposed)
        bias = self._beside(held, write.bias)
        return msgspec.structs.replace(write, weight=matrix, transposed=transposed, bias=bias)

    def _copy(self, write: Copy, held: Placement, at: Region) -> Copy:
        shape = self.initializers.shapes[held.name]
        lying = moving(shape, held.order)
        if list(lying) == sorted(lying):
            return msgspec.structs.replace(write, at=self._shaped(at, write.at.shape))
        if len(lying) == 2:
            matrix = tuple(shape[axis] for axis in lying)
            return msgspec.structs.replace(
                write, at=self._shaped(at, matrix), transposed=not write.transposed
            )
        raise CompileError(
            f"slot {write.slot!r} lies in another order of axes in the LiteRT model; use --target onnx"
        )

    def _prompt(self, write: Prompt, held: Placement, at: Region) -> Prompt:
        """The constant is as large as the input: [1, C, H, W] in ONNX, or the same channels last."""
        lying = moving(self.initializers.shapes[held.name], held.order)
        if list(lying) == sorted(lying):
            return msgspec.structs.replace(write, at=self._shaped(at, write.at.shape))
        if write.layout != "NCHW" or held.order != (0, 2, 3, 1):
            raise CompileError(f"the constant of prompt {write.slot!r} lies in the order {held.order}")
        return msgspec.structs.replace(write, at=self._shaped(at, at.shape[1:]), layout="NHWC")

    def _beside(self, held: Placement, region: Region) -> Region:
        """The bias that is used together with the weights that `held` is."""
        placements = self._placements(region)
        own = [p for p in placements if p.key == held.key.removesuffix("/weights") + "/bias"]
        if not own and len(placements) != 1:
            raise CompileError(f"the bias {placements[0].name!r} is in the LiteRT model more than once")
        return self._region((own or placements)[0].key)

    def _placements(self, region: Region) -> list[Placement]:
        name = self.initializers.name(region)
        held = [p for p in self.ledger.placements.values() if p.name == name and p.key in self.file.constants]
        if not held:
            raise CompileError(f"{name!r} can be changed in the ONNX model, but is not in the LiteRT one")
        return held

    def _region(self, key: str) -> Region:
        return Region(self.file.constants[key].offset, self.constants[key].shape)

    def _shaped(self, region: Region, shape: tuple[int, ...]) -> Region:
        return Region(region.offset, shape)
