"""Children that are really started, and really gone afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from edgeadapt.errors import TransportError
from edgeadapt_sim.processes import Child, Children, interrupts_held, terminate_as_interrupt

_PYTHON = (sys.executable, "-I", "-c")
_STUBBORN = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "sys.stdout.write('ready\\n'); sys.stdout.flush(); time.sleep(60)"
)
_WITH_GRANDCHILD = (
    "import subprocess, sys, time; p = subprocess.Popen(['sleep', '60']);"
    "sys.stdout.write(f'{p.pid}\\n'); sys.stdout.flush(); time.sleep(60)"
)
_PARENT = (
    "import sys, time, pathlib; from edgeadapt_sim.processes import Child;"
    "c = Child.start('sleeper', ['sleep', '60'], log=pathlib.Path(sys.argv[1]));"
    "sys.stdout.write(f'{c.pid}\\n'); sys.stdout.flush(); time.sleep(60)"
)


def runs(pid: int) -> bool:
    """True while a process is there and is not a zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not runs(pid)


def wait_line(log: Path) -> str:
    """The first whole line of a log."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if log.exists() and "\n" in log.read_text():
            return log.read_text().splitlines()[0]
        time.sleep(0.02)
    raise AssertionError(f"nothing was written to {log}")


def test_output_and_exit_code_are_kept(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['WHO']); print('bad', file=sys.stderr); sys.exit(3)"
    log = tmp_path / "deep" / "a.log"
    child = Child.start("a", [*_PYTHON, code], log=log, env={"WHO": "camera"})
    assert child.wait(10) == 3
    assert not child.alive
    assert set(child.tail().splitlines()) == {"camera", "bad"}


def test_a_program_that_is_not_there_ends_and_its_log_says_so(tmp_path: Path) -> None:
    child = Child.start("a", [str(tmp_path / "absent")], log=tmp_path / "a.log")
    assert child.wait(10) != 0
    assert "No such file" in child.tail()


def test_stop_kills_what_ignores_it(tmp_path: Path) -> None:
    child = Child.start("a", [*_PYTHON, _STUBBORN], log=tmp_path / "a.log")
    wait_line(child.log)
    assert child.stop(grace_s=0.2) == -signal.SIGKILL
    assert child.stop() == -signal.SIGKILL
    assert not runs(child.pid)


def test_stop_takes_grandchildren_along(tmp_path: Path) -> None:
    child = Child.start("a", [*_PYTHON, _WITH_GRANDCHILD], log=tmp_path / "a.log")
    grandchild = int(wait_line(child.log))
    assert runs(grandchild)
    child.stop()
    assert wait_gone(grandchild)


def test_a_killed_parent_takes_its_child_along(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", _PARENT, str(tmp_path / "a.log")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert runs(pid)
        parent.kill()
    assert wait_gone(pid)


def test_children_stop_last_first_when_the_block_is_left_by_an_error(tmp_path: Path) -> None:
    order = tmp_path / "order"
    code = (
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n"
        f"    open({str(order)!r}, 'a').write(sys.argv[1])\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    pids: list[int] = []

    def interrupted_run() -> None:
        with Children() as children:
            for name in "abc":
                child = children.start(name, [*_PYTHON, code, name], log=tmp_path / f"{name}.log")
                wait_line(child.log)
                pids.append(child.pid)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_run()
    assert order.read_text() == "cba"
    assert not any(runs(pid) for pid in pids)


def test_a_failed_child_is_found_and_one_that_finished_is_not(tmp_path: Path) -> None:
    with Children() as children:
        good = children.start("good", [*_PYTHON, "pass"], log=tmp_path / "good.log")
        good.wait(10)
        assert children.failed() is None
        bad = children.start("bad", [*_PYTHON, "raise SystemExit(2)"], log=tmp_path / "bad.log")
        bad.wait(10)
        assert children.failed() is bad


def test_waiting_too_long_names_the_log(tmp_path: Path) -> None:
    with Children() as children:
        child = children.start("slow", ["sleep", "60"], log=tmp_path / "slow.log")
        with pytest.raises(TransportError, match=r"slow still runs .*slow\.log"):
            child.wait(0.05)


def test_interrupts_are_held_back_while_cleaning_up() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupts_held():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_sigterm_cleans_up_like_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt), terminate_as_interrupt():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
