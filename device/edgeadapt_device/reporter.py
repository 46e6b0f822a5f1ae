"""What the daemon tells its host: log lines, `status.json`, a monitor, and that it is alive.

It only looks at the core and counts; nothing here decides anything. Whatever a disk refuses here is said,
and the device goes on.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgeadapt import __version__
from edgeadapt.clock import Instant
from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_device.config import HttpSection
from edgeadapt_device.io.lock import StateLock
from edgeadapt_device.look import Looker, Said, Watched, in_short, over
from edgeadapt_device.service.logs import without_numbers
from edgeadapt_device.service.notify import Notifier
from edgeadapt_device.status import DeviceStatus, read_status, write_status

if TYPE_CHECKING:
    from edgeadapt_device.service.http import Monitor

log = logging.getLogger("edgeadapt.device")
_REPEAT_S = 30.0
# How often a monitor and a service manager are shown the device, at least; a disk may be spared.
_SHOW_S = 1.0


def leave_word(state_dir: Path, failure: str) -> None:
    """Put into the status what ended this process, or kept it from starting; the rest stays as it was.

    Another process that has the folder is left alone, and so is a disk that refuses.
    """
    with suppress(ConfigError, TransportError), StateLock(state_dir):
        try:
            last = read_status(state_dir)
        except ConfigError:
            last = DeviceStatus(time_s=0.0, pid=0)
        word = msgspec.structs.replace(
            last,
            time_s=time.time(),
            mono_s=time.monotonic(),
            version=__version__,
            pid=os.getpid(),
            running=False,
            ready=False,
            failure=failure,
            health="failed",
            reasons=(failure,),
            connected=False,
            http="",
        )
        write_status(state_dir, word)


class Reporter:
    """The voice of one daemon. Used from the thread that owns the core.

    Attributes:
        storage_errors: writes that failed, besides those that the performer counts.
    """

    def __init__(self, state_dir: Path, *, every_s: float, notifier: Notifier | None = None) -> None:
        """Write to `state_dir`, every `every_s` seconds; tell a service manager, if there is one."""
        self._state_dir, self._every_s = state_dir, every_s
        self._notifier = notifier if notifier is not None else Notifier()
        self._monitor: Monitor | None = None
        self._monitor_trouble = ""
        self._note = ""
        self._said: dict[str, tuple[float, int]] = {}
        self._looker = Looker()
        self._show_due_s = self._write_due_s = 0.0
        self._kept: DeviceStatus | None = None
        self._health = "ok"
        self._reasons: dict[str, str] = {}
        self.storage_errors = 0

    def serve(self, http: HttpSection, stack: ExitStack) -> None:
        """Answer monitors until `stack` is closed; a port that cannot be had is said, and ends nothing."""
        if not http.enabled:
            return
        from edgeadapt_device.service.http import Monitor

        try:
            self._monitor = Monitor(http.host, http.port)
        except OSError as error:
            self._monitor_trouble = (
                f"no /healthz and /metrics on {http.host}:{http.port}: {error.strerror or error}: "
                "set http.port to a free one, or http.enabled = false"
            )
            log.warning("%s", self._monitor_trouble)
        else:
            stack.callback(self._monitor.close)

    def tell(self, text: str, level: int = logging.INFO) -> None:
        """Log a line, and make it the status's note; one that repeats is logged twice a minute at most."""
        self._note = text
        now_s = time.monotonic()
        since_s, repeats = self._said.get(text, (-_REPEAT_S, 0))
        if now_s - since_s < _REPEAT_S:
            self._said[text] = (since_s, repeats + 1)
            return
        self._said = {t: seen for t, seen in self._said.items() if now_s - seen[0] < _REPEAT_S}
        self._said[text] = (now_s, 0)
        log.log(level, "%s%s", text, f" ({repeats} times more since)" if repeats else "")

    def storage_failed(self, error: TransportError) -> None:
        """A write of the daemon's own failed."""
        self.storage_errors += 1
        self.tell(f"storage: {error}", logging.WARNING)

    def keep_last(self) -> None:
        """Nothing will be scored: go on showing the counts of the process before."""
        try:
            self._kept = read_status(self._state_dir)
        except ConfigError:
            self._kept = None

    def write_if_due(self, watched: Watched, now: Instant) -> None:
        """The loop came round: say so, and show and write the status when it is time to."""
        self._notifier.alive(now.mono_s)
        if now.mono_s >= self._write_due_s:
            self.write(watched, now, running=True)
        elif now.mono_s >= self._show_due_s:
            self._show(watched, now, running=True)

    def write_last(self, watched: Watched) -> None:
        """The end: nothing runs any more."""
        self.write(watched, Instant(time.monotonic(), time.time()), running=False)

    def look(self, watched: Watched, now: Instant, *, running: bool) -> DeviceStatus:
        """The status as it is now, for a caller in this process."""
        return self._show(watched, now, running=running)

    def write(self, watched: Watched, now: Instant, *, running: bool) -> None:
        """Show and write the status; `running` is False in the last one."""
        self._write_due_s = now.mono_s + self._every_s
        status = self._show(watched, now, running=running)
        try:
            write_status(self._state_dir, status)
        except TransportError as error:
            self.storage_failed(error)

    def _show(self, watched: Watched, now: Instant, *, running: bool) -> DeviceStatus:
        self._show_due_s = now.mono_s + _SHOW_S
        address = self._monitor.address if self._monitor is not None else ""
        said = Said(self.storage_errors, address, self._monitor_trouble, self._note)
        status = self._looker.look(watched, now, said, running=running)
        if self._kept is not None:
            status = over(self._kept, status)
        self._tell_health(status)
        self._notifier.status(in_short(status))
        if self._monitor is not None:
            self._monitor.show(status)
        return status

    def _tell_health(self, status: DeviceStatus) -> None:
        """What is new about its health goes to the log, in lines that whoever looks for trouble filters for.

        Numbers in a reason do not make it a new one.
        """
        if not (status.running and status.ready):
            return
        known, self._reasons = self._reasons, {without_numbers(text): text for text in status.reasons}
        fresh = [text for wording, text in self._reasons.items() if wording not in known]
        if fresh or status.health != self._health:
            level = {"ok": logging.INFO, "failed": logging.ERROR}.get(status.health, logging.WARNING)
            why = f": {'; '.join(fresh)}" if fresh else ""
            log.log(level, "the device is %s%s", status.health, why)
        self._health = status.health
