"""What a connection costs by itself, about: nothing here is measured, and nothing is left out.

TCP and TLS handshakes and CONNECT when it is made, and a ping with its answer for every keep-alive (a client
sends fewer while there is other traffic). Pages of the TLS certificates are the largest part.
"""

from __future__ import annotations

from edgeadapt.clock import Instant
from edgeadapt_device.config import MqttSection
from edgeadapt_device.core.uplink.budget import Budget

# Segments with their headers, CONNECT with the will, CONNACK.
_CONNECT_UP_BYTES, _CONNECT_DOWN_BYTES = 700, 300
# A handshake of TLS 1.3 with one certificate on the broker's side, and the device's own where it has one.
_TLS_UP_BYTES, _TLS_DOWN_BYTES, _TLS_OWN_BYTES = 1_000, 3_000, 1_500
# PINGREQ or PINGRESP in a TLS record, a segment, and the acknowledgement of it.
_PING_BYTES = 120


class Link:
    """Charges the budget for one device's connections."""

    def __init__(self, budget: Budget, config: MqttSection) -> None:
        self._budget, self._keepalive_s = budget, float(config.keepalive_s)
        tls, own = bool(config.tls_ca), bool(config.tls_cert)
        self._up = _CONNECT_UP_BYTES + _TLS_UP_BYTES * tls + _TLS_OWN_BYTES * own
        self._down = _CONNECT_DOWN_BYTES + _TLS_DOWN_BYTES * tls
        self._ping_s = 0.0

    def connect(self, now: Instant) -> None:
        """A connection was made."""
        self._budget.control(self._up, self._down, now)
        self._ping_s = now.mono_s + self._keepalive_s

    def tick(self, now: Instant) -> None:
        """Time goes by with a connection."""
        if now.mono_s >= self._ping_s:
            pings = 1 + int((now.mono_s - self._ping_s) // self._keepalive_s)
            self._budget.control(_PING_BYTES * pings, _PING_BYTES * pings, now)
            self._ping_s += self._keepalive_s * pings
