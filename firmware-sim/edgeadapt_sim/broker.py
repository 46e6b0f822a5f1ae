"""An MQTT 5 broker on loopback for demos and tests: Mosquitto if there is one, else the iotcore wheel.

`with Broker.start() as broker:` gives a broker that accepts connections on a free port and that is
gone afterwards. Loopback only, without accounts: iotcore has no access control, so any other address
is refused, for both kinds. Mosquitto keeps retained messages and sessions over `stop` and `resume` in
its folder; iotcore keeps nothing. Not here: a broker for production (docs/architecture.md names it).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Literal

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_sim.processes import Child

BrokerKind = Literal["auto", "mosquitto", "iotcore"]
MAX_PACKET_BYTES = 8 << 20
_SBIN_MOSQUITTO = Path("/usr/sbin/mosquitto")  # where Debian puts it, off a user's PATH
_LOOPBACK = "127.0.0.1"
_START_ATTEMPTS = 3

_MOSQUITTO_CONFIG = """\
listener {port} {host}
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_on_changes true
autosave_interval 20
max_inflight_messages 100
max_queued_messages 20000
message_size_limit {max_bytes}
log_dest stdout
log_type error
log_type warning
log_type notice
{user}"""

_IOTCORE_CONFIG = """\
id = 0

[router]
id = 0
max_connections = 1024
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "v5-1"
listen = "{host}:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = {max_bytes}
max_inflight_count = 100
dynamic_filters = true
"""


class Broker:
    """A running broker.

    Attributes:
        kind: "mosquitto" or "iotcore".
        host: always 127.0.0.1.
        port: TCP port.
    """

    def __init__(self, kind: Literal["mosquitto", "iotcore"], port: int, log_dir: Path) -> None:
        self.kind = kind
        self.host = _LOOPBACK
        self.port = port
        self._log_dir = log_dir.resolve()
        self._child: Child | None = None

    @staticmethod
    def start(
        kind: BrokerKind = "auto",
        *,
        log_dir: Path,
        port: int | None = None,
        host: str = _LOOPBACK,
        timeout_s: float = 20.0,
    ) -> Broker:
        """Start a broker and wait until it accepts a CONNECT.

        Args:
            kind: "auto" prefers Mosquitto.
            log_dir: folder for its configuration, log and stored messages; made if absent.
            port: a fixed port, or None for a free one.
            host: must be 127.0.0.1.
            timeout_s: how long it may take to answer.

        Raises:
            ConfigError: for another address than 127.0.0.1.
            TransportError: when neither broker is installed, or it does not come up.
        """
        if host != _LOOPBACK:
            raise ConfigError(f"the built-in broker has no access control: it listens on {_LOOPBACK} only")
        chosen = _choose(kind)
        attempts = _START_ATTEMPTS if port is None else 1
        for attempt in range(attempts):
            broker = Broker(chosen, port or free_port(), log_dir)
            try:
                broker.resume(timeout_s)
            except TransportError:
                if attempt + 1 == attempts:
                    raise
                continue  # somebody else took the port between finding and using it
            return broker
        raise AssertionError("unreachable: the last attempt returns or raises")

    @property
    def url(self) -> str:
        """Address as `mqtt://host:port`."""
        return f"mqtt://{self.host}:{self.port}"

    @property
    def running(self) -> bool:
        """True while its process lives."""
        return self._child is not None and self._child.alive

    @property
    def pid(self) -> int:
        """Process id; raises TransportError when it is stopped."""
        if self._child is None:
            raise TransportError("the broker is stopped")
        return self._child.pid

    def resume(self, timeout_s: float = 20.0) -> None:
        """Start again on the same port, with what Mosquitto stored; raises TransportError."""
        if self.running:
            return
        if not _is_free(self.port):
            raise TransportError(f"{self.kind} on port {self.port}: another program listens there")
        self._child = Child.start(self.kind, self._command(), log=self._log_dir / f"{self.kind}.log")
        deadline = time.monotonic() + timeout_s
        try:
            while not accepts_connect(self.host, self.port):
                if not self._child.alive or time.monotonic() > deadline:
                    state = "ended" if not self._child.alive else f"did not answer in {timeout_s:g} s"
                    raise TransportError(
                        f"{self.kind} on port {self.port} {state}; its log ends:\n{self._child.tail()}"
                    )
                time.sleep(0.02)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it in order (Mosquitto saves first). May be called twice."""
        if self._child is not None:
            self._child.stop(grace_s=5.0)
            self._child = None

    def kill(self) -> None:
        """End it as a power cut would: nothing is saved."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _command(self) -> list[str]:
        self._log_dir.mkdir(parents=True, exist_ok=True)
        config = self._log_dir / f"{self.kind}.conf"
        if self.kind == "mosquitto":
            # Started by root it would change to a user that may not write the folder.
            user = "user root\n" if os.geteuid() == 0 else ""
            template, command = _MOSQUITTO_CONFIG, [_find_mosquitto() or "mosquitto", "-c", str(config)]
        else:
            user, template = "", _IOTCORE_CONFIG
            config = config.with_suffix(".toml")
            command = [sys.executable, "-I", "-m", "iotcore", "--config", str(config)]
            command += ["--log-level", "CRITICAL"]
        config.write_text(
            template.format(
                host=self.host, port=self.port, folder=self._log_dir, max_bytes=MAX_PACKET_BYTES, user=user
            )
        )
        return command

    def __enter__(self) -> Broker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


def accepts_connect(host: str, port: int, timeout_s: float = 1.0) -> bool:
    """True when an MQTT 5 CONNECT there is answered by a successful CONNACK (MQTT 5.0, 3.1 and 3.2)."""
    client_id = b"edgeadapt-probe-%d" % os.getpid()
    body = b"\x00\x04MQTT\x05\x02\x00\x0a\x00" + len(client_id).to_bytes(2, "big") + client_id
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as link:
            link.settimeout(timeout_s)
            link.sendall(bytes([0x10, len(body)]) + body)
            answer = link.recv(256)
            link.sendall(b"\xe0\x00")  # DISCONNECT
    except OSError:
        return False
    return len(answer) >= 4 and answer[0] == 0x20 and answer[3] == 0


def _choose(kind: BrokerKind) -> Literal["mosquitto", "iotcore"]:
    if kind in ("auto", "mosquitto") and _find_mosquitto():
        return "mosquitto"
    if kind in ("auto", "iotcore") and importlib.util.find_spec("iotcore"):
        return "iotcore"
    wanted = "neither Mosquitto nor the iotcore wheel" if kind == "auto" else f"no {kind}"
    raise TransportError(
        f"there is {wanted} on this machine: install the Debian package mosquitto, "
        "or pip install 'edgeadapt[sim]'"
    )


def _find_mosquitto() -> str | None:
    found = shutil.which("mosquitto")
    return found or (str(_SBIN_MOSQUITTO) if _SBIN_MOSQUITTO.is_file() else None)
