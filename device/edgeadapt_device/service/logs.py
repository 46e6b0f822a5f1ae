"""Log lines for a terminal or for the journal, and a brake on those that repeat.

The journal keeps its own time and reads a line's level from `<N>` in front of it (sd-daemon(3)); a
terminal gets the time and the level in words. A line that says the same as one before, numbers apart,
may come a few times in a while; the rest are counted, and said with the next one that comes through.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

# syslog(3) severities.
_SEVERITY = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG_SEVERITY = 7
_EVERY_S = 30.0
_BURST = 10
_REMEMBERED = 256
_NUMBERS = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def without_numbers(text: str) -> str:
    """The wording of a line, which is the same for any numbers in it."""
    return _NUMBERS.sub("0", text)


class JournalFormatter(logging.Formatter):
    """`<N>message`, N being the severity; on every line, since the journal takes each as an entry."""

    def format(self, record: logging.LogRecord) -> str:
        """The text with its prefix."""
        severity = next((n for level, n in _SEVERITY if record.levelno >= level), _DEBUG_SEVERITY)
        lines = super().format(record).splitlines() or [""]
        return "\n".join(f"<{severity}>{line}" for line in lines)


class RepeatFilter(logging.Filter):
    """Lets `burst` lines of one wording through in `every_s` seconds; from any thread."""

    def __init__(
        self,
        *,
        every_s: float = _EVERY_S,
        burst: int = _BURST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._every_s, self._burst, self._clock = every_s, burst, clock
        self._lock = threading.Lock()
        # Wording to (begin of its while, lines let through in it, lines held back since one was).
        self._seen: OrderedDict[str, tuple[float, int, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """False to hold the line back; the one after some that were held back is made to say how many."""
        if record.exc_info:
            return True
        wording = f"{record.levelno} {without_numbers(record.getMessage())}"
        with self._lock:
            held = self._admit(wording)
        if held:
            record.msg, record.args = f"{record.getMessage()} ({held} more like this before)", None
        return held is not None

    def _admit(self, wording: str) -> int | None:
        """How many like it were held back before this one; None: hold this one back too."""
        now_s = self._clock()
        begin_s, let_through, held = self._seen.get(wording, (now_s, 0, 0))
        if now_s - begin_s >= self._every_s:
            begin_s, let_through = now_s, 0
        admitted = let_through < self._burst
        self._seen[wording] = (begin_s, let_through + admitted, 0 if admitted else held + 1)
        self._seen.move_to_end(wording)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return held if admitted else None


def is_journal(environ: Mapping[str, str], descriptor: int) -> bool:
    """True when the file descriptor is the connection to the journal that JOURNAL_STREAM names."""
    named = environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return named == f"{found.st_dev}:{found.st_ino}"


def set_up(*, verbose: bool, journal: bool) -> None:
    """Send every logger of this process to stderr, in the journal's form or a terminal's."""
    handler = logging.StreamHandler()
    handler.addFilter(RepeatFilter())
    handler.setFormatter(
        JournalFormatter("%(message)s")
        if journal
        else logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    )
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
