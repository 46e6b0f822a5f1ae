"""A read-only MQTT client that sees every message of the demo's fleet.

paho's thread only puts messages into a queue; `drain` hands them to the caller's thread. It never
publishes. Not here: what the messages mean (`ledger`).
"""

from __future__ import annotations

import queue
import threading
from types import TracebackType

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeadapt.errors import TransportError
from edgeadapt.wire.topics import ROOT

_CONNECT_S = 10.0


class Observer:
    """Use as a context manager; connected inside the block."""

    def __init__(self, host: str, port: int, fleet: str) -> None:
        self._inbox: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._ready = threading.Event()
        self._filter = f"{ROOT}/{fleet}/#"
        self._address = (host, port)
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="edgeadapt-observer", protocol=paho.MQTTv5
        )
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._arrived

    def drain(self) -> list[tuple[str, bytes]]:
        """All messages, (topic, payload), since the last call."""
        taken = []
        while not self._inbox.empty():
            taken.append(self._inbox.get())
        return taken

    def _connected(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if not reason.is_failure:
            client.subscribe(self._filter, qos=1)

    def _subscribed(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        self._ready.set()

    def _arrived(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        self._inbox.put((message.topic, bytes(message.payload)))

    def __enter__(self) -> Observer:
        try:
            self._client.connect(*self._address)
        except OSError as error:
            raise TransportError(f"the broker does not answer: {error}") from error
        self._client.loop_start()
        if not self._ready.wait(_CONNECT_S):
            self._client.loop_stop()
            raise TransportError(f"the broker did not take a subscription in {_CONNECT_S:g} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()
