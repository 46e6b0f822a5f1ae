"""The command line lists every part and explains a missing extra."""

from __future__ import annotations

import sys

import pytest
from click.testing import CliRunner

from edgeadapt.cli import cli


def test_help_lists_the_parts_without_importing_them() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    for name in ("device", "cloud", "model", "data", "demo", "bench"):
        assert f"\n  {name}" in result.output


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("edgeadapt_models")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    result = CliRunner().invoke(cli, ["model", "--help"])
    assert result.exit_code != 0
    assert "pip install 'edgeadapt[cloud]'" in result.output


def test_an_unknown_command() -> None:
    result = CliRunner().invoke(cli, ["nonsense"])
    assert result.exit_code == 2
    assert "nonsense" in result.output
