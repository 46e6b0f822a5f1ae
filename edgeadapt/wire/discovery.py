"""How a broker is announced on the local network, for devices that were told none (DNS-SD, RFC 6763).

The registered service types of MQTT, with and without TLS, and in the TXT record the fleet that the broker
serves: devices of other fleets pass it by. An announcement is not trusted for anything but an address:
TLS says who answers there, and patches are signed.
"""

from __future__ import annotations

#: A broker without TLS, and one with it.
PLAIN_TYPE = "_mqtt._tcp.local."
SECURE_TYPE = "_secure-mqtt._tcp.local."
#: Key of the TXT record whose value is the fleet's name.
FLEET_KEY = "fleet"


def service_type(*, secure: bool) -> str:
    """The type to announce and to browse for."""
    return SECURE_TYPE if secure else PLAIN_TYPE
