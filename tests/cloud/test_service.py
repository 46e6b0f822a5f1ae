"""The daemon against a real broker: real MQTT, a real database, a device that is a plain MQTT client."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgeadapt.errors import ConfigError, WireError
from edgeadapt.patch import Patch, open_envelope
from edgeadapt.wire import Ack, Assign, ServerStatus, decode
from edgeadapt.wire.topics import DeviceTopic, cloud_status, split
from edgeadapt_cloud.config import AnnounceSection, CloudConfig, MqttSection
from edgeadapt_cloud.core.jobs.job import AdapterPort
from edgeadapt_cloud.io.report import order_rollback, read_report
from edgeadapt_cloud.service import Service
from edgeadapt_device.io.link.discovery import search
from edgeadapt_sim.broker import Broker
from tests.cloud.fleet import BUNDLE, FLEET, KEY, TRUSTED, DeviceDouble, FixedAdapter, config

pytestmark = pytest.mark.integration
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for this module."""
    with Broker.start(log_dir=tmp_path_factory.mktemp("broker")) as running:
        yield running


class Radio:
    """A device's MQTT side: sends bytes, collects what comes down."""

    def __init__(self, port: int, name: str) -> None:
        self.got: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.acked: set[int] = set()
        self.assign: Assign | None = None
        self.patches: list[Patch] = []
        self._unacked: dict[int, tuple[str, bytes]] = {}
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        self._client.on_message = lambda client, data, message: self.got.put(
            (message.topic, bytes(message.payload))
        )
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(
            [(f"edgeadapt/v1/{FLEET}/{name}/down/#", 1), (f"edgeadapt/v1/{FLEET}/cohort/#", 1)]
        )
        self._client.loop_start()

    def send(self, topic: str, payload: bytes) -> None:
        """Publish; what carries a sequence is sent again until it is acknowledged, as a device does."""
        self._client.publish(topic, payload, qos=1)
        with suppress(WireError):
            sequence = getattr(decode(payload), "sequence", None)
            if sequence is not None:
                self._unacked[sequence] = (topic, payload)

    def until(self, done: Callable[[Radio], bool]) -> None:
        """Take in messages until the condition holds; fails after PATIENCE_S."""
        end_s = time.monotonic() + PATIENCE_S
        while not done(self):
            assert time.monotonic() < end_s, "nothing came"
            try:
                self._take(*self.got.get(timeout=1.0))
            except queue.Empty:
                for topic, payload in self._unacked.values():
                    self._client.publish(topic, payload, qos=1)

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, topic: str, payload: bytes) -> None:
        if isinstance(split(topic), DeviceTopic):
            message = decode(payload)
            if isinstance(message, Ack):
                self.acked.update(message.sequences)
                for sequence in message.sequences:
                    self._unacked.pop(sequence, None)
            elif isinstance(message, Assign):
                self.assign = message
        elif payload:
            self.patches.append(open_envelope(payload, TRUSTED))


def settings(port: int, client_id: str) -> CloudConfig:
    """Each test has its own session with the broker."""
    mqtt = MqttSection(port=port, client_id=client_id, reconnect_max_s=1, session_expiry_s=60)
    return msgspec.structs.replace(config(), mqtt=mqtt)


@contextmanager
def running(folder: Path, made: CloudConfig, adapter: AdapterPort) -> Iterator[None]:
    """A service in a thread; stopped at the end, and what it raised is raised here."""
    stop, failure = threading.Event(), list[BaseException]()

    def serve() -> None:
        try:
            Service(made, BUNDLE, adapter, KEY, folder).serve(stop)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    if failure:
        raise failure[0]


def test_from_samples_to_a_stable_patch_and_back_by_order(broker: Broker, tmp_path: Path) -> None:
    device, radio = DeviceDouble("loop"), Radio(broker.port, "loop")
    with running(tmp_path, settings(broker.port, "cloud-loop"), FixedAdapter()):
        radio.send(*device.signature())
        radio.until(lambda seen: seen.assign is not None)
        for _ in range(8):
            radio.send(*device.sample())
        radio.until(lambda seen: bool(seen.patches))
        assert radio.assign is not None
        radio.send(*device.outcome(radio.assign.cohort, radio.patches[0], "confirmed"))
        radio.until(lambda seen: len(seen.patches) == 2)
        assert radio.patches[0].digest == radio.patches[1].digest
        radio.until(lambda seen: seen.acked == set(range(1, device.sequence + 1)))
        assert read_report(tmp_path).running
        order_rollback(tmp_path, radio.assign.cohort, to_base=True)
        radio.until(lambda seen: len(seen.patches) == 3)
        assert (radio.patches[2].header.serial, dict(radio.patches[2].values)) == (2, {})
    radio.close()
    report = read_report(tmp_path)
    assert not report.running
    assert [patch.stage for patch in report.patches] == ["halted", "stable"]
    assert report.patches[0].outcomes == {"confirmed": 1}
    assert report.cohorts[0].samples == 8


def test_a_service_is_born_with_an_epoch_that_rises_and_says_goodbye(broker: Broker, tmp_path: Path) -> None:
    heard: queue.Queue[ServerStatus] = queue.Queue()

    def on_message(client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        status = decode(bytes(message.payload), ServerStatus)
        assert isinstance(status, ServerStatus)
        heard.put(status)

    made = settings(broker.port, "cloud-born")
    made = msgspec.structs.replace(made, cloud=msgspec.structs.replace(made.cloud, fleet="born"))
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="watcher", protocol=paho.MQTTv5)
    client.on_message = on_message
    client.connect("127.0.0.1", broker.port)
    client.subscribe(cloud_status("born"), qos=1)
    client.loop_start()
    for epoch in (1, 2):
        with running(tmp_path, made, FixedAdapter()):
            birth = heard.get(timeout=PATIENCE_S)
            assert (birth.epoch, birth.online, birth.speaks) == (epoch, True, (1, 1))
        death = heard.get(timeout=PATIENCE_S)
        assert (death.epoch, death.online) == (epoch, False)
    client.disconnect()
    client.loop_stop()


def test_messages_sent_while_it_was_away_are_taken_in_later(broker: Broker, tmp_path: Path) -> None:
    made = settings(broker.port, "cloud-away")
    device, radio = DeviceDouble("away"), Radio(broker.port, "away")
    with running(tmp_path, made, FixedAdapter()):
        radio.send(*device.signature())
        radio.until(lambda seen: 1 in seen.acked)
    for _ in range(4):
        radio.send(*device.sample())
    with running(tmp_path, made, FixedAdapter()):
        radio.until(lambda seen: seen.acked == {1, 2, 3, 4, 5})
    radio.close()
    assert read_report(tmp_path).cohorts[0].samples == 4


def test_garbage_is_counted_and_the_service_goes_on(broker: Broker, tmp_path: Path) -> None:
    device, radio = DeviceDouble("noise"), Radio(broker.port, "noise")
    with running(tmp_path, settings(broker.port, "cloud-noise"), FixedAdapter()):
        radio.send(*device.signature())
        radio.until(lambda seen: seen.acked == {1})
        radio.send(f"edgeadapt/v1/{FLEET}/noise/up/sample", b"\x00" * 100)
        radio.send(f"edgeadapt/v1/{FLEET}/noise/up/nothing", b"x")
        radio.send(f"edgeadapt/v1/{FLEET}/noise/up/sample", bytes(2 << 20))
        radio.send(*device.sample())
        radio.until(lambda seen: seen.acked == {1, 2})
    radio.close()
    assert read_report(tmp_path).quarantine == {"foreign-topic": 1, "malformed": 2}


def test_second_service_on_the_same_folder_is_refused(broker: Broker, tmp_path: Path) -> None:
    device, radio = DeviceDouble("twice"), Radio(broker.port, "twice")
    with running(tmp_path, settings(broker.port, "cloud-one"), FixedAdapter()):
        radio.send(*device.signature())
        radio.until(lambda seen: seen.assign is not None)
        with pytest.raises(ConfigError, match="another service"):
            Service(settings(broker.port, "cloud-two"), BUNDLE, FixedAdapter(), KEY, tmp_path).serve(
                threading.Event()
            )
    radio.close()


def test_broker_that_forgot_everything_is_told_again(broker: Broker, tmp_path: Path) -> None:
    device, radio = DeviceDouble("told"), Radio(broker.port, "told")
    with running(tmp_path / "state", settings(broker.port, "cloud-told"), FixedAdapter()):
        radio.send(*device.signature())
        radio.until(lambda seen: seen.assign is not None)
    radio.close()
    (tmp_path / "log").mkdir()
    with Broker.start(log_dir=tmp_path / "log") as other:
        radio = Radio(other.port, "told")
        with running(tmp_path / "state", settings(other.port, "cloud-told"), FixedAdapter()):
            radio.until(lambda seen: seen.assign is not None)
        radio.close()


def test_a_service_that_announces_is_found_until_it_ends(broker: Broker, tmp_path: Path) -> None:
    loopback = ("127.0.0.1",)
    announce = AnnounceSection(enabled=True, addresses=loopback, interfaces=loopback)
    made = msgspec.structs.replace(settings(broker.port, "cloud-announced"), announce=announce)
    with running(tmp_path, made, FixedAdapter()):
        deadline = time.monotonic() + PATIENCE_S
        while not (own := search(FLEET, secure=False, interfaces=loopback, patience_s=2.0).own):
            assert time.monotonic() < deadline
        assert (own[0].addresses, own[0].port) == (loopback, broker.port)
    assert search(FLEET, secure=False, interfaces=loopback, patience_s=0.5).own == ()
