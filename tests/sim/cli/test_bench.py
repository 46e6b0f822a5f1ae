"""The command's edges; the study is tested in tests/sim/bench."""

from __future__ import annotations

from click.testing import CliRunner

from edgeadapt_sim.cli.bench import group


def test_help_states_the_claims() -> None:
    assert "loop" in CliRunner().invoke(group, ["--help"]).output
    text = " ".join(CliRunner().invoke(group, ["loop", "--help"]).output.split())
    assert "no published patch leaves a domain more than 1 point below" in text


def test_no_seed_is_refused() -> None:
    assert CliRunner().invoke(group, ["loop", "--seeds", "0"]).exit_code == 2
