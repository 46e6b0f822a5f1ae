"""What the daemon tells its host: log lines, `status.json`, and that it is alive.

It only looks at the core and counts; nothing here decides anything. Whatever a disk refuses here is said,
and the device goes on.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from edgeadapt.clock import Instant
from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_device.core import DeviceCore
from edgeadapt_device.core.adapt.trial import TrialState
from edgeadapt_device.io.builder import Builder
from edgeadapt_device.io.link import Link
from edgeadapt_device.performer import Performer
from edgeadapt_device.service.notify import Notifier
from edgeadapt_device.status import DeviceStatus, read_status, write_status

log = logging.getLogger("edgeadapt.device")
_REPEAT_S = 30.0


@dataclass(frozen=True, slots=True)
class Watched:
    """The parts of a daemon that have something to show."""

    core: DeviceCore
    performer: Performer
    builder: Builder
    link: Link


class Reporter:
    """The voice of one daemon. Used from the thread that owns the core.

    Attributes:
        storage_errors: writes that failed, besides those that the performer counts.
    """

    def __init__(self, state_dir: Path, *, every_s: float, notifier: Notifier | None = None) -> None:
        """Write to `state_dir`, every `every_s` seconds; tell a service manager, if there is one."""
        self._state_dir, self._every_s = state_dir, every_s
        self._notifier = notifier if notifier is not None else Notifier()
        self._note = ""
        self._said: dict[str, tuple[float, int]] = {}
        self._recent: tuple[float, int] = (time.monotonic(), 0)
        self._fps = 0.0
        self._due_s = 0.0
        self._kept: DeviceStatus | None = None
        self.storage_errors = 0

    def tell(self, text: str) -> None:
        """Log a line, and make it the status's note; one that repeats is logged twice a minute at most."""
        self._note = text
        now_s = time.monotonic()
        since_s, repeats = self._said.get(text, (-_REPEAT_S, 0))
        if now_s - since_s < _REPEAT_S:
            self._said[text] = (since_s, repeats + 1)
            return
        self._said = {t: seen for t, seen in self._said.items() if now_s - seen[0] < _REPEAT_S}
        self._said[text] = (now_s, 0)
        log.info("%s%s", text, f" ({repeats} times more since)" if repeats else "")

    def storage_failed(self, error: TransportError) -> None:
        """A write of the daemon's own failed."""
        self.storage_errors += 1
        self.tell(f"storage: {error}")

    def keep_last(self) -> None:
        """Nothing will be scored: go on showing the counts of the process before."""
        try:
            self._kept = read_status(self._state_dir)
        except ConfigError:
            self._kept = None

    def write_if_due(self, watched: Watched, now: Instant) -> None:
        """The loop came round: say so, and write the status when it is time to."""
        self._notifier.alive(now.mono_s)
        if now.mono_s >= self._due_s:
            self._due_s = now.mono_s + self._every_s
            self.write(watched, now, running=True)

    def write_last(self, watched: Watched) -> None:
        """The end: nothing runs any more."""
        self.write(watched, Instant(time.monotonic(), time.time()), running=False)

    def write(self, watched: Watched, now: Instant, *, running: bool) -> None:
        """Write the status; `running` is False in the last one."""
        core, link = watched.core, watched.link
        view = core.view(now)
        since_s, frames = self._recent
        if now.mono_s - since_s >= 1.0:
            self._fps = (view.frames - frames) / (now.mono_s - since_s)
            self._recent = (now.mono_s, view.frames)
        counts = asdict(view)
        counts.update(
            patch=_patch(core),
            trial=_trial(core),
            bytes_up=link.sent_bytes,
            connected=view.connected and running,
        )
        status = DeviceStatus(
            time_s=now.wall_s,
            pid=os.getpid(),
            running=running,
            frames_per_second=self._fps,
            builds=watched.builder.builds,
            storage_errors=watched.performer.storage_errors + self.storage_errors,
            trouble=link.trouble,
            note=self._note,
            **counts,
        )
        if self._kept is not None:
            status = _over(self._kept, status)
        self._notifier.status(_in_short(status))
        try:
            write_status(self._state_dir, status)
        except TransportError as error:
            self.storage_failed(error)


def _over(kept: DeviceStatus, status: DeviceStatus) -> DeviceStatus:
    """The counts of a former process, with what is true now."""
    return msgspec.structs.replace(
        kept,
        time_s=status.time_s,
        pid=status.pid,
        running=status.running,
        connected=status.connected,
        trouble=status.trouble,
        outbox_rows=status.outbox_rows,
        note=status.note,
    )


def _in_short(status: DeviceStatus) -> str:
    """One line; it says nothing that changes with every frame."""
    broker = "broker connected" if status.connected else "no broker"
    trial = f", {status.trial.split(',')[0]} on trial" if status.trial else ""
    return f"generation {status.generation}{trial}, segment {status.segment}, {broker}"


def _patch(core: DeviceCore) -> str:
    entry = core.adaptation.running.entry
    if entry is None or not entry.patch.values:
        return ""
    return f"{entry.patch.header.serial} of {entry.patch.header.cohort}"


def _trial(core: DeviceCore) -> str:
    trial = core.adaptation.trial
    name = f"patch {trial.candidate.serial} of {trial.candidate.cohort}"
    if trial.state is TrialState.BUILDING:
        return f"{name} is being built"
    return f"{name}, {trial.frames} frames watched" if trial.state is TrialState.RUNNING else ""
