"""The place at the broker where the cloud would be: sends what a cloud sends, keeps all that a device says.

One thread uses it; paho's only enqueues. Rows of the device's outbox are acknowledged as they come, unless
`holding` is set. Nothing is judged here.
"""

from __future__ import annotations

import queue
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeadapt.errors import ConfigError, TransportError, WireError
from edgeadapt.wire import (
    Ack,
    AnyMessage,
    Command,
    Descriptors,
    Outcome,
    Reply,
    Sample,
    ServerStatus,
    SignatureReport,
    Status,
    decode,
    encode,
)
from edgeadapt.wire.topics import ROOT, check_name, cloud_reply, cloud_status, down, up
from edgeadapt_sim.conformance import leftovers
from edgeadapt_sim.conformance.access import CONNECT_S, Access

# paho's class carries no types.
_properties: Callable[[int], Properties] = Properties
_ROWS = (Sample, SignatureReport, Outcome, Descriptors)
Row = Sample | SignatureReport | Outcome | Descriptors
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Heard:
    """A message of the device. `message` is None for what cannot be read; `fault` says why then."""

    topic: str
    payload: bytes
    retained: bool
    correlation: bytes
    at_s: float
    message: AnyMessage | None
    fault: str = ""


@dataclass(slots=True)
class Copies:
    """One row of the outbox: when it came, as which bytes, and when it was acknowledged."""

    row: Row
    payload: bytes
    at_s: list[float] = field(default_factory=list)
    others: list[bytes] = field(default_factory=list)
    acked_s: float | None = None


class Stand:
    """The connection. Use as a context manager.

    Attributes:
        heard: everything, in order.
        rows: by (outbox, sequence), in the order in which they first came.
        holding: nothing is acknowledged while it is True.
        max_packet_bytes: the broker's limit, 0: it names none.
        foreign: a topic outside of the fleet that nobody may be made to publish on.
    """

    def __init__(self, access: Access, fleet: str, device: str) -> None:
        """Raises ConfigError on names that are none."""
        self.access = access
        self.fleet, self.device = check_name(fleet, "fleet"), check_name(device, "device")
        self.asker = f"conformance-{secrets.token_hex(4)}"
        self.foreign = f"conformance/{self.asker}"
        self.heard: list[Heard] = []
        self.rows: dict[Key, Copies] = {}
        self.holding = False
        self.max_packet_bytes = 0
        self._epoch = int(time.time())
        self._retained: set[str] = set()
        self._inbox: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self._greeting = b""
        self._client = access.client(self.asker)
        # However this ends, no cloud is there afterwards: an empty retained will takes the greeting away.
        self._client.will_set(cloud_status(fleet), b"", qos=1, retain=True)

    def __enter__(self) -> Stand:
        """Connect, and clear away what an earlier run has left; raises TransportError and ConfigError."""
        self._client.on_connect, self._client.on_message = self._on_connect, self._on_message
        self.access.connect(self._client)
        try:
            left = leftovers.find(self._client, self.fleet, self.device)
            self.pump(0.5)
            if any(isinstance(h.message, ServerStatus) and h.message.online for h in self.heard):
                raise ConfigError(
                    f"a service serves fleet {self.fleet!r}: stop it, as it would answer the device, too"
                )
            for topic in left:
                self.send(topic, b"", retain=True)
            self.say_speaks((1, 1))
        except BaseException:
            self._clear()
            self._leave()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Take back all that was retained; raises TransportError when the broker is gone before that."""
        cleared = self._clear()
        self._leave()
        if not cleared and kind is None:
            left = ", ".join(sorted(self._retained))
            raise TransportError(f"these stay retained, as the broker is gone: {left}")

    def _clear(self) -> bool:
        """Nothing of ours stays retained; False when the broker does not take that."""
        try:
            for topic in sorted(self._retained):
                self.send(topic, b"", retain=True)
                self._retained.discard(topic)
        except TransportError:
            return False
        return True

    def _leave(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_connect = self._client.on_message = None

    # Sending

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish, QoS 1, and wait until the broker has it; raises TransportError."""
        if retain and payload:
            self._retained.add(topic)
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        try:
            info.wait_for_publish(CONNECT_S)
        except (RuntimeError, ValueError) as error:
            raise TransportError(f"{topic} could not be sent: {error}") from error
        if not info.is_published():
            raise TransportError(f"{topic} could not be sent: the broker does not answer")

    def tell(self, kind: str, message: AnyMessage, *, retain: bool = False) -> None:
        """Say something to the device."""
        self.send(down(self.fleet, self.device, kind), encode(message), retain=retain)

    def say_speaks(self, speaks: tuple[int, int]) -> None:
        """The cloud is there, and speaks this."""
        self._epoch += 1
        status = ServerStatus(epoch=self._epoch, online=True, speaks=speaks)
        self._greeting = encode(status)
        self.send(cloud_status(self.fleet), self._greeting, retain=True)

    def order(self, command: Command, *, answer_to: str = "", mark: bytes = b"") -> None:
        """Send a command; `answer_to` is this stand's own reply topic unless given."""
        made = _properties(PacketTypes.PUBLISH)
        made.ResponseTopic = answer_to or cloud_reply(self.fleet, self.asker)
        if mark:
            made.CorrelationData = mark
        topic = down(self.fleet, self.device, "command")
        self._client.publish(topic, encode(command), qos=1, properties=made).wait_for_publish(CONNECT_S)

    def acknowledge(self, key: Key) -> None:
        """Tell the device that one row is committed."""
        if key in self.rows:
            self.rows[key].acked_s = time.monotonic()
        self.tell("ack", Ack(outbox=key[0], sequences=(key[1],)))

    def release(self) -> None:
        """Acknowledge everything that was held, and what comes from here on."""
        self.holding = False
        for key in [key for key, copies in self.rows.items() if copies.acked_s is None]:
            self.acknowledge(key)

    def take_over(self) -> None:
        """Take the device's place at the broker for a moment; raises TransportError when it cannot."""
        thief = self.access.client(self.device)
        self.access.connect(thief)
        thief.disconnect()
        thief.loop_stop()

    # Listening

    def pump(self, for_s: float) -> None:
        """Take in what comes, for so long."""
        self.until(lambda: False, for_s)

    def until(self, holds: Callable[[], bool], within_s: float) -> bool:
        """Take in what comes until `holds`; False when it did not in time."""
        end_s = time.monotonic() + within_s
        while not holds():
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return False
            try:
                self._take(self._inbox.get(timeout=left_s))
            except queue.Empty:
                return holds()
        return True

    def said(self, kind: type[AnyMessage], since: int = 0) -> list[Any]:
        """Messages of a kind, from the given place in `heard` on."""
        return [h.message for h in self.heard[since:] if isinstance(h.message, kind)]

    def unread(self) -> list[Heard]:
        """What came on the device's topics and cannot be read."""
        own = f"{ROOT}/{self.fleet}/{self.device}/up/"
        return [h for h in self.heard if h.message is None and h.payload and h.topic.startswith(own)]

    def ask_retained(self, topic: str) -> None:
        """Have the broker send what it holds for a topic, once more."""
        self._client.subscribe(topic, qos=1)

    def _take(self, heard: Heard) -> None:
        self.heard.append(heard)
        row = heard.message
        if not isinstance(row, _ROWS):
            return
        key = (row.outbox, row.sequence)
        copies = self.rows.setdefault(key, Copies(row, heard.payload))
        copies.at_s.append(heard.at_s)
        if heard.payload != copies.payload:
            copies.others.append(heard.payload)
        if not self.holding:
            # A copy that was on its way when the first was acknowledged is acknowledged again.
            first = copies.acked_s
            self.acknowledge(key)
            copies.acked_s = first if first is not None else copies.acked_s

    def _on_connect(self, client: paho.Client, data: Any, flags: Any, reason: ReasonCode, found: Any) -> None:
        if reason.is_failure:
            return
        limit = getattr(found, "MaximumPacketSize", 0)
        self.max_packet_bytes = limit if isinstance(limit, int) else 0
        own = f"{ROOT}/{self.fleet}/{self.device}/up/#"
        for topic in (cloud_status(self.fleet), own, cloud_reply(self.fleet, self.asker), self.foreign):
            client.subscribe(topic, qos=1)
        if self._greeting:
            # The connection was lost, and the will has taken the greeting away.
            client.publish(cloud_status(self.fleet), self._greeting, qos=1, retain=True)

    def _on_message(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        payload = bytes(message.payload)
        correlation = getattr(message.properties, "CorrelationData", b"")
        topic, read, fault = "(no text)", None, ""
        try:
            topic = message.topic
            read = decode(payload) if payload else None
        except (WireError, UnicodeDecodeError) as error:
            fault = str(error)
        if isinstance(read, ServerStatus) and read.epoch == self._epoch:
            return  # our own
        mark = correlation if isinstance(correlation, bytes) else b""
        self._inbox.put(Heard(topic, payload, message.retain, mark, time.monotonic(), read, fault))


def status_topic(stand: Stand) -> str:
    """Where the device says hello."""
    return up(stand.fleet, stand.device, "status")


def online(stand: Stand, since: int = 0) -> list[Status]:
    """Births that were heard."""
    return [status for status in stand.said(Status, since) if status.online]


def replies(stand: Stand, order: str, since: int = 0) -> list[tuple[Heard, Reply]]:
    """Answers to one order."""
    found = [(h, h.message) for h in stand.heard[since:] if isinstance(h.message, Reply)]
    return [(h, reply) for h, reply in found if reply.id == order]
