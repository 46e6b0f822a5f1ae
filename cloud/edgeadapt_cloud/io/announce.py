"""Announces the fleet's broker on the local network, for devices that were told none (DNS-SD).

The service knows where its broker is, so it is the one to say it; the broker itself need not know. A
thread of its own does it, since it takes seconds, and does it again when this machine's addresses change.
A network that cannot be announced on is logged, and ends nothing.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
from typing import TYPE_CHECKING

from edgeadapt.wire.discovery import FLEET_KEY, service_type
from edgeadapt_cloud.config import AnnounceSection, MqttSection

if TYPE_CHECKING:
    from zeroconf import Zeroconf

log = logging.getLogger("edgeadapt.cloud")
_LOOK_AGAIN_S = 30.0
# DNS labels (RFC 1035, 2.3.4).
_MAX_LABEL_BYTES = 63


class Announcer(threading.Thread):
    """Keeps one announcement true until it is stopped."""

    def __init__(self, section: AnnounceSection, mqtt: MqttSection, fleet: str) -> None:
        """Prepare; `start` begins."""
        super().__init__(name="announcer", daemon=True)
        self._section, self._mqtt, self._fleet = section, mqtt, fleet
        self._stopped = threading.Event()
        self._said = ""

    def stop(self) -> None:
        """Take the announcement back, and end."""
        self._stopped.set()
        self.join()

    def run(self) -> None:
        """Announce, and again when the addresses have changed."""
        try:
            self._keep_announced()
        except Exception:
            # The library's own threads and sockets fail in ways that it does not promise.
            log.exception("the broker is not announced any more")

    def _keep_announced(self) -> None:
        announced: tuple[str, ...] = ()
        speaking: Zeroconf | None = None
        try:
            while not self._stopped.is_set():
                addresses = self._addresses()
                if addresses != announced and speaking is not None:
                    speaking.close()
                    speaking = None
                if speaking is None:
                    announced, speaking = addresses, self._announce(addresses)
                self._stopped.wait(_LOOK_AGAIN_S)
        finally:
            if speaking is not None:
                speaking.close()

    def _addresses(self) -> tuple[str, ...]:
        """Where devices reach the broker: as configured, this machine's addresses, or those of its host."""
        if self._section.addresses:
            return self._section.addresses
        try:
            found = {str(row[4][0]) for row in socket.getaddrinfo(self._mqtt.host, None)}
        except OSError as error:
            self._tell(f"mqtt.host {self._mqtt.host} has no address to announce: {error}")
            return ()
        if not all(_is_loopback(address) for address in found):
            return tuple(sorted(found))
        mine = _own_addresses()
        return tuple(address for address in mine if not _is_loopback(address)) or mine

    def _announce(self, addresses: tuple[str, ...]) -> Zeroconf | None:
        import zeroconf

        if not addresses:
            return None
        if missing := sorted(set(self._section.interfaces) - set(_own_addresses())):
            self._tell(f"the broker cannot be announced: no interface has the address {missing[0]}")
            return None
        port = self._section.port or self._mqtt.port
        kind, host = service_type(secure=self._section.secure), socket.gethostname().partition(".")[0]
        try:
            speaking = zeroconf.Zeroconf(
                interfaces=list(self._section.interfaces) or zeroconf.InterfaceChoice.All
            )
        except (OSError, zeroconf.Error, ValueError) as error:
            self._tell(f"the broker cannot be announced on this network: {error}")
            return None
        info = zeroconf.ServiceInfo(
            kind,
            f"{_label(f'edgeadapt {self._fleet} on {host}')}.{kind}",
            port=port,
            properties={FLEET_KEY: self._fleet},
            server=f"{_label(host)}.local.",
            parsed_addresses=list(addresses),
        )
        try:
            speaking.register_service(info, allow_name_change=True)
        except (OSError, zeroconf.Error) as error:
            speaking.close()
            self._tell(f"the broker cannot be announced on this network: {error}")
            return None
        self._tell(f"announcing the broker of fleet {self._fleet} at {', '.join(addresses)}, port {port}")
        return speaking

    def _tell(self, text: str) -> None:
        if text != self._said:
            log.info("%s", text)
        self._said = text


def _own_addresses() -> tuple[str, ...]:
    """Of all interfaces; those that mean nothing without an interface are left out."""
    import ifaddr

    own = {str(ip.ip if ip.is_IPv4 else ip.ip[0]) for adapter in ifaddr.get_adapters() for ip in adapter.ips}
    return tuple(sorted(address for address in own if not _is_link_local(address)))


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _is_link_local(address: str) -> bool:
    return ipaddress.ip_address(address).is_link_local


def _label(text: str) -> str:
    """One DNS label."""
    return text.replace(".", "-").encode()[:_MAX_LABEL_BYTES].decode(errors="ignore")
