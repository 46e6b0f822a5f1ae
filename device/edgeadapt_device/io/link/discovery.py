"""Finds the brokers of a fleet on the local network (DNS-SD over multicast DNS).

One search is one round: open, browse, resolve, close. Nothing runs between rounds, so a network that
comes later is seen by the next one. What is found is only where to try: who answers there is TLS's
business. Not here: connecting (`found`).
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeadapt.errors import TransportError
from edgeadapt.wire.discovery import FLEET_KEY, service_type

_RESOLVE_MS = 2000
# After the first find, others that answer as fast are waited for.
_SETTLE_S = 0.3
_STEP_S = 0.05


@dataclass(frozen=True, slots=True)
class Announced:
    """One announced broker.

    Attributes:
        name: of the announcement, for people.
        fleet: whom it serves.
        addresses: all it can be reached at, the likeliest first.
        port: TCP port.
    """

    name: str
    fleet: str
    addresses: tuple[str, ...]
    port: int


@dataclass(frozen=True, slots=True)
class Search:
    """What a round brought: the fleet's own brokers in the order to try, and those of other fleets."""

    own: tuple[Announced, ...]
    others: tuple[Announced, ...]


def search(
    fleet: str,
    *,
    secure: bool,
    interfaces: Sequence[str] = (),
    patience_s: float = 3.0,
    stop: threading.Event | None = None,
) -> Search:
    """Browse once.

    Args:
        fleet: whose brokers are wanted.
        secure: browse for brokers with TLS, else for those without.
        interfaces: addresses of the interfaces to browse on; empty for all.
        patience_s: how long to wait for the first of the fleet's brokers.
        stop: ends the round early.

    Raises:
        TransportError: there is no network to browse on.
    """
    import ifaddr
    import zeroconf

    mine = {ip.ip if ip.is_IPv4 else ip.ip[0] for adapter in ifaddr.get_adapters() for ip in adapter.ips}
    if missing := sorted(set(interfaces) - mine):
        raise TransportError(f"no broker can be looked for: no interface has the address {missing[0]}")
    kind, seen = service_type(secure=secure), _Seen(fleet)
    try:
        browsing = zeroconf.Zeroconf(interfaces=list(interfaces) or zeroconf.InterfaceChoice.All)
    except (OSError, zeroconf.Error, ValueError) as error:
        raise TransportError(f"no broker can be looked for: {error}") from error
    try:
        zeroconf.ServiceBrowser(browsing, kind, handlers=[seen.on_change])
        seen.wait(patience_s, stop if stop is not None else threading.Event())
    finally:
        browsing.close()
    return seen.result()


class _Seen:
    """What the browser's thread has resolved so far."""

    def __init__(self, fleet: str) -> None:
        self._fleet = fleet
        self._lock = threading.Lock()
        self._found: dict[str, tuple[int, Announced]] = {}

    def on_change(self, zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
        """Called in the browser's thread; must not raise, also when the round ends while it resolves."""
        try:
            info = zeroconf.get_service_info(service_type, name, timeout=_RESOLVE_MS)
        except Exception:
            # Closed meanwhile (the library fails an assertion then, or waits for its own loop in vain): not
            # resolved in this round. Whatever it raises would be nobody's to hear in its thread.
            info = None
        with self._lock:
            if info is None or not info.port:
                self._found.pop(name, None)
                return
            fleet = info.decoded_properties.get(FLEET_KEY) or ""
            addresses = tuple(sorted(info.parsed_scoped_addresses(), key=_likelihood))
            found = Announced(name.removesuffix(f".{service_type}"), fleet, addresses, info.port)
            self._found[name] = (info.priority or 0, found)

    def wait(self, patience_s: float, stop: threading.Event) -> None:
        """Until the first of the fleet's is there and others had a moment, or patience is over."""
        end_s, settled = time.monotonic() + patience_s, False
        while time.monotonic() < end_s and not stop.wait(_STEP_S):
            if not settled and self.result().own:
                settled, end_s = True, min(end_s, time.monotonic() + _SETTLE_S)

    def result(self) -> Search:
        with self._lock:
            found = [each for _, each in sorted(self._found.values(), key=lambda row: (row[0], row[1].name))]
        own = tuple(each for each in found if each.fleet == self._fleet and each.addresses)
        return Search(own, tuple(each for each in found if each not in own))


def _likelihood(address: str) -> tuple[bool, bool, bool]:
    """Sorts IPv4 before IPv6, and what only works nearby last."""
    found = ipaddress.ip_address(address.partition("%")[0])
    return (found.is_loopback, found.is_link_local, found.version == 6)
