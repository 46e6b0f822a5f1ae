"""The command's edges; the study is tested in tests/sim/bench."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeadapt.errors import ConfigError
from edgeadapt_sim.cli.bench import group


def test_help_states_the_claims() -> None:
    assert "loop" in CliRunner().invoke(group, ["--help"]).output
    text = " ".join(CliRunner().invoke(group, ["loop", "--help"]).output.split())
    assert "no published patch leaves a domain more than 1 point below" in text


def test_no_seed_is_refused() -> None:
    assert CliRunner().invoke(group, ["loop", "--seeds", "0"]).exit_code == 2


def test_small_excludes_what_it_would_ignore() -> None:
    result = CliRunner().invoke(group, ["loop", "--small", "--seeds", "2"])
    assert result.exit_code == 2
    assert "--small and --seeds exclude each other" in result.output


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--domains", "clean nosuch:5", "nosuch"), ("--strategy", "nosuch", "anchored")],
)
def test_unknown_names_end_it_before_it_begins(option: str, value: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        CliRunner().invoke(
            group, ["loop", option, value, "--out", str(tmp_path / "out")], catch_exceptions=False
        )
    assert not (tmp_path / "out").exists()
