"""Writes that fold: those that fit their slots and tensors pass, every other one is refused with its name."""

from __future__ import annotations

import msgspec
import pytest

from edgeadapt.bundle import Copy, Region, Slot, Write
from edgeadapt.bundle.fit_writes import check_artifact
from edgeadapt.bundle.writes import ConvAdapter, FoldNorm, HeadShift, LowRank, Prompt
from edgeadapt.errors import BundleError
from tests.core import bundles

END = 64
"""Where the toy bundle's model ends, and further tensors begin."""
SIZE = 4096


def at(*shape: int, offset: int = END) -> Region:
    return Region(offset, shape)


def check(*writes: Write, **slots: tuple[int, ...]) -> None:
    """Put writes with slots of their own into the toy bundle."""
    manifest = bundles.bundle().manifest
    further = tuple(Slot(name, "extra", "x", shape, -1.0, 1.0) for name, shape in slots.items())
    manifest = msgspec.structs.replace(manifest, slots=(*manifest.slots, *further))
    artifact = manifest.artifacts[0]
    artifact = msgspec.structs.replace(artifact, writes=(*artifact.writes, *writes))
    check_artifact(artifact, manifest, {"model.onnx": bytes(SIZE), "probe.bin": b""})


GAIN = (1.0, 1.0, 1.0)
BIAS = at(5, offset=1024)
GOOD: list[tuple[Write, dict[str, tuple[int, ...]]]] = [
    (Copy("s", at(5, 4), transposed=True), {"s": (4, 5)}),
    (ConvAdapter("s", at(6, 2, 3, 3), (2, 3)), {"s": (6, 2)}),
    (ConvAdapter("s", at(6, 3, 3, 2), (1, 2)), {"s": (6, 2)}),
    (ConvAdapter("s", at(1, 3, 3, 6), (1, 2), transposed=True), {"s": (6, 1)}),
    (ConvAdapter("s", at(6, 2, 5), (2,)), {"s": (6, 2)}),
    (LowRank("d", "u", at(5, 4)), {"d": (2, 4), "u": (5, 2)}),
    (LowRank("d", "u", at(4, 5), transposed=True), {"d": (2, 4), "u": (5, 2)}),
    (HeadShift("s", at(5, 4), BIAS), {"s": (4,)}),
    (HeadShift("s", at(4, 5), BIAS, transposed=True), {"s": (4,)}),
    (Prompt("s", at(3, 8, 6), "full", GAIN), {"s": (3, 8, 6)}),
    (Prompt("s", at(8, 6, 3), "full", GAIN, "NHWC"), {"s": (3, 8, 6)}),
    (Prompt("s", at(3, 8, 6), "low", GAIN), {"s": (3, 2, 2)}),
    (Prompt("s", at(3, 8, 6), "border", GAIN, border=1), {"s": (3, 24)}),
    (Prompt("s", at(3, 8, 6), "border", GAIN, border=3), {"s": (3, 48)}),
]
BAD: list[tuple[Write, dict[str, tuple[int, ...]]]] = [
    (Copy("s", at(4, 5), transposed=True), {"s": (4, 5)}),
    (ConvAdapter("s", at(6, 2, 3, 3), (2, 3)), {"s": (2, 6)}),
    (ConvAdapter("s", at(6, 2, 3, 3), (2, 3)), {"s": (6, 2, 1, 1)}),
    (ConvAdapter("s", at(6, 2, 4, 4), (2, 3)), {"s": (6, 2)}),
    (ConvAdapter("s", at(6, 2, 3, 3), (2, 9)), {"s": (6, 2)}),
    (ConvAdapter("s", at(6, 2, 3, 3), (2, -1)), {"s": (6, 2)}),
    (ConvAdapter("s", at(6, 2, 3, 3), ()), {"s": (6, 2)}),
    (LowRank("d", "u", at(5, 4)), {"d": (2, 5), "u": (4, 2)}),
    (LowRank("d", "u", at(5, 4)), {"d": (2, 4), "u": (5, 3)}),
    (LowRank("d", "u", at(5, 4)), {"d": (4, 2), "u": (2, 5)}),
    (LowRank("d", "u", at(5, 4, 1)), {"d": (2, 4), "u": (5, 2)}),
    (HeadShift("s", at(5, 4), BIAS), {"s": (5,)}),
    (HeadShift("s", at(5, 4), BIAS), {"s": (4, 1)}),
    (HeadShift("s", at(5, 4), at(4, offset=1024)), {"s": (4,)}),
    (Prompt("s", at(3, 8, 6), "full", GAIN), {"s": (3, 6, 8)}),
    (Prompt("s", at(3, 8, 6), "full", GAIN, "NHWC"), {"s": (3, 8, 6)}),
    (Prompt("s", at(1, 3, 8, 6), "full", GAIN), {"s": (3, 8, 6)}),
    (Prompt("s", at(3, 8, 6), "full", (1.0,)), {"s": (3, 8, 6)}),
    (Prompt("s", at(3, 8, 6), "low", GAIN), {"s": (2, 2)}),
    (Prompt("s", at(3, 8, 6), "low", GAIN), {"s": (1, 2, 2)}),
    (Prompt("s", at(3, 8, 6), "border", GAIN, border=1), {"s": (3, 23)}),
    (Prompt("s", at(3, 8, 6), "border", GAIN, border=4), {"s": (3, 48)}),
    (Prompt("s", at(3, 8, 6), "border", GAIN), {"s": (3, 1)}),
    (Prompt("s", at(3, 8, 6), "border", GAIN, border=-1), {"s": (3, 24)}),
]


@pytest.mark.parametrize(("write", "slots"), GOOD)
def test_what_fits(write: Write, slots: dict[str, tuple[int, ...]]) -> None:
    check(write, **slots)


@pytest.mark.parametrize(("write", "slots"), BAD)
def test_what_does_not_fit_is_named(write: Write, slots: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(BundleError, match=rf"the {type(write).__name__} of .*does not fit the tensors"):
        check(write, **slots)


def test_half_of_anothers_tensor_is_refused() -> None:
    kernel = at(6, 2, 3, 3)
    check(ConvAdapter("s", kernel, (2, 3)), s=(6, 2))
    with pytest.raises(BundleError, match="overlaps"):
        check(HeadShift("s", at(2, 2, offset=3), at(2, offset=1024)), s=(2,))


def test_a_tensor_is_set_or_folded_once() -> None:
    kernel, bias = at(2, 6), at(2, offset=1024)
    adapter = LowRank("d", "u", kernel)
    slots = {"d": (1, 6), "u": (2, 1)}
    check(adapter, FoldNorm("bn", kernel, 0, bias), **slots)
    for again in (
        FoldNorm("bn", kernel, 0, at(2, offset=2048)),
        FoldNorm("bn", at(2, 6, offset=2048), 0, bias),
    ):
        with pytest.raises(BundleError, match="the FoldNorm of bn overlaps the FoldNorm of bn"):
            check(FoldNorm("bn", kernel, 0, bias), adapter, again, **slots)
    with pytest.raises(BundleError, match="the Copy of t overlaps the Copy of s"):
        check(Copy("s", kernel), adapter, Copy("t", kernel), s=(2, 6), t=(12,), **slots)
