"""Whether a device is well, and if not, why: one judgement for `status`, `/healthz` and the journal.

    failed      frames are not being scored, or nothing is there to score them
    degraded    frames are scored, but something that was wanted is not there
    ok          all is as it was asked for
    stopped     no process runs, and none should: the source ended, or it was told to stop

A pure function of what the device shows of itself. Not here: what to do about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeadapt_device.status import DeviceStatus

State = Literal["ok", "degraded", "failed", "stopped"]

# 2024-01-01: no release of this program ran before, so a clock that says so was never set.
EARLIEST_WALL_S = 1_704_067_200.0
# A write that failed is a reason for this long.
_STORAGE_S = 60.0
# What a source says when it gives no frames, and that is not as it should be.
_SOURCE_FAULTS = frozenset({"stalled", "lost", "misfit"})
# A loop that comes round shows itself every second.
SILENT_S = 15.0


@dataclass(frozen=True, slots=True)
class Health:
    """A state, and what keeps it from being "ok", the worst first."""

    state: State
    reasons: tuple[str, ...]


def judge(status: DeviceStatus, *, stalled_after_s: float) -> Health:
    """Judge a running device by its status.

    Args:
        status: what it shows; its `health` and `reasons` are not looked at.
        stalled_after_s: no frame for longer than this is a failure, unless the source has none; 0: never.
    """
    failures, faults = _failures(status, stalled_after_s), _faults(status)
    state: State = "failed" if failures else "degraded" if faults else "ok"
    return Health(state, (*failures, *faults))


def seen_from_outside(status: DeviceStatus, *, runs: bool, silent_s: float, holder: int = 0) -> Health:
    """What another process or thread may believe of a status: it is only as good as it is new.

    Args:
        status: the last one, with the device's own judgement.
        runs: its process is there.
        silent_s: how long ago the loop last came round, by a clock that does not jump.
        holder: the process that has the state folder; 0 when that is not known.
    """
    if not runs:
        return _of_ended(status)
    if holder not in (0, status.pid) or not status.running:
        return Health(
            "failed", ("it is starting, or its disk is full or read-only: it has shown nothing yet",)
        )
    if silent_s > SILENT_S:
        reason = f"the device has not come round for {silent_s:.0f} s: it hangs, or its disk does"
        return Health("failed", (reason, *status.reasons))
    return Health(status.health, status.reasons)


def _of_ended(status: DeviceStatus) -> Health:
    if status.running:
        why = f"process {status.pid} ended without a goodbye"
        return Health("failed", (f"the device does not run: {why}",))
    if status.failure:
        return Health("failed", (f"the device does not run: {status.failure}",))
    why = "its source is at its end" if status.source == "ended" else "it was told to stop"
    return Health("stopped", (why, *status.reasons))


def _failures(status: DeviceStatus, stalled_after_s: float) -> tuple[str, ...]:
    if not status.ready:
        return ("the first session is being built",)
    if status.source in _SOURCE_FAULTS:
        return (f"the source is {status.source}: {status.source_trouble}",)
    # A device in somebody's own loop has no source, and gets its frames when they come.
    expected = status.source in ("starting", "running")
    if stalled_after_s > 0.0 and expected and status.frame_age_s > stalled_after_s:
        return (f"no frame was scored for {status.frame_age_s:.0f} s",)
    return ()


def _faults(status: DeviceStatus) -> tuple[str, ...]:
    reasons = []
    if status.bundle_trouble:
        reasons.append(status.bundle_trouble)
    if status.trouble and not status.connected:
        reasons.append(status.trouble)
    if status.protocol_trouble:
        reasons.append(status.protocol_trouble)
    if status.recovered:
        reasons.append(f"the base runs in place of what ran before: {status.recovered}")
    if status.output_trouble:
        fix = "without its last activation" if "not logits" in status.output_trouble else "from whole weights"
        reasons.append(f"{status.output_trouble}: compile the model {fix}")
    if status.source_trouble and status.source not in _SOURCE_FAULTS:
        reasons.append(f"the source is {status.source}: {status.source_trouble}")
    if status.fallback:
        reasons.append(status.fallback)
    if status.storage_trouble:
        reasons.append(status.storage_trouble)
    if 0.0 <= status.storage_error_age_s <= _STORAGE_S:
        reasons.append(
            f"a write failed {status.storage_error_age_s:.0f} s ago; {status.storage_errors} so far"
        )
    if status.time_s < EARLIEST_WALL_S:
        reasons.append("the clock was never set: patches are judged by a wrong time")
    if status.http_trouble:
        reasons.append(status.http_trouble)
    return tuple(reasons)
