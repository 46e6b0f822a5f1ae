"""The service announces its broker so that a device's search finds it, on loopback with the real library."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_cloud.config import AnnounceSection, BundleSection, CloudConfig, MqttSection, SigningSection
from edgeadapt_cloud.config import check as check_cloud
from edgeadapt_cloud.io.announce import Announcer, _label
from edgeadapt_device.io.link.discovery import Announced, search

# One machine has one multicast group: one at a time.
pytestmark = pytest.mark.xdist_group("discovery")

LOOPBACK = ("127.0.0.1",)


def found(fleet: str, *, secure: bool) -> tuple[Announced, ...]:
    """The fleet's brokers, once there are some; as long as it takes to register."""
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        own = search(fleet, secure=secure, interfaces=LOOPBACK, patience_s=2.0).own
        if own:
            return own
    return ()


@pytest.mark.integration
@pytest.mark.parametrize("secure", [False, True])
def test_a_device_finds_what_the_service_announces(secure: bool) -> None:
    section = AnnounceSection(enabled=True, port=1999, secure=secure, addresses=LOOPBACK, interfaces=LOOPBACK)
    fleet = f"farm.{'s' if secure else 'p'}"
    announcer = Announcer(section, MqttSection(port=1883), fleet)
    announcer.start()
    try:
        (broker,) = found(fleet, secure=secure)
        assert (broker.fleet, broker.addresses, broker.port) == (fleet, LOOPBACK, 1999)
        assert "." not in broker.name
    finally:
        announcer.stop()
    assert search(fleet, secure=secure, interfaces=LOOPBACK, patience_s=0.5).own == ()


def test_a_broker_on_this_machine_is_announced_at_its_outside_addresses() -> None:
    mine = Announcer(AnnounceSection(), MqttSection(host="127.0.0.1"), "farm")._addresses()
    assert mine
    outside = [address for address in mine if address not in ("127.0.0.1", "::1")]
    assert not outside or mine == tuple(outside)
    assert Announcer(AnnounceSection(), MqttSection(host="192.0.2.7"), "farm")._addresses() == ("192.0.2.7",)


def test_a_host_without_an_address_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    announcer = Announcer(AnnounceSection(), MqttSection(host="nowhere.invalid"), "farm")
    with caplog.at_level("INFO", "edgeadapt.cloud"):
        assert announcer._addresses() == ()
        assert announcer._addresses() == ()
    assert caplog.text.count("nowhere.invalid") == 1


def test_a_network_that_cannot_be_announced_on_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    section = AnnounceSection(addresses=LOOPBACK, interfaces=("203.0.113.1",))
    announcer = Announcer(section, MqttSection(), "farm")
    with caplog.at_level("INFO", "edgeadapt.cloud"):
        announcer.start()
        announcer.stop()
    assert "cannot be announced" in caplog.text


def test_a_label_is_one_and_fits() -> None:
    assert _label("a.b c") == "a-b c"
    assert len(_label("ä" * 60).encode()) <= 63


def test_addresses_are_checked(tmp_path: Path) -> None:
    config = CloudConfig(BundleSection("b"), SigningSection("k"), announce=AnnounceSection(addresses=("x",)))
    with pytest.raises(ConfigError, match=r"announce\.addresses\[0\]"):
        check_cloud(config)
