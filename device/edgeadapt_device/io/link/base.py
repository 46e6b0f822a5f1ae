"""The way to the broker, as everyone but its maker sees it; and none at all. MQTT itself is in `mqtt`.

Kept apart, so that a device that stays offline never loads a client.
"""

from __future__ import annotations

from typing import Protocol

from edgeadapt.wire import NO_PROPERTIES, MessageProperties


class Link(Protocol):
    """Sends and listens; what cannot be sent now is lost, and the outbox gives it again."""

    @property
    def sent_bytes(self) -> int:
        """Topics and payloads that went out on a connection."""
        ...

    @property
    def where(self) -> str:
        """Host and port of the broker; "" while there is none, or none is wanted."""
        ...

    @property
    def trouble(self) -> str:
        """Why there is no connection; "" while there is one, or none is wanted."""
        ...

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        retain: bool,
        properties: MessageProperties = NO_PROPERTIES,
    ) -> None:
        """Send without waiting; raises TransportError when that cannot be tried."""

    def subscribe(self, topic: str) -> None:
        """Listen, QoS 1."""

    def unsubscribe(self, topic: str) -> None:
        """Stop listening."""


class NoLink:
    """The link of a device that is configured to stay offline."""

    sent_bytes = 0
    where = ""
    trouble = ""

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        retain: bool,
        properties: MessageProperties = NO_PROPERTIES,
    ) -> None:
        """Nobody listens."""

    def subscribe(self, topic: str) -> None:
        """Nobody speaks."""

    def unsubscribe(self, topic: str) -> None:
        """Nobody speaks."""
