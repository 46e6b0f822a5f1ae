"""The service's connection, against a real broker."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable

import pytest

from edgeadapt_cloud.config import MqttSection
from edgeadapt_cloud.core.events import Event, MessageArrived
from edgeadapt_cloud.io.mqtt import MqttLink
from edgeadapt_sim.broker import Broker

pytestmark = pytest.mark.integration
PATIENCE_S = 30.0


def wait_for(done: Callable[[], bool]) -> None:
    """Until it is so; fails after PATIENCE_S."""
    end_s = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_that_a_session_began_is_told_though_the_inbox_is_full(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    inbox = queue.Queue[Event](1)
    inbox.put(MessageArrived("full", b""))
    with Broker.start(log_dir=tmp_path_factory.mktemp("broker")) as broker:
        link = MqttLink(MqttSection(port=broker.port, client_id="full-inbox"), "fleet", inbox)
        assert not link.take_new_session()
        link.start()
        wait_for(lambda: link.connected)
        wait_for(link.take_new_session)
        assert not link.take_new_session(), "once"
        link.stop()
    assert inbox.qsize() == 1


def test_two_services_of_one_name_are_told_so_and_a_clean_end_is_no_warning(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level("INFO", "edgeadapt.cloud"),
        Broker.start(log_dir=tmp_path_factory.mktemp("broker")) as broker,
    ):
        settings = MqttSection(port=broker.port, client_id="twin", reconnect_max_s=1)
        links = [MqttLink(settings, "fleet", queue.Queue[Event](9)) for _ in range(2)]
        links[0].start()
        wait_for(lambda: links[0].connected)
        links[1].start()
        wait_for(lambda: "has the same mqtt.client_id 'twin'" in caplog.text)
        links[1].stop()
        wait_for(lambda: links[0].connected)
        links[0].stop()
    assert (caplog.records[-1].levelname, caplog.records[-1].message) == ("INFO", "disconnected")
