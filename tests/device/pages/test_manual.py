"""The operators' manual names every command, metric, exit code and file that there is."""

from __future__ import annotations

from pathlib import Path

from click import Group

from edgeadapt.wire.discovery import FLEET_KEY, PLAIN_TYPE, SECURE_TYPE
from edgeadapt_device.cli import group
from edgeadapt_device.cli.run import TRY_AGAIN
from edgeadapt_device.cli.status import NOT_RUNNING
from edgeadapt_device.config import HttpSection
from edgeadapt_device.service.health import Health
from edgeadapt_device.service.metrics import PREFIX, families
from edgeadapt_device.status import DeviceStatus

ROOT = Path(__file__).parents[3]
MANUAL = (ROOT / "docs" / "device.md").read_text()


def commands(part: Group, name: str) -> list[str]:
    """All commands below a group, as they are typed."""
    found = []
    for key, command in part.commands.items():
        words = f"{name} {key}"
        found += commands(command, words) if isinstance(command, Group) else [words]
    return found


def test_every_command_is_named() -> None:
    missing = [words for words in commands(group, "edgeadapt device") if words not in MANUAL]
    assert missing == []


def test_every_metric_and_label_is_named() -> None:
    shown = families(DeviceStatus(time_s=0.0, pid=1), Health("ok", ()))
    assert f"`{PREFIX}`" in MANUAL
    assert [metric.name for metric in shown if f"`{metric.name}`" not in MANUAL] == []
    labels = [key for metric in shown for key, _ in metric.labels]
    assert [key for key in labels if f"`{key}`" not in MANUAL] == []


def test_numbers_and_files_are_those_of_the_program() -> None:
    assert f"`127.0.0.1:{HttpSection().port}`" in MANUAL
    assert f"| {TRY_AGAIN} |" in MANUAL
    assert f"{NOT_RUNNING} while it does not" in MANUAL
    for kind in (PLAIN_TYPE, SECURE_TYPE):
        assert f"`{kind.removesuffix('.local.')}`" in MANUAL
    assert f"`{FLEET_KEY}=`" in MANUAL
    for path in ("device/systemd/edgeadapt-device.service", "device/Dockerfile"):
        assert f"`{path}`" in MANUAL
        assert (ROOT / path).is_file()
