"""Under "full" a stored message waits for the disk, under "normal" it does not: as the kernel sees it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STRACE = shutil.which("strace")
_STORED = 8
# What is done before the mark, and when the outbox is closed, does not count.
_SCRIPT = """
import os, sys
from pathlib import Path
from edgeadapt.wire import Outcome
from edgeadapt_device.io.outbox.sqlite import SqliteOutbox
outbox = SqliteOutbox(Path(sys.argv[1]), durability=sys.argv[2])
outcome = Outcome(outbox="", sequence=0, cohort="c", serial=1, patch="p", state="trial")
outbox.store(outcome)
for number in range(int(sys.argv[3])):
    os.access(f"/mark/{number}", os.R_OK)
    outbox.store(outcome)
os.access("/mark/end", os.R_OK)
"""


def waits(tmp_path: Path, durability: str) -> list[int]:
    """How often each store waited for the disk."""
    if STRACE is None:
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace"
    command = [STRACE, "-f", "-qq", "-e", "trace=fsync,fdatasync,access", "-o", str(trace)]
    command += [sys.executable, "-c", _SCRIPT, str(tmp_path / "outbox.sqlite"), durability, str(_STORED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and ("PTRACE" in done.stderr or "ptrace" in done.stderr):
        pytest.skip("this machine lets nobody trace")
    assert done.returncode == 0, done.stderr
    pieces = re.split(r"access\(\"/mark/[^\n]*\n", trace.read_text())[1:-1]
    assert len(pieces) == _STORED
    return [len(re.findall(r"\b(?:fsync|fdatasync)\(", piece)) for piece in pieces]


def test_full_waits_for_the_disk_at_each_message(tmp_path: Path) -> None:
    assert min(waits(tmp_path, "full")) >= 1


def test_normal_does_not_wait(tmp_path: Path) -> None:
    assert sum(waits(tmp_path, "normal")) == 0
