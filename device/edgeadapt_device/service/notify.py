"""Tells a service manager how the daemon is, in the protocol of sd_notify(3).

Datagrams of `NAME=value` lines to the Unix socket that the manager named. Whoever calls `alive` is what
the watchdog watches: the loop that owns the core, and no other thread. A manager that does not listen
ends nothing here. Reading the environment is the command line's business, `from_environment` only says
what is in it.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress

from edgeadapt.errors import ConfigError

# sd_notify(3), sd_watchdog_enabled(3).
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
# A manager cuts longer ones off.
_MAX_STATUS = 200


class Notifier:
    """The line to one service manager; without an address every call does nothing.

    Attributes:
        watchdog_s: the manager ends a process that is silent for this long; 0: it does not watch.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        """Prepare a socket that never blocks.

        Args:
            address: path of a Unix datagram socket, or `@name` of an abstract one; "" for no manager.
            watchdog_s: as the manager said.

        Raises:
            ConfigError: the address is of a kind that is not known here.
        """
        if address and address[0] not in "/@":
            raise ConfigError(f"environment NOTIFY_SOCKET: expected a path or @name, got {address!r}")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s
        self._due_s = float("-inf")
        self._status = ""
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def ready(self) -> None:
        """The first generation is warm."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """A line for people; the same one is sent once."""
        line = " ".join(text.split())[:_MAX_STATUS]
        if line != self._status and self._send(f"STATUS={line}"):
            self._status = line

    def alive(self, mono_s: float) -> None:
        """The owning loop came round again; told at half of the manager's patience, and at once again
        when a datagram did not go out."""
        if self.watchdog_s > 0.0 and mono_s >= self._due_s and self._send("WATCHDOG=1"):
            self._due_s = mono_s + self.watchdog_s / 2.0

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Let the socket go; calls after this do nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> bool:
        if self._socket is None:
            return False
        with suppress(OSError):
            self._socket.sendto(text.encode(), self._address)
            return True
        return False


def from_environment(environ: Mapping[str, str], pid: int) -> Notifier:
    """The line that the manager offers to process `pid`, or one that does nothing.

    Raises:
        ConfigError: names the variable that makes no sense.
    """
    address, microseconds = environ.get("NOTIFY_SOCKET", ""), environ.get("WATCHDOG_USEC", "0")
    if not (microseconds.isascii() and microseconds.isdigit()):
        raise ConfigError(f"environment WATCHDOG_USEC: expected microseconds, got {microseconds!r}")
    mine = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
    return Notifier(address, int(microseconds) / 1e6 if mine else 0.0)
