"""What an engine is: slot values in, warm sessions out.

A generation is a session of its own, built from rewritten model bytes and warmed up before it is handed out;
a session never changes. Frames go in as a source gives them: [N, H, W, C] uint8 for an image model,
[N, *shape] float32 for a model of arrays. When to build and when to switch is the core's business; how a
runtime does it is in the module of each engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import msgspec
import numpy.typing as npt

from edgeadapt.bundle import SlotValues
from edgeadapt.tensors import FloatArray

Frames: TypeAlias = npt.NDArray[Any]
"""[N, H, W, C] uint8, or [N, *shape] float32."""

SCORES = ("logits", "embedding")
MOMENTS = ("probe_mean", "probe_mean_square")


class Scores(msgspec.Struct, frozen=True):
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
    """One generation, ready to score. Any thread may use it; runs happen one after another."""

    def run(self, images: Frames, *, probe: bool) -> Scores:
        """Score N frames, with their moments when `probe`.

        The moments are always those of the norm layers' inputs, whatever the artifact measures.

        Raises:
            TransportError: the frames have another shape or type than the model takes, or the runtime fails.
        """
        ...


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What runs, and what was asked for and does not: for the log and the status.

    Attributes:
        runtime: name and version, such as "onnxruntime 1.32.0".
        precision: of the artifact, such as "int8".
        device: what computes, such as "CUDAExecutionProvider" or "XNNPACK".
        refused: for each thing that was asked for in vain, one sentence that says what and why.
    """

    runtime: str
    precision: str
    device: str
    refused: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All of it in one line."""
        return "; ".join((f"{self.runtime}, {self.precision}, on {self.device}", *self.refused))


class Engine(Protocol):
    """Makes sessions for one artifact of one bundle."""

    @property
    def report(self) -> EngineReport:
        """What the newest session runs on; before the first one, what is hoped for."""
        ...

    def build(self, values: SlotValues) -> Session:
        """A warm session with `values` written over the base.

        Raises:
            BundleError: the model does not load, does not run, or does not fit the manifest.
            ConfigError: the runtime's library does not work on this machine.
        """
        ...
