"""The device's MQTT 5 connection (paho): what arrives goes to an inbox, what is given goes out.

One connection for the life of the daemon; it reconnects by itself. The broker keeps the session while
the device is away. Callbacks only enqueue: an exception in one would kill the client's thread while it
still looks connected, so the inbox must be a queue without a bound. Nothing is durable here: that is the
outbox's business, and when to send again is the core's.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt.wire.topics import check_name
from edgeadapt_device.config import MqttSection
from edgeadapt_device.core.events import Connected, Disconnected, Received

# Above what the delivery has out at a time, so that the client's own queue never decides.
MAX_INFLIGHT = 64
MAX_QUEUED = 1000
CLOSE_WAIT_S = 2.0

LinkEvent = Connected | Disconnected | Received
Inbox = Callable[[LinkEvent], None]

# paho's class carries no types.
_properties: Callable[[int], Properties] = Properties


class MqttLink:
    """The connection. `publish`, `subscribe` and `unsubscribe` may be called from one other thread."""

    def __init__(
        self,
        config: MqttSection,
        *,
        fleet: str,
        device: str,
        will_topic: str,
        will_payload: bytes,
        inbox: Inbox,
    ) -> None:
        """Start connecting in the background, for as long as it takes.

        Args:
            config: where the broker is, and how to show who we are.
            fleet: the fleet's name, checked.
            device: the device's name, checked; it is the client id.
            will_topic: where the broker says, retained, that this device died.
            will_payload: what it says.
            inbox: called from the client's thread; must never raise or block.

        Raises:
            ConfigError: a name, the port, the password file or a TLS file cannot be used.
        """
        check_name(fleet, "device.fleet")
        self._inbox = inbox
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=check_name(device, "device.name"),
            protocol=paho.MQTTv5,
        )
        self._client.max_inflight_messages_set(MAX_INFLIGHT)
        self._client.max_queued_messages_set(MAX_QUEUED)
        self._client.reconnect_delay_set(1, max(1, config.reconnect_max_s))
        self._client.will_set(will_topic, will_payload, qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._secure(config)
        self._start(config)

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """Hand a message to the client; raises TransportError when it cannot take it.

        While there is no connection only QoS 1 messages are kept, in memory.
        """
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        if info.rc not in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN):
            raise TransportError(f"{topic} could not be sent: {paho.error_string(info.rc)}")

    def subscribe(self, topic: str) -> None:
        """Listen to a topic, QoS 1; without a connection nothing happens."""
        self._client.subscribe(topic, qos=1)

    def unsubscribe(self, topic: str) -> None:
        """Stop listening to a topic; without a connection nothing happens."""
        self._client.unsubscribe(topic)

    def close(self, final: tuple[str, bytes] | None = None) -> None:
        """Say goodbye with a retained (topic, payload), wait briefly for it, disconnect, end the thread."""
        if final is not None and self._client.is_connected():
            info = self._client.publish(final[0], final[1], qos=1, retain=True)
            if info.rc == paho.MQTT_ERR_SUCCESS:
                info.wait_for_publish(CLOSE_WAIT_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _secure(self, config: MqttSection) -> None:
        try:
            if config.username:
                password = _first_line(Path(config.password_file)) if config.password_file else None
                self._client.username_pw_set(config.username, password)
            if config.tls_ca:
                self._client.tls_set(config.tls_ca, config.tls_cert or None, config.tls_key or None)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise ConfigError(f"mqtt: a password or TLS file cannot be used: {error}") from error

    def _start(self, config: MqttSection) -> None:
        properties = _properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = config.session_expiry_s
        try:
            # Never a clean start: on the first connection, too, the broker's session is ours.
            self._client.connect_async(
                config.host,
                config.port,
                keepalive=config.keepalive_s,
                clean_start=False,
                properties=properties,
            )
        except ValueError as error:
            raise ConfigError(f"mqtt: host, port or keepalive_s: {error}") from error
        self._client.loop_start()

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._inbox(Disconnected())
            return
        limit = getattr(properties, "MaximumPacketSize", 0)
        self._inbox(Connected(limit if isinstance(limit, int) else 0))

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._inbox(Disconnected())

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "(no text)"
        self._inbox(Received(topic, bytes(message.payload)))


def _first_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines:
        raise ValueError(f"{path} is empty")
    return lines[0]
