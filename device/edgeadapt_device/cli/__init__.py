"""`edgeadapt device`: one file per command. Only here and in them is the environment read."""

from __future__ import annotations

import click

from edgeadapt_device.cli.common import read_config
from edgeadapt_device.cli.config import config
from edgeadapt_device.cli.doctor import doctor
from edgeadapt_device.cli.explain import explain
from edgeadapt_device.cli.outbox import outbox
from edgeadapt_device.cli.rollback import rollback
from edgeadapt_device.cli.run import run
from edgeadapt_device.cli.status import status
from edgeadapt_device.config.example import device_toml

__all__ = ["group", "read_config"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """Run the daemon on a device, and look at it.

    \b
    To begin:
      edgeadapt device example-config > device.toml   then set [device] bundle and [source] path
      edgeadapt device doctor --config device.toml    what would keep it from working, and the fix
      edgeadapt device run --config device.toml       runs until the source ends, or Ctrl-C
      edgeadapt device status --config device.toml    from another terminal
      edgeadapt device explain --unknown              why frames were flagged, and what it cost
      edgeadapt device outbox list                    what waits to leave it
    """


for command in (run, status, explain, doctor, rollback, outbox, config):
    group.add_command(command)


@group.command("example-config")
def example_config() -> None:
    """Print a configuration with every section and key at its default, to edit."""
    click.echo(device_toml(), nl=False)
