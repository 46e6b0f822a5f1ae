"""Child processes that never outlive us.

Every child runs in a process group of its own (a Ctrl-C in the terminal reaches only us, so children
stop in the order we choose), writes to a log file, and is killed by the kernel when we die (`launch`).
`Children` stops all of them, last started first, however its `with` block is left. Start children
from a thread that lives as long as they should.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from edgeadapt.errors import TransportError

_LAUNCHER = Path(__file__).with_name("launch.py")


class Child:
    """One running program."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @staticmethod
    def start(name: str, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> Child:
        """Start `argv`; its output is appended to `log`. `env` is added to our own environment.

        Raises:
            TransportError: when the program cannot be started.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *argv]
        try:
            with log.open("ab") as sink:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(env or {})},
                    start_new_session=True,
                )
        except OSError as error:
            raise TransportError(f"cannot start {name}: {error}") from error
        return Child(name, process, log)

    @property
    def pid(self) -> int:
        """Process id (also the id of its process group)."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for a signal, None while it runs."""
        return self._process.poll()

    @property
    def alive(self) -> bool:
        """True while it runs."""
        return self.returncode is None

    def wait(self, timeout_s: float) -> int:
        """Wait for the end; returns the exit code. Raises TransportError when it still runs."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise TransportError(f"{self.name} still runs after {timeout_s:g} s (log: {self.log})") from error

    def kill(self) -> None:
        """SIGKILL to its whole group, at once."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def stop(self, grace_s: float = 8.0) -> int:
        """SIGTERM; after `grace_s` SIGKILL; returns the exit code. May be called twice."""
        if self.alive:
            self._signal(signal.SIGTERM)
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                self.kill()
        self._signal(signal.SIGKILL)  # what it may have started itself
        return self._process.wait()

    def tail(self, lines: int = 12) -> str:
        """The last lines of its log."""
        try:
            text = self.log.read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            # The group is gone; macOS answers EPERM for a group of zombies.
            return


class Children:
    """The children of one run; leaving the `with` block stops them all."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    def start(
        self, name: str, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> Child:
        """Start a child that this group stops; see `Child.start`."""
        child = Child.start(name, argv, log=log, env=env)
        self._children.append(child)
        return child

    def failed(self) -> Child | None:
        """A child that ended by itself with an error, if there is one."""
        return next((child for child in self._children if child.returncode not in (None, 0)), None)

    def stop_all(self, grace_s: float = 8.0) -> None:
        """Stop every child, last started first; Ctrl-C is held back until all are gone."""
        with interrupts_held():
            for child in reversed(self._children):
                child.stop(grace_s)
            self._children.clear()

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Ignore SIGINT and SIGTERM inside the block, so that cleaning up is never half done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in held]
    try:
        yield
    finally:
        for number, handler in zip(held, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Inside the block a SIGTERM to us raises KeyboardInterrupt, so that it cleans up like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
