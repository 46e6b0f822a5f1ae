"""What a device shows of itself: `status.json` in its state folder, replaced as a whole.

On a full disk it is overwritten where it lies, as long as it fits.

Written by the daemon, read by `edgeadapt device status` and by tests. For people and dashboards; nothing
on the device reads it back to decide anything.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt.wire import LedgerLine, TrialCheck, VerdictCounts

STATUS_NAME = "status.json"


class DeviceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a device; counters are since this process started.

    Attributes:
        time_s: wall clock, seconds since 1970.
        state_dir: the device's state folder, absolute.
        mono_s: the same moment on the clock that counts from the machine's start; it never jumps.
        version: of edgeadapt.
        every_s: seconds between two of these, while the device runs.
        pid: the daemon's process id.
        running: False when this was written as the last thing before a clean end. A process that was
            killed leaves True behind; `io.lock.is_locked` knows better.
        failure: the error that ended the process or kept it from starting, "" for none.
        health: "ok", "degraded", "failed" or "stopped" (`service.health` says what that means).
        reasons: what keeps it from being "ok", the worst first.
        ready: a generation can score frames.
        bundle: digest of the installed bundle.
        runtime: the engine in use.
        provider: what the engine computes with.
        fallback: why that is not what was asked for, "" when it is.
        output_trouble: what is odd about the model's outputs, "" when they look like logits.
        statistics: the device re-estimates its norm statistics.
        source: state of the source.
        source_trouble: why it gives no frames, "" when it does or need not.
        skipped: frames of the source that could not be used.
        dropped: frames of the source that were overtaken by newer ones.
        frames: frames scored.
        frame_age_s: since the last frame was scored, or since the start.
        frames_per_second: over the last moments.
        latency_ms: of the model, smoothed.
        segment: number of the running stretch of one domain.
        generation: what scores now.
        patch: serial and cohort of the running patch, in words; "" for the base.
        generation_age_s: since its session took over.
        swaps: sessions that took over from another one.
        swap_gap_ms: the longest pause between two frames from the last build's begin to its first frame.
        reverts: patches that were taken back.
        trial: the patch that is built for trial or on trial, in words; "" for none.
        evidence: what was seen of the patch on trial so far, a line for each check.
        drift: the domain's distance from the source, in source standard deviations.
        drift_p_value: of "these are the source's frames", since the segment began, whenever one looks.
        verdicts: frames by verdict.
        window: the verdict about the last window of frames, in words; "" before the first.
        suspects: frames that wait until the model has adapted, to be scored again.
        covariate: of those that were, how many were normal then.
        clusters: kinds of strange things in quarantine.
        questions: asked about them.
        flagged: frames chosen for upload.
        uploaded: samples that the server has acknowledged.
        outbox_rows: messages that are to be sent, and that the server has not acknowledged.
        outbox_held: samples beside them that wait until the server wants them.
        bytes_up: topics and payloads that went out on a connection, resent ones included.
        bytes_down: what came down on the link, protocol overhead included.
        ledger: what each purpose has cost on the link, protocol overhead included.
        budget_left_bytes: what the uplink may spend at once.
        connected: a broker is there.
        broker: where the broker is.
        trouble: why there is no broker, "" when there is one or none is wanted.
        refusals: the last refused patches, with reasons.
        protocol_trouble: why nothing can be sent to the cloud: it speaks other versions; "" when it does not.
        quarantined: messages that were not ours.
        updates: re-estimations of the norm statistics.
        rerouted: frames that were scored by another patch than the running one, as each looked itself.
        warm_sessions: sessions that are kept for them.
        recovered: why the base runs in place of what ran before; "" when it does not.
        builds: generations that were asked for.
        storage_errors: writes that failed (full, read-only or broken disk).
        bundle_trouble: why a copy of an earlier bundle runs and not the installed one; "" when that does.
        storage_trouble: what is kept in memory because the disk refuses it, and why; "" for nothing.
        storage_error_age_s: since the last of them; -1 for none.
        http: address of /healthz and /metrics, "" for none.
        http_trouble: why there is none, "" when there is one or none is wanted.
        note: the last thing worth telling.
    """

    time_s: float
    pid: int
    state_dir: str = ""
    mono_s: float = 0.0
    every_s: float = 1.0
    version: str = ""
    running: bool = False
    failure: str = ""
    health: Literal["ok", "degraded", "failed", "stopped"] = "ok"
    reasons: tuple[str, ...] = ()
    ready: bool = False
    bundle: str = ""
    runtime: str = ""
    provider: str = ""
    fallback: str = ""
    output_trouble: str = ""
    statistics: bool = False
    source: str = ""
    source_trouble: str = ""
    skipped: int = 0
    dropped: int = 0
    frames: int = 0
    frame_age_s: float = 0.0
    frames_per_second: float = 0.0
    latency_ms: float = 0.0
    segment: int = 0
    generation: str = ""
    generation_age_s: float = 0.0
    swaps: int = 0
    swap_gap_ms: float = 0.0
    reverts: int = 0
    patch: str = ""
    trial: str = ""
    evidence: tuple[TrialCheck, ...] = ()
    drift: float = 0.0
    drift_p_value: float = 1.0
    verdicts: VerdictCounts = VerdictCounts()
    window: str = ""
    suspects: int = 0
    covariate: int = 0
    clusters: int = 0
    questions: int = 0
    flagged: int = 0
    uploaded: int = 0
    outbox_rows: int = 0
    outbox_held: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    ledger: tuple[LedgerLine, ...] = ()
    budget_left_bytes: int = 0
    connected: bool = False
    broker: str = ""
    trouble: str = ""
    refusals: tuple[str, ...] = ()
    protocol_trouble: str = ""
    quarantined: int = 0
    updates: int = 0
    rerouted: int = 0
    warm_sessions: int = 0
    recovered: str = ""
    builds: int = 0
    storage_errors: int = 0
    storage_trouble: str = ""
    bundle_trouble: str = ""
    storage_error_age_s: float = -1.0
    http: str = ""
    http_trouble: str = ""
    note: str = ""


def write_status(state_dir: Path, status: DeviceStatus) -> None:
    """Replace `status.json`; readers see the old one or the new one. Raises TransportError."""
    path = state_dir / STATUS_NAME
    temporary = path.with_name(STATUS_NAME + ".tmp")
    data = msgspec.json.format(msgspec.json.encode(status), indent=1) + b"\n"
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not _overwrite(path, temporary, data):
            raise TransportError(f"{path} cannot be written: {error}") from error


def _overwrite(path: Path, temporary: Path, data: bytes) -> bool:
    """Write over a file in the room that it has; False when it has too little, or is not there."""
    with suppress(OSError):
        temporary.unlink(missing_ok=True)
        with path.open("r+b", buffering=0) as file:
            found = os.fstat(file.fileno())
            if len(data) <= max(found.st_size, 512 * found.st_blocks):
                return file.write(data.ljust(found.st_size)) == max(len(data), found.st_size)
    return False


def read_status(state_dir: Path) -> DeviceStatus:
    """Parse `status.json`; raises ConfigError when there is none or it is something else."""
    path = state_dir / STATUS_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path.absolute()} is missing: no device has run with this state_dir yet"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    try:
        return msgspec.json.decode(data, type=DeviceStatus)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no device status: {error}") from error
