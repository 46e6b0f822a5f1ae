"""The link against a real broker on loopback."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt.wire import MessageProperties
from edgeadapt_device.config import MqttSection
from edgeadapt_device.core.events import Connected, Disconnected, Received
from edgeadapt_device.io.link.mqtt import MAX_PACKET_BYTES, LinkEvent, MqttLink
from edgeadapt_sim.broker import Broker, free_port

E = TypeVar("E", Connected, Disconnected, Received)


# Success, no properties.
CONNACK = bytes((0x20, 3, 0, 0, 0))


class Side:
    """A link and what arrived on it."""

    def __init__(self, port: int, device: str, will_delay_s: int = 0) -> None:
        self.events: queue.SimpleQueue[LinkEvent] = queue.SimpleQueue()
        self.told: list[str] = []
        config = MqttSection(port=port, reconnect_max_s=1, will_delay_s=will_delay_s)
        self.link = MqttLink(
            config,
            fleet="f",
            device=device,
            will_topic=f"test/{device}/status",
            will_payload=b"dead",
            inbox=self.events.put,
            report=self.told.append,
        )

    def wait(self, kind: type[E]) -> E:
        while True:
            event = self.events.get(timeout=10)
            if isinstance(event, kind):
                return event


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker.start(log_dir=tmp_path) as running:
        yield running


@pytest.fixture
def connect(broker: Broker) -> Iterator[Callable[[str], Side]]:
    sides: list[Side] = []

    def make(device: str) -> Side:
        side = Side(broker.port, device)
        sides.append(side)
        side.wait(Connected)
        return side

    yield make
    for side in sides:
        side.link.close(None)


@pytest.mark.integration
def test_messages_go_both_ways_and_goodbye_is_retained(connect: Callable[[str], Side]) -> None:
    one, two = connect("one"), connect("two")
    two.link.subscribe("test/down")
    # The broker answers in order: what comes back proves that the subscription before it is there.
    two.link.publish("test/down", b"self", 1, False)
    assert two.wait(Received) == Received("test/down", b"self")
    one.link.publish("test/down", b"hello", 1, False)
    assert two.wait(Received) == Received("test/down", b"hello")
    one.link.close(("test/one/status", b"bye"))
    two.link.subscribe("test/one/status")
    assert two.wait(Received) == Received("test/one/status", b"bye")


@pytest.mark.integration
def test_unsubscribing_ends_a_topic(connect: Callable[[str], Side]) -> None:
    side = connect("one")
    for topic in ("test/a", "test/b"):
        side.link.subscribe(topic)
    side.link.unsubscribe("test/a")
    side.link.publish("test/a", b"unheard", 1, False)
    side.link.publish("test/b", b"heard", 1, False)
    assert side.wait(Received) == Received("test/b", b"heard")


@pytest.mark.integration
def test_a_broker_that_comes_back_is_found_again(broker: Broker, connect: Callable[[str], Side]) -> None:
    side = connect("one")
    broker.stop()
    side.wait(Disconnected)
    broker.resume()
    assert side.wait(Connected).max_packet_bytes >= 0
    side.link.subscribe("test/a")
    side.link.publish("test/a", b"again", 1, False)
    assert side.wait(Received) == Received("test/a", b"again")


@pytest.mark.integration
def test_a_broken_connection_makes_the_broker_publish_the_will(
    broker: Broker, connect: Callable[[str], Side]
) -> None:
    other = connect("other")
    other.link.subscribe("test/one/status")
    first = connect("one")
    # Nobody says goodbye for a connection that breaks.
    _break(first)
    assert other.wait(Received) == Received("test/one/status", b"dead")


@pytest.mark.integration
def test_who_is_back_within_the_wills_delay_never_died(
    broker: Broker, connect: Callable[[str], Side]
) -> None:
    if broker.kind != "mosquitto":
        pytest.skip("the embedded broker does not wait")
    other = connect("other")
    other.link.subscribe("test/one/status")
    patient = Side(broker.port, "one", will_delay_s=60)
    patient.wait(Connected)
    _break(patient)
    patient.wait(Disconnected)
    patient.wait(Connected)
    patient.link.publish("test/one/status", b"alive", 1, True)
    assert other.wait(Received) == Received("test/one/status", b"alive")
    patient.link.close(None)


@pytest.mark.integration
def test_what_travels_beside_a_message_arrives(connect: Callable[[str], Side]) -> None:
    one, two = connect("one"), connect("two")
    two.link.subscribe("test/down")
    two.link.publish("test/down", b"self", 1, False)
    assert two.wait(Received).response_topic == ""
    asked = MessageProperties(response_topic="test/answers", correlation=b"\x00\xff")
    one.link.publish("test/down", b"order", 1, False, asked)
    assert two.wait(Received) == Received("test/down", b"order", "test/answers", b"\x00\xff")


@pytest.mark.integration
def test_a_broker_lets_go_of_what_has_expired(connect: Callable[[str], Side]) -> None:
    one, two = connect("one"), connect("two")
    for topic, expiry_s in (("test/short", 1), ("test/long", 600)):
        one.link.publish(topic, b"kept", 1, True, MessageProperties(expiry_s=expiry_s))
    time.sleep(2.5)
    for topic in ("test/short", "test/long"):
        two.link.subscribe(topic)
    assert two.wait(Received).topic == "test/long"


def _break(side: Side) -> None:
    used = side.link._client.socket()
    assert used is not None
    with socket.socket(fileno=os.dup(used.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)


def test_the_brokers_packet_limit_is_told() -> None:
    # CONNACK, success, with one property: 0x27, Maximum Packet Size (MQTT 5, 3.2.2.3.6).
    connack = bytes((0x20, 8, 0, 0, 5, 0x27)) + (12_345).to_bytes(4, "big")
    with socket.create_server(("127.0.0.1", 0)) as server:
        side = Side(server.getsockname()[1], "one")
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(connack)
            assert side.wait(Connected) == Connected(12_345)
            side.link.close(None)


def test_a_refused_connection_is_no_connection_and_says_why_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        side = Side(port, "one")
        for _ in range(2):
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(bytes((0x20, 3, 0, 0x87, 0)))  # 0x87: not authorised
                assert isinstance(side.events.get(timeout=10), Disconnected)
        side.link.close(None)
    assert side.told == [f"broker 127.0.0.1:{port}: refused: Not authorized"]
    assert side.link.trouble == side.told[0]


def test_no_broker_is_no_error_and_is_told_until_there_is_one() -> None:
    port = free_port()
    side = Side(port, "alone")
    side.link.publish("test/x", b"lost", 0, False)
    side.link.subscribe("test/x")
    _until(lambda: bool(side.told))
    assert side.told == [side.link.trouble]
    assert f"127.0.0.1:{port}" in side.told[0]
    assert "refused" in side.told[0]
    assert side.link.sent_bytes == 0
    with socket.create_server(("127.0.0.1", port)) as server:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(CONNACK)
            side.wait(Connected)
            assert side.link.trouble == ""
        _until(lambda: len(side.told) == 3)
    assert side.told[1] == f"broker 127.0.0.1:{port}: connected"
    assert "connection is lost" in side.told[2]
    side.link.close(("test/x", b"bye"))


def test_the_broker_is_told_how_much_a_packet_may_hold() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        side = Side(server.getsockname()[1], "one")
        connection, _ = server.accept()
        with connection:
            assert b"\x27" + MAX_PACKET_BYTES.to_bytes(4, "big") in connection.recv(4096)
    side.link.close(None)


def test_what_was_out_is_not_sent_again_by_the_client_itself() -> None:
    # The core gives unacknowledged rows again on every connection: more than these would be a storm.
    counts: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        side = Side(server.getsockname()[1], "one")
        for _ in range(3):
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(CONNACK)
                side.wait(Connected)
                for number in range(5):
                    side.link.publish("test/row", b"row %d" % number, 1, False)
                counts.append(_published(connection, b"row 4"))
            side.wait(Disconnected)
            # Whatever comes before the core knows is lost, too: it is given again on Connected.
            side.link.publish("test/row", b"between", 1, False)
    side.link.close(None)
    assert counts == [5, 5, 5]
    assert side.link.sent_bytes == 3 * 5 * len("test/rowrow 0")


def _published(connection: socket.socket, last: bytes) -> int:
    """Messages that arrive until `last`, and a moment longer."""
    received = b""
    connection.settimeout(10)
    while last not in received:
        received += connection.recv(4096)
    connection.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        received += connection.recv(4096)
    return received.count(b"test/row")


def _until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_topic_that_cannot_be_is_a_transport_error() -> None:
    side = Side(free_port(), "alone")
    for topic in ("a/+", "x" * 70_000):
        with pytest.raises(TransportError, match="could not be sent"):
            side.link.publish(topic, b"", 1, False)
    with pytest.raises(TransportError, match="listened"):
        side.link.subscribe("a/#/b")
    with pytest.raises(TransportError, match="left"):
        side.link.unsubscribe("")
    side.link.close(None)


def test_files_and_names_that_cannot_be_used_are_config_errors(tmp_path: Path) -> None:
    def link(config: MqttSection, device: str = "d") -> MqttLink:
        return MqttLink(
            config, fleet="f", device=device, will_topic="t", will_payload=b"", inbox=lambda event: None
        )

    with pytest.raises(ConfigError, match="password"):
        link(MqttSection(username="u", password_file=str(tmp_path / "none")))
    (tmp_path / "empty").write_text("")
    with pytest.raises(ConfigError, match="is empty"):
        link(MqttSection(username="u", password_file=str(tmp_path / "empty")))
    with pytest.raises(ConfigError, match=r"mqtt\.tls_ca"):
        link(MqttSection(tls_ca=str(tmp_path / "none.pem")))
    with pytest.raises(ConfigError, match="port"):
        link(MqttSection(port=0))
    with pytest.raises(ConfigError, match=r"device\.name"):
        link(MqttSection(), device="a/b")
