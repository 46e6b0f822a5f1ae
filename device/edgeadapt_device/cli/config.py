"""`edgeadapt device config`: the configuration in effect."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edgeadapt.config import origins
from edgeadapt.config.show import effective_toml
from edgeadapt_device.cli.common import CONFIG, read_config, read_text


@click.group(short_help="Show the configuration in effect.")
def config() -> None:
    """Look at the configuration."""


@config.command(short_help="Print every value and where it came from.")
@CONFIG
@click.option("--changed", is_flag=True, help="Only what is not at its default.")
def show(config_path: Path, changed: bool) -> None:
    """Print the configuration in effect as TOML: file, environment and defaults put together.

    Each value says where it came from. What is printed can be used as a configuration file. Passwords
    and keys are not in it: the configuration only names their files.
    """
    effective = read_config(config_path)
    found = origins(read_text(config_path), source=str(config_path), environ=os.environ)
    text = effective_toml(effective, found)
    if changed:
        text = _without_defaults(text)
    click.echo(text, nl=False)


def _without_defaults(text: str) -> str:
    """Sections that have something left, with what is not at its default."""
    kept: list[str] = []
    for section in text.split("\n\n"):
        head, *lines = section.splitlines()
        lines = [line for line in lines if not line.endswith("  # default")]
        if lines:
            kept.append("\n".join([head, *lines]))
    return "\n\n".join(kept) + "\n"
