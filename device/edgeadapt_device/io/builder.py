"""A worker thread that builds sessions one after the other, beside the running one.

Whatever goes wrong in a build becomes an event: a thread that died would leave the core waiting for an
answer for ever. When to build, and what to do without, is the core's business.

Threads take turns at the interpreter every 5 ms, which is twenty frames of a small model: during a build they
do so more often. Once, after the first session, what starting up has freed is given back to the system.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeadapt.bundle import SlotValues
from edgeadapt.errors import EdgeAdaptError
from edgeadapt_device.core.events import GenerationFailed, GenerationReady
from edgeadapt_device.io.engines import Engine, EngineReport, Session
from edgeadapt_device.io.engines.prepare import give_back_freed

# Seconds for which a thread may keep the interpreter during a build.
_TURN_S = 0.00005

Done = Callable[[GenerationReady | GenerationFailed, Session | None], None]


class Builder(threading.Thread):
    """Answers each request by `done(event, session)`, called from this thread.

    `tell` hears, in this thread too, what the first session runs on, and again when that changes.

    Attributes:
        builds: sessions that were asked for.
    """

    def __init__(self, engine: Engine, done: Done, tell: Callable[[str], None] | None = None) -> None:
        super().__init__(name="builder", daemon=True)
        self._engine, self._done, self._tell = engine, done, tell
        self._told = ""
        self._trimmed = False
        self._requests: queue.SimpleQueue[tuple[int, SlotValues] | None] = queue.SimpleQueue()
        self.builds = 0

    def request(self, token: int, values: SlotValues) -> None:
        """Ask for a session; the answer comes as an event."""
        self.builds += 1
        self._requests.put((token, values))

    @property
    def report(self) -> EngineReport:
        """What the engine runs on."""
        return self._engine.report

    def stop(self, timeout_s: float) -> None:
        """End after the build in hand, and wait for that: a runtime does not like to be torn down in one."""
        self._requests.put(None)
        if self.is_alive():
            self.join(timeout_s)

    def run(self) -> None:
        """Build until told to stop."""
        while (request := self._requests.get()) is not None:
            token, values = request
            try:
                with _short_turns():
                    session = self._engine.build(values)
            except EdgeAdaptError as error:
                self._done(GenerationFailed(token, str(error)), None)
            except Exception as error:
                self._done(GenerationFailed(token, f"{type(error).__name__}: {error}"), None)
            else:
                self._say_engine()
                self._trim_once()
                self._done(GenerationReady(token), session)

    def _trim_once(self) -> None:
        if not self._trimmed:
            self._trimmed = True
            give_back_freed()

    def _say_engine(self) -> None:
        text = self._engine.report.text
        if self._tell is not None and text != self._told:
            self._told = text
            self._tell(f"engine: {text}")


@contextmanager
def _short_turns() -> Iterator[None]:
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(min(_TURN_S, before_s))
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)
