"""Both brokers, for real: every test here talks MQTT 5 to a running broker."""

from __future__ import annotations

import queue
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import psutil
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_sim import broker as broker_module
from edgeadapt_sim.broker import Broker, BrokerKind, accepts_connect, free_port

# paho's class has no annotations.
_new_properties: Any = Properties
KINDS: tuple[BrokerKind, ...] = ("mosquitto", "iotcore")


@contextmanager
def client(broker: Broker, name: str) -> Iterator[tuple[paho.Client, queue.Queue[paho.MQTTMessage]]]:
    inbox: queue.Queue[paho.MQTTMessage] = queue.Queue()
    mqtt = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
    mqtt.on_message = lambda _client, _data, message: inbox.put(message)
    mqtt.connect(broker.host, broker.port, keepalive=30)
    mqtt.loop_start()
    try:
        yield mqtt, inbox
    finally:
        mqtt.disconnect()
        mqtt.loop_stop()


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    try:
        running = Broker.start(request.param, log_dir=tmp_path)
    except TransportError as error:
        if "on this machine" not in str(error):
            raise
        pytest.skip(str(error))
    with running:
        yield running


def publish(mqtt: paho.Client, topic: str, payload: bytes, **more: object) -> None:
    retain = bool(more.get("retain", False))
    properties: Any = _new_properties(PacketTypes.PUBLISH)
    if "expiry_s" in more:
        properties.MessageExpiryInterval = more["expiry_s"]
    mqtt.publish(topic, payload, qos=1, retain=retain, properties=properties).wait_for_publish(10)


def test_carries_a_large_binary_message(broker: Broker) -> None:
    payload = bytes(range(256)) * 1024
    with client(broker, "receiver") as (receiver, inbox), client(broker, "sender") as (sender, _):
        receiver.subscribe("a/+/b", qos=1)
        publish(receiver, "a/ready/b", b"")  # the subscription holds once this comes back
        inbox.get(timeout=10)
        publish(sender, "a/device/b", payload)
        message = inbox.get(timeout=10)
    assert (message.topic, message.payload, message.qos) == ("a/device/b", payload, 1)


def test_keeps_a_retained_message_for_late_subscribers(broker: Broker) -> None:
    with client(broker, "sender") as (sender, _):
        publish(sender, "patch", b"signed", retain=True)
    with client(broker, "late") as (late, inbox):
        late.subscribe("patch", qos=1)
        message = inbox.get(timeout=10)
    assert message.payload == b"signed"
    assert message.retain


def test_expired_message_is_not_delivered(broker: Broker) -> None:
    with client(broker, "sender") as (sender, _):
        publish(sender, "short", b"gone", retain=True, expiry_s=1)
        publish(sender, "long", b"stays", retain=True, expiry_s=600)
    deadline = time.monotonic() + 15
    seen = {b"gone"}
    while b"gone" in seen and time.monotonic() < deadline:
        with client(broker, "late") as (late, inbox):
            late.subscribe([("short", 1), ("long", 1)])
            seen = {bytes(inbox.get(timeout=10).payload)}
            while b"stays" not in seen:
                seen.add(bytes(inbox.get(timeout=10).payload))
            time.sleep(0.1)
            while not inbox.empty():
                seen.add(bytes(inbox.get().payload))
    assert seen == {b"stays"}


def test_stop_leaves_no_process_and_a_free_port(broker: Broker) -> None:
    pid = broker.pid
    assert accepts_connect(broker.host, broker.port)
    broker.stop()
    broker.stop()
    assert not psutil.pid_exists(pid)
    assert not accepts_connect(broker.host, broker.port)


def test_two_brokers_at_once_do_not_share_messages(broker: Broker, tmp_path: Path) -> None:
    with Broker.start(broker.kind, log_dir=tmp_path / "second") as second:
        assert second.port != broker.port
        with client(broker, "sender") as (sender, _):
            publish(sender, "where", b"first", retain=True)
        with client(second, "sender") as (sender, _):
            publish(sender, "where", b"second", retain=True)
        with client(second, "receiver") as (receiver, inbox):
            receiver.subscribe("where", qos=1)
            assert inbox.get(timeout=10).payload == b"second"


def test_kill_and_resume_on_the_same_port(broker: Broker) -> None:
    port = broker.port
    broker.kill()
    assert not broker.running
    broker.resume()
    assert broker.port == port
    assert accepts_connect(broker.host, port)


def test_mosquitto_keeps_retained_messages_over_a_stop(tmp_path: Path) -> None:
    if not broker_module._find_mosquitto():
        pytest.skip("no Mosquitto on this machine")
    with Broker.start("mosquitto", log_dir=tmp_path) as running:
        with client(running, "sender") as (sender, _):
            publish(sender, "patch", b"signed", retain=True)
        running.stop()
        running.resume()
        with client(running, "late") as (late, inbox):
            late.subscribe("patch", qos=1)
            assert inbox.get(timeout=10).payload == b"signed"


def test_dies_with_its_parent(broker: Broker, tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib; from edgeadapt_sim.broker import Broker;"
        f"b = Broker.start({broker.kind!r}, log_dir=pathlib.Path({str(tmp_path / 'child')!r}));"
        "sys.stdout.write(f'{b.pid}\\n'); sys.stdout.flush(); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.10", "localhost"])
def test_refuses_any_address_but_loopback(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1 only"):
        Broker.start(host=host, log_dir=tmp_path)


def test_says_what_to_install_when_there_is_no_broker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(broker_module, "_SBIN_MOSQUITTO", tmp_path / "absent")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TransportError, match="install the Debian package mosquitto"):
        Broker.start(log_dir=tmp_path)


def test_a_taken_port_is_an_error(broker: Broker, tmp_path: Path) -> None:
    with pytest.raises(TransportError, match=rf"{broker.port}: another program"):
        Broker.start(broker.kind, log_dir=tmp_path / "second", port=broker.port, timeout_s=5)
    assert broker.running


def test_a_broker_that_does_not_come_up_shows_its_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not broker_module._find_mosquitto():
        pytest.skip("no Mosquitto on this machine")
    monkeypatch.setattr(broker_module, "_MOSQUITTO_CONFIG", "no_such_option {port}\n")
    with pytest.raises(TransportError, match=r"(?s)mosquitto on port \d+ ended.*no_such_option"):
        Broker.start("mosquitto", log_dir=tmp_path)


def test_free_ports_are_usable(tmp_path: Path) -> None:
    with Broker.start("auto", log_dir=tmp_path, port=free_port()) as running:
        assert running.url == f"mqtt://127.0.0.1:{running.port}"
        assert running.kind in KINDS
