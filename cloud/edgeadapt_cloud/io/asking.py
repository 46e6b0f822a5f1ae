"""Send one order to one device over the broker, and wait for its answer (MQTT 5 request and response).

A connection of its own, beside the service's and whether or not that runs. The order names a topic for the
answer that nobody else listens to, and brings a random correlation that the answer must bring back; it
expires at the broker when nobody waits any more, so a device that comes back days later does not obey it.
Not here: what a device does about it.
"""

from __future__ import annotations

import queue
import secrets
import time
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from edgeadapt.errors import TransportError, WireError
from edgeadapt.wire import SPEAKS, Command, MessageProperties, Reply, Status, decode, encode, highest_common
from edgeadapt.wire.topics import check_name, cloud_reply, down, up
from edgeadapt_cloud.config import MqttSection
from edgeadapt_cloud.core.fleet.accords import why_apart
from edgeadapt_cloud.io.mqtt import packed, secure

Action = Literal["rollback", "report"]
# What is retained comes at once after a subscription; a device without a status has never been there.
_STATUS_WAIT_S = 2.0

_Arrived = tuple[str, bytes, bytes]


def ask(settings: MqttSection, fleet: str, device: str, action: Action, timeout_s: float) -> Reply:
    """Send `action` to a device and return its reply.

    Raises:
        ConfigError: the name is none, or a password or TLS file cannot be used.
        TransportError: no broker, no such device, none that speaks our protocol, or no answer in time.
    """
    check_name(device, "device")
    asker = f"{settings.client_id[:40]}-ask-{secrets.token_hex(6)}"
    inbox: queue.SimpleQueue[_Arrived] = queue.SimpleQueue()
    answers, status = cloud_reply(fleet, asker), up(fleet, device, "status")
    client = _client(settings, asker, (answers, status), inbox)
    try:
        client.connect_async(settings.host, settings.port, keepalive=settings.keepalive_s)
        client.loop_start()
        return _converse(client, settings, (fleet, device, action), (answers, status), inbox, timeout_s)
    except ValueError as error:
        raise TransportError(f"{settings.host}:{settings.port}: {error}") from error
    finally:
        client.disconnect()
        client.loop_stop()
        client.on_connect = client.on_message = None


def _client(
    settings: MqttSection, name: str, listens: tuple[str, ...], inbox: queue.SimpleQueue[_Arrived]
) -> paho.Client:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
    secure(client, settings)

    def on_connect(c: paho.Client, u: Any, f: Any, reason: ReasonCode, p: Any) -> None:
        if not reason.is_failure:
            for topic in listens:
                c.subscribe(topic, qos=1)

    def on_message(c: paho.Client, u: Any, message: paho.MQTTMessage) -> None:
        found = getattr(message.properties, "CorrelationData", b"")
        correlation = found if isinstance(found, bytes) else b""
        inbox.put((message.topic, bytes(message.payload), correlation))

    client.on_connect, client.on_message = on_connect, on_message
    return client


def _converse(
    client: paho.Client,
    settings: MqttSection,
    order: tuple[str, str, Action],
    topics: tuple[str, str],
    inbox: queue.SimpleQueue[_Arrived],
    timeout_s: float,
) -> Reply:
    (fleet, device, action), (answers, status) = order, topics
    deadline_s = time.monotonic() + timeout_s
    while not client.is_connected():
        if time.monotonic() > deadline_s:
            raise TransportError(f"no broker answers at {settings.host}:{settings.port}")
        time.sleep(0.01)
    online, protocol = _greeting(inbox, status, device, min(deadline_s, time.monotonic() + _STATUS_WAIT_S))
    command = Command(id=secrets.token_hex(8), action=action)
    correlation = secrets.token_bytes(16)
    left_s = max(1, round(deadline_s - time.monotonic()))
    properties = MessageProperties(expiry_s=left_s, response_topic=answers, correlation=correlation)
    client.publish(
        down(fleet, device, "command"), encode(command, protocol), qos=1, properties=packed(properties)
    )
    while (left := deadline_s - time.monotonic()) > 0:
        try:
            topic, payload, brought = inbox.get(timeout=left)
        except queue.Empty:
            break
        if topic == answers and brought == correlation and (reply := _reply(payload, command)) is not None:
            return reply
    state = "it is online" if online else "it is offline"
    raise TransportError(f"{device} did not answer in {timeout_s:g} s; {state}, and the order has expired")


def _greeting(
    inbox: queue.SimpleQueue[_Arrived], topic: str, device: str, deadline_s: float
) -> tuple[bool, int]:
    """Whether the device is online, and the version to speak to it."""
    while (left := deadline_s - time.monotonic()) > 0:
        try:
            found, payload, _ = inbox.get(timeout=left)
        except queue.Empty:
            break
        if found != topic or not payload:
            continue
        try:
            status = decode(payload, Status)
        except WireError as error:
            raise TransportError(f"{device}: its status cannot be read: {error}") from error
        assert isinstance(status, Status)
        protocol = highest_common(SPEAKS, status.speaks)
        if protocol is None:
            raise TransportError(why_apart(device, SPEAKS, status.speaks))
        return status.online, protocol
    raise TransportError(f"{device} is unknown to the broker: no device of that name has ever said hello")


def _reply(payload: bytes, command: Command) -> Reply | None:
    try:
        reply = decode(payload, Reply)
    except WireError:
        return None  # anybody may publish there
    assert isinstance(reply, Reply)
    return reply if reply.id == command.id else None
