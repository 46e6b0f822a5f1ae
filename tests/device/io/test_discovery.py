"""Brokers that are announced on loopback, with the real library on both sides and a real broker behind."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zeroconf

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt.wire.discovery import service_type
from edgeadapt_device.config import DeviceSection, HttpSection, MqttSection, OutputSection, SourceSection
from edgeadapt_device.core.events import Connected, Disconnected, Received
from edgeadapt_device.daemon import Daemon
from edgeadapt_device.io.link import found as found_module
from edgeadapt_device.io.link.discovery import Announced, Search, _Seen, search
from edgeadapt_device.io.link.found import FoundLink
from edgeadapt_device.io.link.mqtt import LinkEvent, MqttLink
from edgeadapt_device.status import read_status
from edgeadapt_models.compile import tiny_bundle
from edgeadapt_sim.broker import Broker, free_port
from tests.device import rig
from tests.device.announce import LOOPBACK, announcing

# One machine has one multicast group: one at a time.
pytestmark = pytest.mark.xdist_group("discovery")


@pytest.mark.integration
def test_brokers_are_told_apart_by_fleet_and_by_tls() -> None:
    with announcing(
        ("farm-broker", "farm", 1885, ("::1", "127.0.0.1")),
        ("town-broker", "town", 1884, LOOPBACK),
        ("somebody", None, 1883, LOOPBACK),
        ("secure-broker", "farm", 8883, LOOPBACK),
    ):
        plain = search("farm", secure=False, interfaces=LOOPBACK, patience_s=5.0)
        secure = search("farm", secure=True, interfaces=LOOPBACK, patience_s=5.0)
        for patience_s in (1.0, 4.0, 10.0):  # a busy machine answers late
            nobody = search("moon", secure=False, interfaces=LOOPBACK, patience_s=patience_s)
            if len(nobody.others) == 3:
                break
    assert plain.own == (Announced("farm-broker", "farm", ("127.0.0.1", "::1"), 1885),)
    assert [each.name for each in secure.own] == ["secure-broker"]
    assert nobody.own == ()
    assert {(each.name, each.fleet) for each in nobody.others} == {
        ("farm-broker", "farm"),
        ("town-broker", "town"),
        ("somebody", ""),
    }


def test_a_network_that_is_not_there_is_a_transport_error() -> None:
    with pytest.raises(TransportError, match=r"no interface has the address 203\.0\.113\.1"):
        search("farm", secure=False, interfaces=("203.0.113.1",), patience_s=0.1)


class Side:
    """A found link and what arrived on it; `brokers` is what a search will bring."""

    def __init__(self, config: MqttSection, *searches: Search | TransportError) -> None:
        self.events: queue.SimpleQueue[LinkEvent] = queue.SimpleQueue()
        self.told: list[str] = []
        self.searches = list(searches)
        self.searched = 0
        self.link = FoundLink(
            config,
            fleet="farm",
            device="one",
            will_topic="test/one/status",
            will_payload=b"dead",
            inbox=self.events.put,
            report=self.told.append,
            search=self.search,
        )

    def search(
        self, fleet: str, *, secure: bool, interfaces: tuple[str, ...], stop: threading.Event
    ) -> Search:
        self.searched += 1
        result = self.searches[min(self.searched, len(self.searches)) - 1]
        if isinstance(result, TransportError):
            raise result
        return result

    def wait(self, kind: type[Connected] | type[Disconnected] | type[Received]) -> LinkEvent:
        while not isinstance(event := self.events.get(timeout=20), kind):
            pass
        return event


def at(*ports: int, addresses: tuple[str, ...] = LOOPBACK) -> Search:
    return Search(tuple(Announced(f"b{port}", "farm", addresses, port) for port in ports), ())


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker.start(log_dir=tmp_path) as running:
        yield running


PLAIN = MqttSection(host="", reconnect_max_s=1, interfaces=LOOPBACK)


@pytest.mark.integration
def test_a_broker_is_found_and_used_for_real(broker: Broker) -> None:
    heard: queue.SimpleQueue[LinkEvent] = queue.SimpleQueue()
    with announcing(("farm-broker", "farm", broker.port, LOOPBACK)):
        link = FoundLink(
            PLAIN,
            fleet="farm",
            device="one",
            will_topic="test/one/status",
            will_payload=b"dead",
            inbox=heard.put,
            report=lambda text: None,
        )
        try:
            assert isinstance(heard.get(timeout=20), Connected)
            assert link.where == f"127.0.0.1:{broker.port}"
            assert link.trouble == ""
            link.subscribe("test/a")
            link.publish("test/a", b"hello", 1, False)
            assert heard.get(timeout=20) == Received("test/a", b"hello")
            assert link.sent_bytes == len("test/a") + len(b"hello")
        finally:
            link.close(("test/one/status", b"bye"))
    assert link.sent_bytes >= len("test/a") + len(b"hello")


@pytest.mark.integration
def test_all_addresses_of_all_brokers_are_tried(broker: Broker) -> None:
    closed = free_port()
    found = Search(
        (
            Announced("gone", "farm", ("127.0.0.1", "127.0.0.2"), closed),
            Announced("there", "farm", ("127.9.9.9", "127.0.0.1"), broker.port),
        ),
        (),
    )
    side = Side(PLAIN, found)
    try:
        side.wait(Connected)
        assert side.link.where == f"127.0.0.1:{broker.port}"
        refused = [text for text in side.told if "refused" in text]
        for where in (f"127.0.0.1:{closed}", f"127.0.0.2:{closed}", f"127.9.9.9:{broker.port}"):
            assert any(where in text for text in refused), refused
        assert side.searched == 1
    finally:
        side.link.close()


@pytest.mark.integration
def test_a_lost_broker_is_looked_for_again_elsewhere(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(found_module, "_LOST_S", 0.5)
    with Broker.start(log_dir=tmp_path / "second") as second:
        side = Side(PLAIN, at(broker.port), at(second.port))
        try:
            side.wait(Connected)
            broker.stop()
            side.wait(Disconnected)
            side.wait(Connected)
            assert side.link.where == f"127.0.0.1:{second.port}"
            side.link.subscribe("test/a")
            side.link.publish("test/a", b"again", 1, False)
            assert side.wait(Received) == Received("test/a", b"again")
        finally:
            side.link.close()


@pytest.mark.integration
def test_whoever_hears_of_a_connection_can_use_it(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(MqttLink):
        """Connected before its maker has it."""

        def _start(self, config: MqttSection) -> None:
            super()._start(config)
            time.sleep(0.5)

    monkeypatch.setattr(found_module, "MqttLink", Slow)
    side = Side(PLAIN, at(broker.port))
    try:
        side.wait(Connected)
        side.link.subscribe("test/a")
        side.link.publish("test/a", b"heard", 1, False)
        assert side.wait(Received) == Received("test/a", b"heard")
    finally:
        side.link.close()


@pytest.mark.integration
def test_a_broker_that_comes_back_soon_is_not_looked_for(broker: Broker) -> None:
    side = Side(PLAIN, at(broker.port))
    try:
        side.wait(Connected)
        broker.stop()
        side.wait(Disconnected)
        broker.resume()
        side.wait(Connected)
        assert side.searched == 1
    finally:
        side.link.close()


@pytest.mark.integration
def test_while_there_is_none_it_says_so_and_looks_on(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found_module, "_FIRST_PAUSE_S", 0.2)
    others = Search((), (Announced("town-broker", "town", LOOPBACK, 1883),))
    side = Side(PLAIN, TransportError("there is no network"), others, others, at(broker.port))
    try:
        deadline_s = time.monotonic() + 20
        while "town-broker (town)" not in side.link.trouble:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        assert "no broker of fleet 'farm' is announced" in side.link.trouble
        assert side.link.where == ""
        side.link.publish("test/a", b"lost", 1, False)
        side.link.subscribe("test/a")
        side.wait(Connected)
        assert side.link.trouble == ""
        assert side.told[0] == "there is no network"
        assert len([text for text in side.told if "town-broker" in text]) == 1
    finally:
        side.link.close()


def test_closing_does_not_wait_for_a_search() -> None:
    side = Side(PLAIN, Search((), ()))
    side.link.close()
    assert not side.link.is_alive()


def test_a_round_that_ends_while_it_resolves_raises_nothing_in_the_browsers_thread() -> None:
    browsing = zeroconf.Zeroconf(interfaces=list(LOOPBACK))
    browsing.close()
    kind = service_type(secure=False)
    seen = _Seen("default")
    seen.on_change(browsing, kind, f"broker.{kind}", zeroconf.ServiceStateChange.Added)
    assert seen.result() == Search((), ())


def test_a_file_that_cannot_be_used_is_said_before_anything_is_looked_for(tmp_path: Path) -> None:
    config = msgspec.structs.replace(PLAIN, tls_ca=str(tmp_path / "none.pem"), tls_name="broker")
    with pytest.raises(ConfigError, match=r"mqtt\.tls_ca: .*none\.pem"):
        Side(config, Search((), ()))


@pytest.mark.integration
def test_a_daemon_without_a_host_finds_its_broker_and_says_which(tmp_path: Path, broker: Broker) -> None:
    tiny_bundle(tmp_path / "bundle")
    np.save(tmp_path / "frames.npy", rig.frames(60))
    config = rig.config(
        device=DeviceSection(
            name=rig.NAME, fleet="farm", bundle=str(tmp_path / "bundle"), state_dir=str(tmp_path / "state")
        ),
        mqtt=PLAIN,
        source=SourceSection(path=str(tmp_path), frames_per_second=100.0, loop=True),
        output=OutputSection(status_every_s=0.05),
        http=HttpSection(enabled=False),
    )
    stop = threading.Event()
    thread = threading.Thread(target=Daemon(config, stop).run)
    with announcing(("town-broker", "town", free_port(), LOOPBACK), ("ours", "farm", broker.port, LOOPBACK)):
        thread.start()
        try:
            deadline_s = time.monotonic() + 30
            while not (tmp_path / "state" / "status.json").is_file():
                assert time.monotonic() < deadline_s
                time.sleep(0.02)
            while not (status := read_status(tmp_path / "state")).connected:
                assert time.monotonic() < deadline_s
                time.sleep(0.02)
            assert status.broker == f"127.0.0.1:{broker.port}"
        finally:
            stop.set()
            thread.join(30)
