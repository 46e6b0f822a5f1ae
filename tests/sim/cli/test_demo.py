"""The command's edges; whole runs are in tests/sim/demo."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from edgeadapt.errors import ConfigError
from edgeadapt_sim.cli.demo import command


def test_help_says_what_the_exit_codes_mean() -> None:
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    assert "0 the loop helped, 1 it did not" in result.output


def test_an_impossible_plan_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    out = tmp_path / "here"
    result = CliRunner().invoke(command, ["--devices", "0", "--plain", "--out", str(out)])
    assert isinstance(result.exception, ConfigError)
    assert "devices" in str(result.exception)
    assert not out.exists()
