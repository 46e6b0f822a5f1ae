"""status.json is whole whenever it is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_device.cli import group
from edgeadapt_device.status import DeviceStatus, read_status, write_status

STATUS = DeviceStatus(time_s=1.5, pid=7, frames=3, connected=True, refusals=("expired: yesterday",), note="é")


def test_what_is_written_is_read_and_replaced(tmp_path: Path) -> None:
    write_status(tmp_path / "state", DeviceStatus(time_s=0.0, pid=1))
    write_status(tmp_path / "state", STATUS)
    assert read_status(tmp_path / "state") == STATUS
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["status.json"]


def test_the_command_says_what_waits_to_be_sent_and_what_is_held(tmp_path: Path) -> None:
    told = replace(STATUS, flagged=9, uploaded=4, outbox_rows=2, outbox_held=3)
    write_status(tmp_path, told)
    shown = CliRunner().invoke(group, ["status", "--state-dir", str(tmp_path)]).output
    assert "9 flagged, 4 acknowledged, 2 waiting, 3 held until the server wants them" in shown


def test_no_status_and_a_torn_one_are_config_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no device has run"):
        read_status(tmp_path)
    (tmp_path / "status.json").write_text('{"time_s": 1')
    with pytest.raises(ConfigError, match="no device status"):
        read_status(tmp_path)


def test_a_disk_that_refuses_is_a_transport_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TransportError):
        write_status(tmp_path / "file", STATUS)
