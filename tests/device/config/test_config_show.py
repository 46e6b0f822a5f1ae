"""`config show`: what is in effect, where it came from, and that it is a configuration again."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeadapt import config as toml
from edgeadapt_device.cli import group, read_config
from edgeadapt_device.config import DeviceConfig

_FILE = """\
[device]
name = "camera-1"
bundle = "a \\"strange\\" pl\\u00e4ce \\u007f\\U0001F600\\n"
[mqtt]
host = "10.0.0.7"
username = "me"
password_file = "secret.txt"
[budget]
burst_bytes = 5
[trust]
keys = []
"""


def shown(folder: Path, *words: str) -> str:
    path = folder / "device.toml"
    path.write_text(_FILE)
    (folder / "secret.txt").write_text("hunter2\n")
    done = CliRunner().invoke(group, ["config", "show", "--config", str(path), *words])
    assert done.exit_code == 0, done.output
    return done.output


def lines_of(text: str, key: str) -> list[list[str]]:
    """Value and origin of every line of a key."""
    rows = [line.partition(" = ") for line in text.splitlines()]
    return [[part.strip() for part in rest.rsplit("  # ", 1)] for name, _, rest in rows if name == key]


def test_every_value_says_where_it_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEADAPT__MQTT__PORT", "1884")
    monkeypatch.setenv("EDGEADAPT__MQTT__HOST", "broker.local")
    text = shown(tmp_path)
    file = str(tmp_path / "device.toml")
    assert lines_of(text, "port")[0] == ["1884", "environment EDGEADAPT__MQTT__PORT"]
    assert lines_of(text, "host")[0] == ['"broker.local"', "environment EDGEADAPT__MQTT__HOST"]
    assert lines_of(text, "burst_bytes") == [["5", file]]
    assert lines_of(text, "bytes_per_hour") == [["4000000", "default"]]
    assert lines_of(text, "keys") == [["[]", file]]
    assert lines_of(text, "password_file") == [['"secret.txt"', file]]
    assert "hunter2" not in text


def test_it_is_the_same_configuration_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEADAPT__PROBE__SHARE", "0.25")
    for words in ((), ("--changed",)):
        text = shown(tmp_path, *words)
        again = toml.parse(text, DeviceConfig, source="again", environ={})
        assert again == read_config(tmp_path / "device.toml")
        assert again.probe.share == 0.25


def test_without_defaults_it_is_short(tmp_path: Path) -> None:
    text = shown(tmp_path, "--changed")
    assert "# default" not in text
    assert [line for line in text.splitlines() if line.startswith("[")] == [
        "[device]",
        "[mqtt]",
        "[budget]",
        "[trust]",
    ]


def test_a_mistake_is_named_as_by_run(tmp_path: Path) -> None:
    path = tmp_path / "device.toml"
    path.write_text('[device]\nname = "a"\n[probe]\nshare = 7.0\n')
    done = CliRunner().invoke(group, ["config", "show", "--config", str(path)])
    assert done.exit_code != 0
    assert "probe.share" in str(done.exception)
