"""`/healthz`, `/metrics` and `/status` for whoever watches the device, on a loopback address.

Threads of their own answer from the last status that the owning loop left here, so a request never waits
for the loop, nor the loop for a request. A loop that leaves none for a while is what `/healthz` is for:
it answers 503 then, and says so. Nothing can be changed from here.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import msgspec

from edgeadapt_device.service import metrics
from edgeadapt_device.service.health import Health, seen_from_outside
from edgeadapt_device.status import DeviceStatus

log = logging.getLogger("edgeadapt.device")
#: The whole of `status.json`, also where no disk takes it.
STATUS_PAGE = "/status"
# A client that says nothing for this long is hung up on.
_PATIENCE_S = 5.0
# Beyond this many at a time, a client is hung up on at once.
_MAX_CLIENTS = 16


class Answer(msgspec.Struct, frozen=True):
    """What `/healthz` says, as JSON."""

    health: str
    reasons: tuple[str, ...]
    generation: str
    frames: int


class Monitor:
    """The server. `show` is the owning loop's, everything else happens in threads.

    Attributes:
        address: where it listens, as `host:port`.
    """

    def __init__(self, host: str, port: int) -> None:
        """Listen; port 0 takes any free one.

        Raises:
            OSError: the port is in use, or the address is not this machine's.
        """
        self._shown: tuple[DeviceStatus, float] | None = None
        self._server = _Server(self, host, port)
        name = f"[{host}]" if ":" in host else host
        self.address = f"{name}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    def show(self, status: DeviceStatus) -> None:
        """The status from now on, and the sign that the loop came round; only keeps it."""
        self._shown = (status, time.monotonic())

    def look(self) -> tuple[DeviceStatus, Health] | None:
        """The last status and what may be believed of it now; None before the first."""
        if self._shown is None:
            return None
        status, shown_s = self._shown
        return status, seen_from_outside(status, runs=True, silent_s=time.monotonic() - shown_s)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, monitor: Monitor, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.monitor = monitor
        self._clients = threading.BoundedSemaphore(_MAX_CLIENTS)
        super().__init__((host, port), _Handler)

    def process_request(self, request: object, client_address: object) -> None:
        if self._clients.acquire(blocking=False):
            super().process_request(request, client_address)  # type: ignore[arg-type]
        else:
            self.shutdown_request(request)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._clients.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away in mid-answer is no news; a defect is."""
        if not isinstance(sys.exc_info()[1], OSError):
            log.exception("answering a monitor")


class _Handler(BaseHTTPRequestHandler):
    timeout = _PATIENCE_S
    server_version = "edgeadapt"
    sys_version = ""
    _PAGES: ClassVar[tuple[str, ...]] = ("/healthz", "/metrics", STATUS_PAGE)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        # Which broker, which refusals: for this machine alone, even where a monitor may ask from elsewhere.
        if path not in self._PAGES or (path == STATUS_PAGE and not self._is_near()):
            self._answer(404, "text/plain; charset=utf-8", f"there are {', '.join(self._PAGES)}\n".encode())
            return
        server = self.server
        seen = server.monitor.look() if isinstance(server, _Server) else None
        if seen is None:
            body = msgspec.json.encode(Answer("failed", ("the device is starting",), "", 0))
            self._answer(503, "application/json", body)
        elif path == "/metrics":
            self._answer(200, metrics.CONTENT_TYPE, metrics.render(*seen))
        elif path == STATUS_PAGE:
            self._answer(200, "application/json", msgspec.json.encode(seen[0]))
        else:
            status, health = seen
            answer = Answer(health.state, health.reasons, status.generation, status.frames)
            code = 503 if health.state == "failed" else 200
            self._answer(code, "application/json", msgspec.json.encode(answer))

    def _is_near(self) -> bool:
        return ipaddress.ip_address(self.client_address[0].partition("%")[0]).is_loopback

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """A scrape is no news."""
