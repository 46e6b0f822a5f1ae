"""`edgeadapt device rollback`: back to the bundle as installed, whether or not the device runs."""

from __future__ import annotations

import time
from pathlib import Path

import click

from edgeadapt.clock import Instant
from edgeadapt.errors import ConfigError
from edgeadapt_device.cli.common import CONFIG, read_config
from edgeadapt_device.io.lock import is_locked
from edgeadapt_device.service import orders
from edgeadapt_device.status import read_status

_FAILED = 1


@click.command(short_help="Take the device back to its base.")
@CONFIG
@click.option(
    "--to",
    "target",
    type=click.Choice(["base"]),
    default="base",
    show_default=True,
    help="What to go back to: the bundle as installed.",
)
@click.option("--reason", default="rolled back at the device", help="Told to the cloud.", show_default=True)
@click.option(
    "--timeout", "patience_s", type=click.FloatRange(1.0), default=60.0, show_default=True, help="Seconds."
)
def rollback(config_path: Path, target: str, reason: str, patience_s: float) -> None:
    """Take the device back to its base, and never let the patch that runs run here again.

    A running device does it between two frames; one that is stopped starts with its base the next time.
    The cloud is told. Exits with 0 when it is done, and with 1 when the device could not do it.
    """
    config = read_config(config_path)
    folder = Path(config.device.state_dir)
    patch = _patch(folder)
    runs = is_locked(folder)
    answer = None
    if runs:
        answer = orders.give(folder, reason, patience_s=patience_s, runs=lambda: is_locked(folder))
    if answer is None:
        from edgeadapt_device.service import stopped

        runs = False
        answer = stopped.roll_back(config, reason, Instant(time.monotonic(), time.time()))
    if not answer.done:
        click.echo(f"not rolled back: {answer.trouble}; generation {answer.to} goes on", err=True)
        raise SystemExit(_FAILED)
    when = "now" if runs else "when the device starts"
    if answer.before == "base":
        click.echo(f"the base it was, and the base it is {when}: only its own statistics begin anew")
    else:
        click.echo(
            f"from generation {answer.before}{patch} to the base, {when}; the patch stays blocked here"
        )


def _patch(folder: Path) -> str:
    """The running patch in words, as the device last said it."""
    try:
        patch = read_status(folder).patch
    except ConfigError:
        return ""
    return f", patch {patch}," if patch else ""
