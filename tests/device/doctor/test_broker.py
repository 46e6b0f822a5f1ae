"""Brokers that are there, that are not, and that say no; a device that runs loses nothing to the doctor."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgeadapt.errors import WireError
from edgeadapt_device.config import (
    DeviceConfig,
    MqttSection,
)
from edgeadapt_device.core.events import Connected, Received
from edgeadapt_device.doctor import broker as broker_module
from edgeadapt_device.doctor import examine
from edgeadapt_device.doctor.handshake import shake
from edgeadapt_device.io.link.mqtt import LinkEvent, MqttLink
from edgeadapt_device.status import read_status
from edgeadapt_sim.broker import Broker, free_port
from tests.device import rig
from tests.device.announce import LOOPBACK, announcing
from tests.device.doctor.ward import FAILED, OK, WARNING, answering, found, one, plain, running

# One machine has one multicast group: one at a time.
pytestmark = pytest.mark.xdist_group("discovery")


def test_a_broker_that_is_not_there(config: DeviceConfig) -> None:
    finding = one(plain(config, free_port()), "broker")
    assert finding.level is FAILED
    assert "refused" in finding.text
    finding = one(plain(config, 1883, host="nowhere.invalid"), "broker")
    assert "the name nowhere.invalid is not known" in finding.text


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker.start(log_dir=tmp_path / "broker") as running_broker:
        yield running_broker


@pytest.mark.integration
def test_a_broker_that_takes_the_device(config: DeviceConfig, broker: Broker) -> None:
    asked = plain(config, broker.port)
    assert one(asked, "broker").level is OK
    mqtt = one(asked, "mqtt")
    assert mqtt.level is OK
    assert f"takes {rig.NAME}" in mqtt.text
    # The session that it made is there the next time, as it is for the device.
    if broker.kind == "mosquitto":
        assert "it has kept the device's session" in one(asked, "mqtt").text


@pytest.mark.integration
def test_a_broker_that_has_to_be_found(
    config: DeviceConfig, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = msgspec.structs.replace(config, mqtt=MqttSection(host="", interfaces=LOOPBACK))
    with announcing(("ours", rig.FLEET, broker.port, LOOPBACK), ("theirs", "town", 1883, LOOPBACK)):
        findings = [f for f in examine(asked) if f.check in ("discovery", "broker", "mqtt")]
    assert [(f.check, f.level) for f in findings] == [("discovery", OK), ("broker", OK), ("mqtt", OK)]
    assert f"at 127.0.0.1, port {broker.port}" in findings[0].text
    monkeypatch.setattr(broker_module, "_SEARCH_S", 0.5)
    with announcing(("theirs", "town", 1883, LOOPBACK)):
        finding = one(asked, "discovery")
    assert finding.level is FAILED
    assert "there is theirs of fleet town" in finding.text
    assert "--announce" in finding.fix


@pytest.mark.integration
def test_a_device_that_runs_is_not_thrown_off_its_broker(config: DeviceConfig, broker: Broker) -> None:
    asked = plain(config, broker.port)
    with running(asked) as status:
        finding = one(asked, "broker")
        after = read_status(Path(asked.device.state_dir))
    assert finding.text == f"the device that runs is connected to {status.broker}: not tried again"
    assert after.connected


@pytest.mark.integration
def test_what_waits_in_the_session_is_not_taken_from_the_device(
    tmp_path: Path, config: DeviceConfig, broker: Broker
) -> None:
    if broker.kind != "mosquitto":
        pytest.skip("only Mosquitto keeps a session here")
    events: list[LinkEvent] = []

    def link(device: str) -> MqttLink:
        return MqttLink(
            MqttSection(port=broker.port),
            fleet="farm",
            device=device,
            will_topic="test/will",
            will_payload=b"",
            inbox=events.append,
        )

    def wait(kind: type) -> None:
        deadline_s = time.monotonic() + 20
        while not any(isinstance(event, kind) for event in events):
            assert time.monotonic() < deadline_s
            time.sleep(0.02)

    first = link(rig.NAME)
    wait(Connected)
    first.subscribe("test/orders")
    first.publish("test/orders", b"sync", 1, False)
    wait(Received)
    first.close()
    events.clear()
    other = link("other")
    wait(Connected)
    for order in (b"1", b"2", b"3"):
        other.publish("test/orders", order, 1, False)
    other.subscribe("test/sync")
    other.publish("test/sync", b"sync", 1, False)
    wait(Received)
    other.close()
    assert one(plain(config, broker.port), "mqtt").level is OK
    events.clear()
    again = link(rig.NAME)
    deadline_s = time.monotonic() + 20
    while len([event for event in events if isinstance(event, Received)]) < 3:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    again.close()
    got = [event.payload for event in events if isinstance(event, Received)]
    assert got == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("packet", "words"),
    [
        (bytes((0x20, 3, 0, 0x87, 0)), "0x87, this device is not allowed to connect"),
        (bytes((0x20, 3, 0, 0x86, 0)), "user name or password are wrong"),
        (bytes((0x20, 3, 0, 0xFF, 0)), "0xff, it refuses"),
        (bytes((0x20, 9, 0, 0x87, 6, 0x1F, 0, 3)) + b"why", "not allowed to connect: why"),
        (bytes((0x20, 2, 0, 1)), "MQTT 3 only"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not with a CONNACK"),
        (bytes((0x20, 4, 0, 0, 1, 0x99)), "unknown property 0x99"),
    ],
)
def test_what_a_broker_may_answer(config: DeviceConfig, packet: bytes, words: str) -> None:
    with answering(packet) as port:
        finding = one(plain(config, port), "mqtt")
    assert finding.level is FAILED
    assert words in finding.text
    assert finding.fix


def test_a_broker_whose_packets_are_too_small_for_samples(tmp_path: Path, config: DeviceConfig) -> None:
    packet = bytes((0x20, 8, 0, 0, 5, 0x27)) + (1000).to_bytes(4, "big")
    with answering(packet) as port:
        mqtt = found(plain(config, port), "mqtt")
    assert [finding.level for finding in mqtt] == [OK, WARNING]
    assert "packets up to 1000 bytes" in mqtt[0].text


@pytest.mark.parametrize("data", [b"", b"\x20", b"\x20\x05\x00\x00\x09\x27\x00", b"\x20\xff\xff\xff\xff"])
def test_an_answer_that_is_cut_off_is_one_of_two_errors(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises((OSError, WireError)):
            shake(ours, "a", keepalive_s=1, session_expiry_s=1)
