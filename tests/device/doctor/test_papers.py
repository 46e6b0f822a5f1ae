"""Certificates and keys, and TLS as it is spoken with them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from edgeadapt_device.config import (
    DeviceConfig,
    MqttSection,
)
from edgeadapt_device.doctor import Level, examine
from edgeadapt_sim.broker import free_port
from tests.device import certificates, rig
from tests.device.doctor.ward import FAILED, OK, WARNING, answering, changed, found, one


def tls_config(config: DeviceConfig, port: int, folder: Path, tls_name: str = "") -> DeviceConfig:
    mqtt = MqttSection(
        port=port,
        tls_ca=str(folder / "ca.pem"),
        tls_cert=str(folder / "device.pem"),
        tls_key=str(folder / "device.key"),
        tls_name=tls_name,
    )
    return msgspec.structs.replace(config, mqtt=mqtt)


@pytest.fixture
def papers(tmp_path: Path) -> certificates.Papers:
    """A CA, a certificate for the device and one for the broker, in `tmp_path/tls`."""
    return certificates.issue(tmp_path / "tls", device=rig.NAME, broker="broker.test")


@pytest.mark.integration
def test_tls_is_spoken_and_the_name_is_held_against_the_certificate(
    config: DeviceConfig, papers: certificates.Papers
) -> None:
    success = bytes((0x20, 3, 0, 0, 0))
    with answering(success, success, context=papers.server()) as port:
        named = tls_config(config, port, papers.folder, tls_name="broker.test")
        tls = one(named, "tls")
        assert (tls.level, "TLSv1." in tls.text) == (OK, True)
        wrong = one(tls_config(config, port, papers.folder), "tls")
    assert wrong.level is FAILED
    assert "not believed" in wrong.text
    assert "tls_name" in wrong.fix


def test_papers_in_order(config: DeviceConfig, papers: certificates.Papers) -> None:
    findings = found(tls_config(config, free_port(), papers.folder), "certificates")
    assert {finding.level for finding in findings} == {OK}
    assert len(findings) == 4


@pytest.mark.parametrize(
    ("days", "level", "words"),
    [((-10, -1), FAILED, "expired"), ((1, 10), FAILED, "not valid before"), ((-1, 10), WARNING, "more days")],
)
def test_papers_out_of_date(
    tmp_path: Path, config: DeviceConfig, days: tuple[int, int], level: Level, words: str
) -> None:
    now = datetime.now(timezone.utc)
    papers = certificates.issue(
        tmp_path / "tls",
        device=rig.NAME,
        broker="b",
        valid=(now + timedelta(days=days[0]), now + timedelta(days=days[1])),
    )
    findings = found(tls_config(config, free_port(), papers.folder), "certificates")
    (finding,) = [each for each in findings if each.text.startswith("mqtt.tls_cert")]
    assert finding.level is level
    assert words in finding.text


def test_papers_that_do_not_belong_together(
    tmp_path: Path, config: DeviceConfig, papers: certificates.Papers
) -> None:
    other = certificates.issue(tmp_path / "other", device="camera-2", broker="b")
    mixed = tls_config(config, free_port(), papers.folder)
    not_mine = changed(mixed, "mqtt", tls_cert=str(other.folder / "device.pem"))
    levels = {finding.text: finding.level for finding in found(not_mine, "certificates")}
    assert levels["mqtt.tls_cert is for camera-2, but device.name is camera-1"] is FAILED
    assert [text for text, level in levels.items() if level is FAILED and "is not the key of" in text]
    assert [text for text, level in levels.items() if level is WARNING and "was not issued by" in text]


@pytest.mark.parametrize("key", ["tls_ca", "tls_cert", "tls_key"])
@pytest.mark.parametrize("data", [None, b"no PEM"])
def test_papers_that_cannot_be_read(
    config: DeviceConfig, papers: certificates.Papers, key: str, data: bytes | None
) -> None:
    path = papers.folder / "odd"
    if data is not None:
        path.write_bytes(data)
    with answering(b"") as port:
        asked = changed(tls_config(config, port, papers.folder), "mqtt", **{key: str(path)})
        findings = list(examine(asked))
    failures = {finding.check for finding in findings if finding.level is FAILED}
    assert failures == {"certificates", "broker"}
