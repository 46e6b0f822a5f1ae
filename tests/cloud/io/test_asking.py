"""One order to one device over a real broker, as `edgeadapt cloud command` sends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgeadapt.errors import TransportError
from edgeadapt.wire import Command, Reply, Status, decode, encode
from edgeadapt.wire.topics import down, up
from edgeadapt_cloud.config import MqttSection
from edgeadapt_cloud.io.asking import ask
from edgeadapt_sim.broker import Broker

pytestmark = pytest.mark.integration
_properties: Callable[[int], Properties] = Properties


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker.start(log_dir=tmp_path_factory.mktemp("broker")) as running:
        yield running


class Obedient:
    """A device that is a plain MQTT client; it answers as it is told to."""

    def __init__(self, port: int, name: str, answer: Callable[[Command, bytes], list[tuple[bytes, bytes]]]):
        self.expiries: list[int] = []
        self._answer = answer
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(down("f", name, "command"), qos=1)
        self._client.loop_start()
        status = encode(Status(epoch=1, online=True, bundle="b"))
        self._client.publish(up("f", name, "status"), status, qos=1, retain=True).wait_for_publish(10)

    def _on_message(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        command = decode(bytes(message.payload), Command)
        assert isinstance(command, Command)
        asked: Any = message.properties
        self.expiries.append(asked.MessageExpiryInterval)
        for payload, correlation in self._answer(command, asked.CorrelationData):
            made = _properties(PacketTypes.PUBLISH)
            made.CorrelationData = correlation
            client.publish(asked.ResponseTopic, payload, qos=1, properties=made)

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()


def said(command: Command, *, done: bool = True) -> bytes:
    return encode(Reply(id=command.id, done=done, reason="obeyed" if done else "refused"))


def test_an_order_is_answered(broker: Broker) -> None:
    device = Obedient(broker.port, "good", lambda command, mark: [(said(command), mark)])
    for action in ("report", "rollback"):
        reply = ask(MqttSection(port=broker.port), "f", "good", action, 20.0)
        assert (reply.done, reply.reason) == (True, "obeyed")
    device.close()
    assert all(0 < expiry <= 20 for expiry in device.expiries)


def test_only_the_answer_to_this_order_counts(broker: Broker) -> None:
    def answers(command: Command, mark: bytes) -> list[tuple[bytes, bytes]]:
        stranger = encode(Reply(id="another", done=True, reason="obeyed"))
        right = said(command, done=False)
        return [(said(command), b"another"), (b"\xc1", mark), (stranger, mark), (right, mark)]

    device = Obedient(broker.port, "noisy", answers)
    reply = ask(MqttSection(port=broker.port), "f", "noisy", "report", 20.0)
    device.close()
    assert not reply.done


def test_who_does_not_answer_in_time_is_said_to_be_there_or_not(broker: Broker) -> None:
    device = Obedient(broker.port, "mute", lambda command, mark: [])
    with pytest.raises(TransportError, match=r"mute did not answer in 0\.5 s; it is online"):
        ask(MqttSection(port=broker.port), "f", "mute", "report", 0.5)
    device.close()
    with pytest.raises(TransportError, match="nobody is unknown to the broker"):
        ask(MqttSection(port=broker.port), "f", "nobody", "report", 0.5)


def test_without_a_broker_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="no broker answers"):
        ask(MqttSection(port=1), "f", "d", "report", 0.3)
