"""The observer on a real broker."""

from __future__ import annotations

import time
from pathlib import Path

import paho.mqtt.publish
import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from edgeadapt.errors import TransportError
from edgeadapt.wire.topics import up
from edgeadapt_sim.broker import Broker, free_port
from edgeadapt_sim.demo.watch.observer import Observer


@pytest.mark.integration
def test_sees_its_fleet_and_no_other(tmp_path: Path) -> None:
    with Broker.start(log_dir=tmp_path) as broker, Observer(broker.host, broker.port, "demo") as observer:
        for fleet in ("other", "demo"):
            paho.mqtt.publish.single(
                up(fleet, "a", "metric"),
                fleet.encode(),
                qos=1,
                hostname=broker.host,
                port=broker.port,
                protocol=MQTTProtocolVersion.MQTTv5,
            )
        seen: list[tuple[str, bytes]] = []
        deadline = time.monotonic() + 20
        while not seen and time.monotonic() < deadline:
            seen += observer.drain()
            time.sleep(0.01)
    assert seen == [(up("demo", "a", "metric"), b"demo")]


def test_no_broker_is_a_transport_error() -> None:
    with pytest.raises(TransportError, match="does not answer"), Observer("127.0.0.1", free_port(), "demo"):
        pass
