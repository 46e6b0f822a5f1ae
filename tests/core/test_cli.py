"""The command line lists every part and explains a missing extra."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from edgeadapt.cli import cli


def test_help_lists_the_parts_without_importing_them() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    for name in ("device", "cloud", "model", "data", "demo", "bench"):
        assert f"\n  {name}" in result.output


@pytest.mark.parametrize(
    ("package", "command"),
    [("torch", "model"), ("PIL", "data")],
    ids=["missed when the command runs", "missed by the whole part"],
)
def test_a_missing_package_names_the_extra(
    package: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("edgeadapt_models")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    result = CliRunner().invoke(cli, [command, "list"])
    assert result.exit_code != 0
    assert "pip install 'edgeadapt[cloud]'" in result.output


@pytest.mark.parametrize("command", ["device", "cloud", "model", "data", "demo", "bench"])
def test_help_comes_without_torch(command: str) -> None:
    script = (
        "import sys\n"
        "from edgeadapt.cli import main\n"
        f"sys.argv = ['edgeadapt', {command!r}, '--help']\n"
        "try: main()\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: edgeadapt {command}")


def test_an_unknown_command() -> None:
    result = CliRunner().invoke(cli, ["nonsense"])
    assert result.exit_code == 2
    assert "nonsense" in result.output


def test_a_command_that_says_no_ends_with_its_exit_code() -> None:
    """As installed: a test runner of click's would run the command another way."""
    script = (
        "import sys, click\n"
        "from edgeadapt.cli import cli, main\n"
        "def refuse(*names): raise click.exceptions.Exit(7)\n"
        "cli.invoke = refuse\n"
        "sys.argv = ['edgeadapt', 'device']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
