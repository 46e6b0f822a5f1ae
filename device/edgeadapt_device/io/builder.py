"""A worker thread that builds sessions one after the other, beside the running one.

Whatever goes wrong in a build becomes an event: a thread that died would leave the core waiting for an
answer for ever. When to build, and what to do without, is the core's business.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from edgeadapt.bundle import SlotValues
from edgeadapt.errors import EdgeAdaptError
from edgeadapt_device.core.events import GenerationFailed, GenerationReady
from edgeadapt_device.io.engines import Engine, EngineReport, Session

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
