"""A worker thread that builds sessions one after the other, beside the running one.

Whatever goes wrong in a build becomes an event: a thread that died would leave the core waiting for an
answer for ever. When to build, and what to do without, is the core's business.

Threads take turns at the interpreter every 5 ms, which is twenty frames of a small model: during a build they
do so more often. What was freed by starting up, by a build or with a session goes back to the system.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeadapt.bundle import SlotValues
from edgeadapt.errors import EdgeAdaptError
from edgeadapt_device.core.events import GenerationFailed, GenerationReady
from edgeadapt_device.io.engines import Engine, EngineReport, Session
from edgeadapt_device.io.engines.prepare import give_back_freed

# Seconds for which a thread may keep the interpreter during a build.
_TURN_S = 0.00005
# Seconds after the last build until what was freed goes back to the system.
_QUIET_S = 2.0
# Milliseconds to wait until nobody else holds a session that is retired.
_LETTING_GO = 100

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
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.builds = 0

    def request(self, token: int, values: SlotValues) -> None:
        """Ask for a session; the answer comes as an event."""
        self.builds += 1
        self._tasks.put(lambda: self._build(token, values))

    def retire(self, session: Session) -> None:
        """Let a session go that nobody uses any more: freeing a large one takes longer than a frame."""
        held = [session]

        def free() -> None:
            # Whoever gave it may hold on to it for a moment longer.
            for _ in range(_LETTING_GO):
                if sys.getrefcount(held[0]) <= 2:
                    break
                time.sleep(0.001)
            held.clear()
            give_back_freed()

        self._tasks.put(free)

    @property
    def report(self) -> EngineReport:
        """What the engine runs on."""
        return self._engine.report

    def stop(self, timeout_s: float) -> None:
        """End after the build in hand, and wait for that: a runtime does not like to be torn down in one."""
        self._tasks.put(None)
        if self.is_alive():
            self.join(timeout_s)

    def run(self) -> None:
        """Build until told to stop; when nothing was asked for a while, give back what was freed."""
        quiet_s: float | None = None
        while True:
            try:
                task = self._tasks.get(timeout=quiet_s)
            except queue.Empty:
                give_back_freed()
                quiet_s = None
                continue
            if task is None:
                return
            task()
            # What it held is let go before the next one comes.
            del task
            quiet_s = _QUIET_S

    def _build(self, token: int, values: SlotValues) -> None:
        try:
            with _short_turns():
                session = self._engine.build(values)
        except EdgeAdaptError as error:
            self._done(GenerationFailed(token, str(error)), None)
        except Exception as error:
            self._done(GenerationFailed(token, f"{type(error).__name__}: {error}"), None)
        else:
            self._say_engine()
            self._done(GenerationReady(token), session)

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
