"""The systemd unit: systemd itself reads it without a complaint, and it asks for what the daemon gives."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeadapt_device.machine import START_TIMEOUT_S

UNIT = Path(__file__).parents[3] / "device" / "systemd" / "edgeadapt-device.service"
_INSTALLED = "/opt/edgeadapt/bin/edgeadapt"


def settings() -> dict[str, list[str]]:
    """Every key of the unit with its values in order."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
def test_systemd_has_nothing_to_say_about_it(tmp_path: Path) -> None:
    text = UNIT.read_text()
    assert _INSTALLED in text
    # Only the program is not where it will be installed.
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace(_INSTALLED, sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_it_runs_as_nobody_and_is_started_again() -> None:
    found = settings()
    expected = {
        "Type": "notify",
        "DynamicUser": "yes",
        "StateDirectory": "edgeadapt",
        "Restart": "on-failure",
        # What `device run` exits with after a mistake in the configuration.
        "RestartPreventExitStatus": "2",
        "StartLimitIntervalSec": "0",
        "CapabilityBoundingSet": "",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "EnvironmentFile": "-/etc/edgeadapt/environment",
    }
    assert {key: found[key] for key in expected} == {key: [value] for key, value in expected.items()}
    assert int(found["WatchdogSec"][0]) > 0
    assert int(found["TimeoutStartSec"][0]) > START_TIMEOUT_S
    # The network manager's sockets are how the interfaces are listed that a broker is looked for on.
    assert "AF_NETLINK" in found["RestrictAddressFamilies"][0].split()
