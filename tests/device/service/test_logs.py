"""Lines for the journal and for a terminal, and the brake on those that repeat."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeadapt_device.service.logs import JournalFormatter, RepeatFilter, is_journal


class Clock:
    """A clock that moves when it is told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Lines(logging.Handler):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def braked(clock: Clock, *, burst: int) -> tuple[logging.Logger, list[str]]:
    """A logger whose one handler has the brake."""
    log, lines = logging.Logger("test"), Lines()
    lines.addFilter(RepeatFilter(every_s=30.0, burst=burst, clock=clock))
    log.addHandler(lines)
    return log, lines.lines


@pytest.mark.parametrize(
    ("level", "prefix"),
    [
        (logging.DEBUG, "<7>"),
        (logging.INFO, "<6>"),
        (logging.WARNING, "<4>"),
        (logging.ERROR, "<3>"),
        (logging.CRITICAL, "<2>"),
    ],
)
def test_every_line_of_an_entry_has_its_severity(level: int, prefix: str) -> None:
    record = logging.LogRecord("x", level, "f", 1, "one\ntwo %d", (3,), None)
    assert JournalFormatter("%(message)s").format(record) == f"{prefix}one\n{prefix}two 3"


def test_a_wording_that_repeats_is_held_back_and_counted() -> None:
    clock = Clock()
    log, lines = braked(clock, burst=2)
    for frame in range(10):
        log.warning("frame %d was not scored", frame)
    log.warning("something else")
    log.error("frame %d was not scored", 10)
    assert lines == [
        "frame 0 was not scored",
        "frame 1 was not scored",
        "something else",
        "frame 10 was not scored",  # another severity is another line
    ]
    clock.now_s = 30.0
    log.warning("frame %d was not scored", 11)
    log.warning("frame %d was not scored", 12)
    assert lines[4:] == ["frame 11 was not scored (8 more like this before)", "frame 12 was not scored"]


def test_a_traceback_is_never_held_back() -> None:
    log, lines = braked(Clock(), burst=1)
    for _ in range(3):
        try:
            raise ValueError("no")
        except ValueError:
            log.exception("a defect")
    assert len(lines) == 3


def test_the_journal_is_known_by_its_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream, (tmp_path / "other").open("w") as other:
        found = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert is_journal(environ, stream.fileno())
        assert not is_journal(environ, other.fileno())
        assert not is_journal({}, stream.fileno())
    assert not is_journal(environ, -1)


@pytest.mark.integration
def test_a_process_on_the_journal_writes_priorities_and_no_times(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        found = os.fstat(stream.fileno())
        subprocess.run(
            [
                sys.executable,
                "-c",
                "import logging, os, sys\n"
                "from edgeadapt_device.service import logs\n"
                "logs.set_up(verbose=False, journal=logs.is_journal(os.environ, sys.stderr.fileno()))\n"
                "logging.getLogger('edgeadapt.device').warning('hot')\n"
                "logging.getLogger('edgeadapt.device').debug('quiet')\n",
            ],
            stderr=stream,
            env={**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"},
            check=True,
            timeout=60,
        )
    assert (tmp_path / "stream").read_text() == "<4>hot\n"
