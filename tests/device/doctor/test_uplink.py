"""Settings of the uplink that cannot be meant are found, with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeadapt.bundle import read_folder
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.doctor import uplink
from tests.device.doctor.ward import FAILED, OK, WARNING, changed


@pytest.mark.parametrize(
    ("section", "keys", "level", "text"),
    [
        ("privacy", {}, OK, "mode images"),
        ("privacy", {"redactor": "faces"}, FAILED, "'faces' is not installed"),
        ("privacy", {"suppressed": ("unicorn",)}, FAILED, "'unicorn' is no class"),
        ("privacy", {"mode": "statistics", "max_side": 64}, WARNING, "for pictures"),
        ("flagging", {"policy": "best"}, FAILED, "known: entropy-band"),
        ("budget", {"bytes_per_hour": 30_000}, WARNING, "keeping the connection takes 28800"),
    ],
)
def test_what_cannot_be_meant_is_found(
    config: DeviceConfig, section: str, keys: dict[str, Any], level: Any, text: str
) -> None:
    bundle = read_folder(Path(config.device.bundle))
    config = changed(config, "mqtt", enabled=True, host="127.0.0.1", keepalive_s=30)
    findings = list(uplink.look(changed(config, section, **keys), bundle))
    assert any(finding.level is level and text in finding.text for finding in findings), findings
    assert all(finding.fix for finding in findings if finding.level is not OK)


def test_all_classes_suppressed_is_said(config: DeviceConfig) -> None:
    bundle = read_folder(Path(config.device.bundle))
    everything = changed(config, "privacy", suppressed=bundle.manifest.classes)
    assert any("no frame ever leaves" in finding.text for finding in uplink.look(everything, bundle))
