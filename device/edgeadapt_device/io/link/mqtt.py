"""The device's MQTT 5 connection (paho): what arrives goes to an inbox, what is given goes out.

One connection for the life of the daemon; it reconnects by itself. The broker keeps the session while
the device is away. Callbacks only enqueue: an exception in one would kill the client's thread while it
still looks connected, so the inbox must be a queue without a bound. Nothing is durable here: that is the
outbox's business, and when to send again is the core's; so a new connection begins with nothing to send.
Why there is no connection is told once, when the reason changes.
"""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt import MQTTException
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt.wire import NO_PROPERTIES, MessageProperties
from edgeadapt.wire.topics import check_name
from edgeadapt_device.config import MqttSection
from edgeadapt_device.core.events import Connected, Disconnected, Received

# Above what the delivery has out at a time as it comes, so that the client's own queue does not decide.
MAX_INFLIGHT = 64
# Above what the delivery can be set to have out.
MAX_QUEUED = 1000
CLOSE_WAIT_S = 2.0
# The largest message of ours is a patch (4 MiB); a broker may not send more (MQTT 5, 3.1.2.11.4).
MAX_PACKET_BYTES = 5 << 20

LinkEvent = Connected | Disconnected | Received
Inbox = Callable[[LinkEvent], None]

# paho's class carries no types.
_properties: Callable[[int], Properties] = Properties


class MqttLink:
    """The connection. `publish`, `subscribe` and `unsubscribe` may be called from one other thread.

    Attributes:
        sent_bytes: topics and payloads that went out on a connection.
        where: host and port of the broker.
        trouble: why there is no connection; "" while there is one, or before the first attempt ended.
    """

    def __init__(
        self,
        config: MqttSection,
        *,
        fleet: str,
        device: str,
        will_topic: str,
        will_payload: bytes,
        inbox: Inbox,
        report: Callable[[str], None] | None = None,
    ) -> None:
        """Start connecting in the background, for as long as it takes.

        Args:
            config: where the broker is, and how to show who we are.
            fleet: the fleet's name, checked.
            device: the device's name, checked; it is the client id.
            will_topic: where the broker says, retained, that this device died.
            will_payload: what it says.
            inbox: called from the client's thread; must never raise or block.
            report: told, likewise, when the connection is lost or refused for another reason than before,
                and when it is there again.

        Raises:
            ConfigError: a name, the port, the password file or a TLS file cannot be used.
        """
        check_name(fleet, "device.fleet")
        self._inbox, self._report = inbox, report
        host = f"[{config.host}]" if ":" in config.host else config.host
        self.where = f"{host}:{config.port}"
        self._connected = False
        self.trouble = ""
        self.sent_bytes = 0
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=check_name(device, "device.name"),
            protocol=paho.MQTTv5,
        )
        self._client.max_inflight_messages_set(MAX_INFLIGHT)
        self._client.max_queued_messages_set(MAX_QUEUED)
        self._client.reconnect_delay_set(1, max(1, config.reconnect_max_s))
        self._client.will_set(
            will_topic, will_payload, qos=1, retain=True, properties=_will_properties(config.will_delay_s)
        )
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._secure(config)
        self._start(config)

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool,
        properties: MessageProperties = NO_PROPERTIES,
    ) -> None:
        """Hand a message to the client; raises TransportError when it cannot take it.

        Without a connection the message is lost: whoever wants it sent gives it again on Connected.
        """
        try:
            info = self._client.publish(
                topic, payload, qos=qos, retain=retain, properties=_packed(properties)
            )
        except ValueError as error:
            raise TransportError(f"{topic} could not be sent: {error}") from error
        if info.rc not in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN):
            raise TransportError(f"{topic} could not be sent: {paho.error_string(info.rc)}")
        if info.rc == paho.MQTT_ERR_SUCCESS:
            self.sent_bytes += len(topic) + len(payload)

    def subscribe(self, topic: str) -> None:
        """Listen to a topic, QoS 1; nothing happens without a connection. Raises TransportError."""
        try:
            self._client.subscribe(topic, qos=1)
        except ValueError as error:
            raise TransportError(f"{topic} cannot be listened to: {error}") from error

    def unsubscribe(self, topic: str) -> None:
        """Stop listening to a topic; nothing happens without a connection. Raises TransportError."""
        try:
            self._client.unsubscribe(topic)
        except ValueError as error:
            raise TransportError(f"{topic} cannot be left: {error}") from error

    def close(self, final: tuple[str, bytes] | None = None) -> None:
        """Say goodbye with a retained (topic, payload), wait briefly for it, disconnect, end the thread."""
        if final is not None and self._client.is_connected():
            info = self._client.publish(final[0], final[1], qos=1, retain=True)
            if info.rc == paho.MQTT_ERR_SUCCESS:
                info.wait_for_publish(CLOSE_WAIT_S)
        self._connected = False  # an end of our own is no trouble
        self._client.disconnect()
        self._client.loop_stop()

    def _secure(self, config: MqttSection) -> None:
        if config.username:
            self._client.username_pw_set(config.username, password(config))
        context = tls_context(config)
        if context is not None:
            self._client.tls_set_context(context)

    def _start(self, config: MqttSection) -> None:
        properties = _properties(PacketTypes.CONNECT)
        try:
            properties.SessionExpiryInterval = config.session_expiry_s
            properties.MaximumPacketSize = MAX_PACKET_BYTES
            # Never a clean start: on the first connection, too, the broker's session is ours.
            self._client.connect_async(
                config.host,
                config.port,
                keepalive=config.keepalive_s,
                clean_start=False,
                properties=properties,
            )
        except (ValueError, MQTTException) as error:
            raise ConfigError(f"mqtt: host, port, keepalive_s or session_expiry_s: {error}") from error
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
            self._fail(f"refused: {reason}")
            self._inbox(Disconnected())
            return
        # What was out is the outbox's and comes again from the core; paho would send it a second time.
        self._client.drop_out_messages()
        if self.trouble:
            self._tell(f"broker {self.where}: connected")
        self._connected, self.trouble = True, ""
        limit = getattr(properties, "MaximumPacketSize", 0)
        self._inbox(Connected(limit if isinstance(limit, int) else 0))

    def _on_connect_fail(self, client: paho.Client, userdata: Any) -> None:
        # paho calls this while it handles the error, and does not pass it on.
        self._fail(str(sys.exc_info()[1] or "it does not answer"))

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if self._connected:
            self._connected = False
            self._fail(f"the connection is lost: {reason}")
        self._inbox(Disconnected())

    def _fail(self, reason: str) -> None:
        """Say why there is no connection, unless that was the last thing said."""
        text = f"broker {self.where}: {reason}"
        if text != self.trouble:
            self.trouble = text
            self._tell(text)

    def _tell(self, text: str) -> None:
        if self._report is not None:
            self._report(text)

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "(no text)"
        found = message.properties
        wanted = getattr(found, "ResponseTopic", "")
        correlation = getattr(found, "CorrelationData", b"")
        self._inbox(
            Received(
                topic,
                bytes(message.payload),
                wanted if isinstance(wanted, str) else "",
                bytes(correlation) if isinstance(correlation, bytes) else b"",
            )
        )


def _packed(properties: MessageProperties) -> Properties | None:
    """In the client's form."""
    if properties == NO_PROPERTIES:
        return None
    packed = _properties(PacketTypes.PUBLISH)
    if properties.expiry_s:
        packed.MessageExpiryInterval = properties.expiry_s
    if properties.response_topic:
        packed.ResponseTopic = properties.response_topic
    if properties.correlation:
        packed.CorrelationData = properties.correlation
    return packed


def _will_properties(delay_s: int) -> Properties | None:
    """A device that comes back within the delay never died (MQTT 5.0, 3.1.3.2.2)."""
    if not delay_s:
        return None
    packed = _properties(PacketTypes.WILLMESSAGE)
    packed.WillDelayInterval = delay_s
    return packed


def password(config: MqttSection) -> str | None:
    """The first line of the password file, None without one; raises ConfigError when it cannot be used."""
    if not config.password_file:
        return None
    path = Path(config.password_file)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"mqtt.password_file: {path} cannot be used: {error}") from error
    if not lines:
        raise ConfigError(f"mqtt.password_file: {path} is empty")
    return lines[0]


def tls_context(config: MqttSection) -> ssl.SSLContext | None:
    """How to prove who answers, and who asks; None without TLS.

    Raises:
        ConfigError: a file cannot be used; names its key.
    """
    if not config.tls_ca:
        return None
    context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.broker_name = config.tls_name
    with _naming("tls_ca", config.tls_ca):
        context.load_verify_locations(config.tls_ca)
    if config.tls_cert:
        beside = f" with {config.tls_key}" if config.tls_key else ""
        with _naming("tls_cert", config.tls_cert + beside):
            context.load_cert_chain(config.tls_cert, config.tls_key or None)
    return context


@contextmanager
def _naming(key: str, files: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise ConfigError(f"mqtt.{key}: {files} cannot be used: {error}") from error


class _NamedContext(ssl.SSLContext):
    """Asks for the certificate of `broker_name`, when there is one, whatever address was connected to."""

    broker_name = ""

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        name = self.broker_name or server_hostname
        return super().wrap_socket(
            sock, server_side, do_handshake_on_connect, suppress_ragged_eofs, name, session
        )
