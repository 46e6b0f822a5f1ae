"""The service's MQTT 5 connection (paho): puts what arrives in an inbox, sends what it is given.

QoS 1 and a persistent session, so the broker keeps messages while the service is away; what counts is
the application acknowledgement all the same. Callbacks only enqueue and never raise: an exception in one
would kill paho's thread while the client still looks connected. A full inbox drops messages; the devices
send them again. That a session began is never dropped: it waits outside the inbox until it is asked for.
"""

from __future__ import annotations

import logging
import queue
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeadapt.errors import ConfigError
from edgeadapt.wire import NO_PROPERTIES, MessageProperties
from edgeadapt.wire.topics import ROOT, cloud_status
from edgeadapt_cloud.config import MqttSection
from edgeadapt_cloud.core.effects import Publish
from edgeadapt_cloud.core.events import Event, MessageArrived

log = logging.getLogger("edgeadapt.cloud")

# paho's class carries no types.
_properties: Callable[[int], Properties] = Properties
# Unsent messages that the client may hold; what is retained is sent again at every new session.
MAX_QUEUED = 10_000
MAX_INFLIGHT = 64
# A connection that is over within this long, so often in a row, was taken by another client of the same name.
_BRIEF_S = 5.0
_BRIEF_IN_A_ROW = 3
_GOODBYE_S = 2.0


def secure(client: paho.Client, settings: MqttSection) -> None:
    """How to say who we are, and who must answer; raises ConfigError when a file cannot be used."""
    try:
        if settings.username:
            password = Path(settings.password_file).read_text().strip() if settings.password_file else None
            client.username_pw_set(settings.username, password)
        if settings.tls_ca:
            client.tls_set(settings.tls_ca, settings.tls_cert or None, settings.tls_key or None)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ConfigError(f"mqtt: a password or TLS file cannot be used: {error}") from error


def packed(properties: MessageProperties) -> Properties | None:
    """What travels beside a message, in the client's form."""
    if properties == NO_PROPERTIES:
        return None
    made = _properties(PacketTypes.PUBLISH)
    if properties.expiry_s:
        made.MessageExpiryInterval = properties.expiry_s
    if properties.response_topic:
        made.ResponseTopic = properties.response_topic
    if properties.correlation:
        made.CorrelationData = properties.correlation
    return made


class MqttLink:
    """One connection for the life of the service; it reconnects by itself."""

    def __init__(
        self, settings: MqttSection, fleet: str, inbox: queue.Queue[Event], death: bytes = b""
    ) -> None:
        """Prepare; `death` is what the broker says, retained, of a service that died or stopped.

        Raises:
            ConfigError: a password or TLS file cannot be used.
        """
        self._death, self._status_topic = death, cloud_status(fleet)
        self._settings = settings
        self._filter = f"{ROOT}/{fleet}/+/up/#"
        self._inbox = inbox
        self._max_packet_bytes: int | None = None
        self._new_session = threading.Event()
        self.connected = False
        self.dropped = 0
        self._unreachable_told = False
        self._connected_s, self._brief = 0.0, 0
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=settings.client_id, protocol=paho.MQTTv5
        )
        self._client.max_inflight_messages_set(MAX_INFLIGHT)
        self._client.max_queued_messages_set(MAX_QUEUED)
        self._client.reconnect_delay_set(1, max(1, settings.reconnect_max_s))
        if death:
            self._client.will_set(self._status_topic, death, qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        secure(self._client, settings)

    def start(self) -> None:
        """Connect in the background, for as long as it takes."""
        properties = _properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = self._settings.session_expiry_s
        self._client.connect_async(
            self._settings.host,
            self._settings.port,
            keepalive=self._settings.keepalive_s,
            clean_start=False,
            properties=properties,
        )
        self._client.loop_start()

    def stop(self) -> None:
        """Say goodbye, disconnect and end paho's thread."""
        if self._death and self._client.is_connected():
            info = self._client.publish(self._status_topic, self._death, qos=1, retain=True)
            if info.rc == paho.MQTT_ERR_SUCCESS:
                info.wait_for_publish(_GOODBYE_S)
        self._client.disconnect()
        self._client.loop_stop()
        # They hold this link, which holds the client: without them its sockets close as soon as it is let go.
        self._client.on_connect = self._client.on_connect_fail = None
        self._client.on_disconnect = self._client.on_message = None

    def take_new_session(self) -> bool:
        """True once after every connection: what the broker should retain has to be published again."""
        begun = self._new_session.is_set()
        if begun:
            self._new_session.clear()
        return begun

    def publish(self, message: Publish) -> None:
        """Hand a message to the client; what it cannot take is logged and counted."""
        limit = self._max_packet_bytes
        if limit is not None and len(message.payload) + len(message.topic) + 16 > limit:
            # Sending it would end the connection, again and again.
            log.error("%s: %d bytes, the broker takes %d", message.topic, len(message.payload), limit)
            self.dropped += 1
            return
        info = self._client.publish(
            message.topic,
            message.payload,
            qos=1,
            retain=message.retain,
            properties=packed(message.properties),
        )
        if info.rc not in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN):
            log.warning("%s could not be sent: %s", message.topic, paho.error_string(info.rc))
            self.dropped += 1

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        try:
            if reason.is_failure:
                log.warning("the broker refuses the connection: %s", reason)
                return
            limit = getattr(properties, "MaximumPacketSize", None)
            self._max_packet_bytes = int(limit) if limit is not None else None
            client.subscribe(self._filter, qos=1)
            self.connected, self._unreachable_told = True, False
            self._connected_s = time.monotonic()
            log.info("connected to %s:%d", self._settings.host, self._settings.port)
            self._new_session.set()
        except Exception:
            log.exception("on connect")

    def _on_connect_fail(self, client: paho.Client, userdata: Any) -> None:
        if not self._unreachable_told:
            log.warning(
                "no broker at %s:%d yet; trying until there is one", self._settings.host, self._settings.port
            )
        self._unreachable_told = True

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if self.connected and not reason.is_failure:
            log.info("disconnected")
        elif self.connected:
            brief = time.monotonic() - self._connected_s < _BRIEF_S
            self._brief = self._brief + 1 if brief else 0
            log.warning("disconnected: %s", reason)
            if self._brief == _BRIEF_IN_A_ROW:
                log.error(
                    "the broker ends each connection at once: another service that runs has the same "
                    "mqtt.client_id %r, so stop it, or give this one a name of its own",
                    self._settings.client_id,
                )
        self.connected = False

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            self._enqueue(MessageArrived(message.topic, bytes(message.payload)))
        except UnicodeDecodeError:
            self._enqueue(MessageArrived("(no text)", bytes(message.payload)))
        except Exception:
            log.exception("on message")

    def _enqueue(self, event: Event) -> None:
        try:
            self._inbox.put_nowait(event)
        except queue.Full:
            self.dropped += 1
