"""What a core tells its driver about the next frame, and people about itself. Values only."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from edgeadapt.wire import LedgerLine, Metric, TrialCheck, VerdictCounts


class FramePlan(msgspec.Struct, frozen=True):
    """How to score the next frame.

    Attributes:
        token: the generation to use.
        probe: also return the moments of the norm layers.
        previous: generation to compare with on trial, or None.
    """

    token: int
    probe: bool
    previous: int | None


@dataclass(frozen=True, slots=True)
class CoreView:
    """What a person may want to see of a device; counts since start; `evidence` of a running trial."""

    frames: int
    flagged: int
    uploaded: int
    segment: int
    generation: str
    trial: str
    evidence: tuple[TrialCheck, ...]
    drift: float
    drift_p_value: float
    outbox_rows: int
    outbox_held: int
    bytes_up: int
    bytes_down: int
    ledger: tuple[LedgerLine, ...]
    budget_left_bytes: int
    connected: bool
    refusals: tuple[str, ...]
    quarantined: int
    updates: int
    recovered: str
    rerouted: int
    warm_sessions: int
    latency_ms: float
    output_trouble: str
    protocol_trouble: str


def metric_of(view: CoreView, epoch: int, verdicts: VerdictCounts) -> Metric:
    """The counters as a message; purposes that have cost nothing are left out."""
    return Metric(
        epoch=epoch,
        frames=view.frames,
        flagged=view.flagged,
        uploaded=view.uploaded,
        bytes_up=view.bytes_up,
        bytes_down=view.bytes_down,
        budget_left_bytes=view.budget_left_bytes,
        latency_ms=view.latency_ms,
        generation=view.generation,
        verdicts=verdicts,
        ledger=tuple(line for line in view.ledger if line.messages),
    )
