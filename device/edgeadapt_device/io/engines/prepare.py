"""What every engine does alike: choose the artifact, and try a session before it is handed out."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Literal

import numpy as np

from edgeadapt.bundle import Artifact, Bundle
from edgeadapt.errors import BundleError, TransportError
from edgeadapt.tensors import FloatArray
from edgeadapt_device.io.engines.base import MOMENTS, SCORES, Frames, Scores, Session
from edgeadapt_device.io.engines.inputs import Frame

_WORTH_BYTES = 4 << 20
# Options of mallopt(3), and what they are set to.
_M_TRIM_THRESHOLD, _TRIM_BYTES = -1, 8 << 20
_M_MMAP_THRESHOLD, _ALONE_BYTES = -3, 1 << 20


def choose_artifact(bundle: Bundle, runtime: str, precision: Literal["auto", "float32", "int8"]) -> Artifact:
    """The artifact to run; "auto" is int8 where the bundle has it, as whoever compiled it wanted it.

    Raises:
        BundleError: there is none; lists those there are.
    """
    return bundle.artifact(runtime, precision)


def widths(bundle: Bundle) -> dict[str, int]:
    """Length of each output of one frame."""
    manifest = bundle.manifest
    sizes = len(manifest.classes), manifest.embedding_dim, manifest.probe_channels, manifest.probe_channels
    return dict(zip((*SCORES, *MOMENTS), sizes, strict=True))


def warm_up(bundle: Bundle, session: Session) -> None:
    """Run a session both ways; raises BundleError when it fails or its outputs do not fit the manifest."""
    name, expected = bundle.manifest.name, widths(bundle)
    blank = Frame(bundle.manifest.input).blank()
    try:
        fast, probed = session.run(blank, probe=False), session.run(blank, probe=True)
    except TransportError as error:
        raise BundleError(f"bundle {name}: model does not run: {error}") from error
    for scores in (fast, probed):
        check_outputs(name, scores, expected)
    if probed.mean is None or probed.mean_square is None:
        raise BundleError(f"bundle {name}: the probe returns no moments")


def check_outputs(bundle: str, scores: Scores, expected: dict[str, int]) -> None:
    """Raises BundleError unless every output that is there is [N, what the manifest says]."""
    found = (scores.logits, scores.embedding, scores.mean, scores.mean_square)
    for name, value in zip((*SCORES, *MOMENTS), found, strict=True):
        if value is not None and (value.ndim != 2 or value.shape[1] != expected[name]):
            raise BundleError(
                f"bundle {bundle}: output {name} has shape {value.shape}, "
                f"the manifest says [N, {expected[name]}]"
            )


def in_pieces(frames: Frames, size: int, run: Callable[[Frames], list[FloatArray]]) -> list[FloatArray]:
    """Outputs for N frames of a model that takes exactly `size`; the last piece is filled up."""
    parts = []
    for start in range(0, len(frames), size):
        piece = frames[start : start + size]
        missing = size - len(piece)
        if missing:
            piece = np.concatenate([piece, np.repeat(piece[-1:], missing, axis=0)])
        parts.append([output[: size - missing] for output in run(piece)])
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def give_back_freed(loaded_bytes: int = _WORTH_BYTES) -> None:
    """Return freed memory to the system, where the C library can (glibc), after loading so many bytes.

    Loading one frees several copies of its weights, which glibc keeps for later: after a 45 MB model 100 MB
    stay in use that nobody needs until the next one is loaded. What a small one leaves is not worth the
    millisecond for which whoever scores frames may wait for memory.
    """
    if loaded_bytes < _WORTH_BYTES:
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def keep_heap_small() -> None:
    """Let large pieces of memory go back to the system one by one, where the C library can (glibc).

    A piece of the size of a model lies alone, and leaves with its owner. But glibc takes the first such piece
    that is freed for a sign that pieces of its size are usual, and puts the next ones on its heap, where
    small ones that stay keep them from leaving: 50 MB of 200 with MobileNetV2 after four builds. Arrays of
    the size of a frame stay on the heap, which is quicker.
    """
    options = getattr(ctypes.CDLL(None), "mallopt", None)
    if options is not None:
        options(_M_MMAP_THRESHOLD, _ALONE_BYTES)
        options(_M_TRIM_THRESHOLD, _TRIM_BYTES)
