"""`device doctor` as it is called."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from edgeadapt_device.cli import group
from edgeadapt_device.config import (
    DeviceConfig,
)
from edgeadapt_sim.broker import free_port


def ask(folder: Path, text: str, *words: str) -> tuple[int, str]:
    (folder / "device.toml").write_text(text)
    done = CliRunner().invoke(group, ["doctor", "--config", str(folder / "device.toml"), *words])
    return done.exit_code, done.output


def test_the_command_exits_with_1_on_a_failure_and_prints_the_fix(
    tmp_path: Path, config: DeviceConfig
) -> None:
    text = (
        f'[device]\nname = "a"\nbundle = "{config.device.bundle}"\nstate_dir = "{tmp_path / "state"}"\n'
        f'[source]\npath = "{tmp_path}"\n[http]\nport = 0\n'
    )
    offline = f"{text}[mqtt]\nenabled = false\n"
    code, output = ask(tmp_path, offline)
    assert code == 0, output
    code, output = ask(tmp_path, f"{text}[mqtt]\nport = {free_port()}\n")
    assert code == 1
    assert "failed   broker" in output
    assert "fix: start the broker there" in output
    code, output = ask(tmp_path, offline, "--json")
    assert code == 0
    assert {
        "check": "process",
        "level": "ok",
        "text": f"no device runs on {tmp_path / 'state'}",
        "fix": "",
    } in (json.loads(output))


def test_a_mistake_in_the_configuration_is_a_finding(tmp_path: Path) -> None:
    code, output = ask(tmp_path, '[device]\nname = "a"\n[probe]\nshare = 7.0\n', "--json")
    assert code == 1
    (finding,) = json.loads(output)
    assert (finding["check"], finding["level"]) == ("config", "failed")
    assert "probe.share" in finding["text"]
