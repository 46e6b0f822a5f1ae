"""One look at a device's parts: from what each of them counts to the status that people see."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgeadapt import __version__
from edgeadapt.clock import Instant
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.core import DeviceCore
from edgeadapt_device.core.adapt.trial import TrialState
from edgeadapt_device.io.builder import Builder
from edgeadapt_device.io.link import Link
from edgeadapt_device.performer import Performer
from edgeadapt_device.service.health import judge
from edgeadapt_device.status import DeviceStatus

if TYPE_CHECKING:
    # Loading it would load every source, and the libraries that they need.
    from edgeadapt_device.io.sources.base import SourceReport

# A source slower than this many frames in the patience for one is given as many paces instead.
_PACES = 3.0


@dataclass(frozen=True, slots=True)
class Watched:
    """The parts of a device that have something to show."""

    config: DeviceConfig
    bundle: str
    core: DeviceCore
    performer: Performer
    builder: Builder
    link: Link
    source: Callable[[], SourceReport] | None = None
    storage: Callable[[], str] = str
    bundle_trouble: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """What the reporter itself has to show: failed writes of its own, the monitor, the last note."""

    storage_errors: int = 0
    http: str = ""
    http_trouble: str = ""
    note: str = ""


class Looker:
    """Looks at a device again and again; keeps what only shows over time."""

    def __init__(self) -> None:
        self._since_s = time.monotonic()
        self._recent: tuple[float, int] = (self._since_s, 0)
        self._fps = 0.0
        self._storage: tuple[int, float] = (0, 0.0)

    def look(self, watched: Watched, now: Instant, said: Said, *, running: bool) -> DeviceStatus:
        """What the device shows now, judged; `running` is False at its end."""
        core, link, swaps = watched.core, watched.link, watched.performer.swaps
        view = core.view(now)
        self._measure(view.frames, now)
        errors = watched.performer.storage_errors + said.storage_errors
        counts = asdict(view)
        counts.update(
            patch=_patch(core),
            trial=_trial(core),
            verdicts=core.flagging.counts,
            window=core.flagging.window.text if core.flagging.window is not None else "",
            suspects=core.flagging.suspects,
            covariate=core.flagging.covariate,
            clusters=len(core.flagging.quarantine),
            questions=core.flagging.quarantine.questions,
            bytes_up=link.sent_bytes,
            connected=view.connected and running,
        )
        taken_over_s = swaps.since_s if swaps.since_s is not None else self._since_s
        source = watched.source() if watched.source is not None else None
        frame_s = swaps.frame_s if swaps.frame_s is not None else taken_over_s
        engine = watched.builder.report
        status = DeviceStatus(
            time_s=now.wall_s,
            mono_s=now.mono_s,
            every_s=watched.config.output.status_every_s,
            version=__version__,
            pid=os.getpid(),
            state_dir=str(Path(watched.config.device.state_dir).absolute()),
            running=running,
            ready=core.ready,
            bundle=watched.bundle,
            runtime=f"{engine.runtime} {engine.precision}",
            provider=engine.device,
            fallback="; ".join(engine.refused),
            statistics=watched.config.statistics.enabled,
            source=source.state.value if source is not None else "",
            source_trouble=source.trouble if source is not None else "",
            skipped=source.skipped if source is not None else 0,
            dropped=source.dropped if source is not None else 0,
            frames_per_second=self._fps,
            frame_age_s=max(now.mono_s - frame_s, 0.0),
            generation_age_s=max(now.mono_s - taken_over_s, 0.0),
            swaps=swaps.count,
            swap_gap_ms=swaps.gap_ms,
            reverts=watched.performer.reverts,
            builds=watched.builder.builds,
            storage_errors=errors,
            storage_trouble=watched.storage(),
            bundle_trouble=watched.bundle_trouble,
            storage_error_age_s=self._storage_age_s(errors, now),
            broker=link.where,
            trouble=link.trouble,
            http=said.http if running else "",
            http_trouble=said.http_trouble,
            note=said.note,
            **counts,
        )
        return judged(status, watched.config)

    def _measure(self, frames: int, now: Instant) -> None:
        since_s, before = self._recent
        if now.mono_s - since_s >= 1.0:
            self._fps = (frames - before) / (now.mono_s - since_s)
            self._recent = (now.mono_s, frames)

    def _storage_age_s(self, errors: int, now: Instant) -> float:
        if errors != self._storage[0]:
            self._storage = (errors, now.mono_s)
        return now.mono_s - self._storage[1] if errors else -1.0


def judged(status: DeviceStatus, config: DeviceConfig) -> DeviceStatus:
    """The status with its health."""
    patience_s, pace = config.output.stalled_after_s, config.source.frames_per_second
    if patience_s > 0.0 and pace > 0.0:
        patience_s = max(patience_s, _PACES / pace)
    health = judge(status, stalled_after_s=patience_s)
    return msgspec.structs.replace(status, health=health.state, reasons=health.reasons)


def over(kept: DeviceStatus, status: DeviceStatus) -> DeviceStatus:
    """The counts of a former process, with what is true now."""
    return msgspec.structs.replace(
        kept,
        time_s=status.time_s,
        mono_s=status.mono_s,
        every_s=status.every_s,
        version=status.version,
        pid=status.pid,
        state_dir=status.state_dir,
        running=status.running,
        failure=status.failure,
        health=status.health,
        reasons=status.reasons,
        source=status.source,
        source_trouble=status.source_trouble,
        connected=status.connected,
        trouble=status.trouble,
        outbox_rows=status.outbox_rows,
        outbox_held=status.outbox_held,
        http=status.http,
        http_trouble=status.http_trouble,
        note=status.note,
    )


def in_short(status: DeviceStatus) -> str:
    """One line; it says nothing that changes with every frame."""
    broker = "broker connected" if status.connected else "no broker"
    trial = f", {status.trial.split(',')[0]} on trial" if status.trial else ""
    well = f"; {status.health}: {status.reasons[0]}" if status.reasons else ""
    return f"generation {status.generation}{trial}, segment {status.segment}, {broker}{well}"


def _patch(core: DeviceCore) -> str:
    entry = core.adaptation.switching.running.entry
    if entry is None or not entry.patch.values:
        return ""
    return f"{entry.patch.header.serial} of {entry.patch.header.cohort}"


def _trial(core: DeviceCore) -> str:
    trial = core.adaptation.patches.trial
    name = f"patch {trial.candidate.serial} of {trial.candidate.cohort}"
    if trial.state is TrialState.BUILDING:
        return f"{name} is being built"
    if trial.state is TrialState.SETTLING:
        return f"{name}, its statistics settle"
    return f"{name}, {trial.frames} frames watched" if trial.state is TrialState.RUNNING else ""
