"""Announces brokers on loopback, with the real library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import zeroconf

from edgeadapt.wire.discovery import FLEET_KEY, PLAIN_TYPE, SECURE_TYPE

LOOPBACK = ("127.0.0.1",)


@contextmanager
def announcing(*services: tuple[str, str | None, int, tuple[str, ...]]) -> Iterator[None]:
    """Announce (name, fleet, port, addresses) for a while."""
    speaking = zeroconf.Zeroconf(interfaces=list(LOOPBACK))
    try:
        for name, fleet, port, addresses in services:
            kind = SECURE_TYPE if name.startswith("secure") else PLAIN_TYPE
            info = zeroconf.ServiceInfo(
                kind,
                f"{name}.{kind}",
                port=port,
                properties={FLEET_KEY: fleet} if fleet is not None else {},
                server=f"{name}.local.",
                parsed_addresses=list(addresses),
            )
            speaking.register_service(info, cooperating_responders=True)
        yield
    finally:
        speaking.close()
