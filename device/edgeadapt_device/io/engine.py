"""Inference: slot values in, sessions out, with ONNX Runtime on the CPU.

A generation is a session of its own, built from rewritten model bytes and warmed up before it is
handed out; a session never changes. Frames go in as the source gives them (uint8 NHWC) and become
float32 NCHW in [0, 1] here. When to build and when to switch is the core's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_state

from edgeadapt.bundle import Bundle, SlotValues
from edgeadapt.errors import BundleError, ConfigError, TransportError
from edgeadapt.tensors import FloatArray
from edgeadapt_device.core.events import Image

RUNTIME = "onnxruntime"
_SCORES = ["logits", "embedding"]
_MOMENTS = ["probe_mean", "probe_mean_square"]
# The runtime's exceptions have no base of their own, and older releases lack some of them.
_ERROR_NAMES = (
    "EPFail",
    "EngineError",
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "NoModel",
    "NoSuchFile",
    "NotFound",
    "NotImplemented",
    "RuntimeException",
)
_RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    MemoryError,
    *(getattr(runtime_state, name) for name in _ERROR_NAMES if hasattr(runtime_state, name)),
)


@dataclass(frozen=True, slots=True)
class Scores:
    """What the model says about N frames; all float32.

    Attributes:
        logits: [N, K].
        embedding: [N, D].
        mean: [N, P] mean of every norm layer's input per frame; None when not probed.
        mean_square: [N, P] mean square, likewise.
    """

    logits: FloatArray
    embedding: FloatArray
    mean: FloatArray | None = None
    mean_square: FloatArray | None = None


class Session(Protocol):
    """One generation, ready to score."""

    def run(self, images: Image, *, probe: bool) -> Scores:
        """Score [N, H, W, C] uint8 frames, with their moments when `probe`; raises TransportError."""
        ...


class Engine(Protocol):
    """Makes sessions for one bundle."""

    def build(self, values: SlotValues) -> Session:
        """A warm session with `values` written over the base; raises BundleError."""
        ...


def check_shape(bundle: Bundle, shape: tuple[int, int, int]) -> None:
    """Raises ConfigError unless frames of `shape` (H, W, C) are what the bundle's model takes."""
    spec = bundle.manifest.input
    wanted = (spec.height, spec.width, spec.channels)
    if tuple(shape) != wanted:
        raise ConfigError(
            f"the source gives frames of (height, width, channels) {tuple(shape)}, but bundle "
            f"{bundle.manifest.name} takes {wanted}: resize the frames, or compile a model for theirs"
        )


class OnnxSession:
    """A fast session and a probe session, or one probe session for both."""

    def __init__(self, input_name: str, fast: Any, probe: Any) -> None:
        """Wrap onnxruntime.InferenceSession objects; `fast` may be the same one as `probe`."""
        self._input_name = input_name
        self._fast = fast
        self._probe = probe

    def run(self, images: Image, *, probe: bool) -> Scores:
        """Score [N, H, W, C] uint8 frames; raises TransportError when the runtime fails."""
        session = self._probe if probe else self._fast
        try:
            batch = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)
            batch /= np.float32(255)
            outputs = session.run(_SCORES + _MOMENTS if probe else _SCORES, {self._input_name: batch})
        except _RUNTIME_ERRORS as error:
            raise TransportError(f"inference failed: {str(error) or type(error).__name__}") from error
        return Scores(*(np.asarray(output, dtype=np.float32) for output in outputs))


class OnnxEngine:
    """Sessions of one bundle on the CPU."""

    def __init__(self, bundle: Bundle, *, threads: int = 1, single_session: bool = False) -> None:
        """Prepare; raises BundleError when the bundle has no artifact for ONNX Runtime."""
        self._artifact = bundle.artifact(RUNTIME)
        self._bundle = bundle
        self._threads = threads
        self._single_session = single_session

    def build(self, values: SlotValues) -> OnnxSession:
        """Build and warm up; raises BundleError when the model does not load or does not fit the manifest."""
        probe = self._load(self._bundle.probe_model(self._artifact, values))
        fast = probe if self._single_session else self._load(self._bundle.fast_model(self._artifact, values))
        session = OnnxSession(self._bundle.manifest.input.name, fast, probe)
        self._warm_up(session)
        return session

    def _load(self, model: bytes) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except _RUNTIME_ERRORS as error:
            raise BundleError(f"bundle {self._bundle.manifest.name}: model does not load: {error}") from error

    def _warm_up(self, session: OnnxSession) -> None:
        manifest = self._bundle.manifest
        zeros = np.zeros((1, manifest.input.height, manifest.input.width, manifest.input.channels), np.uint8)
        try:
            fast, probed = session.run(zeros, probe=False), session.run(zeros, probe=True)
        except TransportError as error:
            raise BundleError(f"bundle {manifest.name}: model does not run: {error}") from error
        for scores in (fast, probed):
            _expect(manifest.name, "logits", scores.logits, len(manifest.classes))
            _expect(manifest.name, "embedding", scores.embedding, manifest.embedding_dim)
        for name, moments in zip(_MOMENTS, (probed.mean, probed.mean_square), strict=True):
            _expect(manifest.name, name, moments, manifest.probe_channels)


def _expect(bundle: str, name: str, value: FloatArray | None, width: int) -> None:
    if value is None or value.shape != (1, width):
        shape = None if value is None else value.shape
        raise BundleError(f"bundle {bundle}: output {name} has shape {shape}, the manifest says (1, {width})")
