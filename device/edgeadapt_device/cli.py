"""`edgeadapt device`: run, status, example-config."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import FrameType

import click
import msgspec

from edgeadapt import config as toml
from edgeadapt.errors import ConfigError
from edgeadapt_device.config import DeviceConfig, check
from edgeadapt_device.example import device_toml
from edgeadapt_device.io.lock import is_locked
from edgeadapt_device.status import DeviceStatus, read_status

_NOT_RUNNING = 3
_CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("device.toml"),
    show_default=True,
    help="The device's configuration; `edgeadapt device example-config` prints one.",
)


def read_config(path: Path) -> DeviceConfig:
    """Read, override from EDGEADAPT__SECTION__KEY, and check; raises ConfigError naming file and key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}. `edgeadapt device example-config > {path}` makes one"
        ) from error
    parsed = toml.parse(text, DeviceConfig, source=str(path), environ=os.environ)
    try:
        return check(parsed)
    except ConfigError as error:
        raise ConfigError(toml.located(str(error), str(path), os.environ)) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """Run the daemon on a device, and look at it.

    \b
    To begin:
      edgeadapt device example-config > device.toml   then set [device] bundle and [source] path
      edgeadapt device run --config device.toml       runs until the source ends, or Ctrl-C
      edgeadapt device status --config device.toml    from another terminal
    """


@group.command(short_help="Score frames, adapt, and talk to the cloud.")
@_CONFIG
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
def run(config_path: Path, verbose: bool) -> None:
    """Score frames, keep the model in tune, and talk to the cloud.

    Runs until the source ends, Ctrl-C or SIGTERM, and then exits with 0; a configuration mistake exits
    with 2 before the first frame. It may be killed at any time: the next run goes on with the same
    generation and sends what was not acknowledged. Without a broker it adapts by itself.
    """
    from edgeadapt_device.daemon import Daemon

    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(message)s",
        datefmt="%H:%M:%S",
    )
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    Daemon(read_config(config_path), stop).run()


@group.command(short_help="Show what the device is doing.")
@_CONFIG
@click.option(
    "--state-dir", type=click.Path(path_type=Path), help="Look here instead of asking the configuration."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def status(config_path: Path, state_dir: Path | None, as_json: bool) -> None:
    """Show what the device does: frames, domain, generation, trial, uploads, budget, refusals.

    Exits with 0 while the device runs, with 3 when it does not (what is shown is then the last it said),
    and with 2 when it never ran.
    """
    folder = state_dir if state_dir is not None else Path(read_config(config_path).device.state_dir)
    found, runs = read_status(folder), is_locked(folder)
    if as_json:
        seen = msgspec.structs.replace(found, running=runs, connected=found.connected and runs)
        click.echo(msgspec.json.format(msgspec.json.encode(seen), indent=1).decode())
    else:
        for name, value in _rows(found, runs, max(time.time() - found.time_s, 0.0)):
            click.echo(f"{name:<14}{value}")
    if not runs:
        raise SystemExit(_NOT_RUNNING)


def _process(found: DeviceStatus, runs: bool, age_s: float) -> str:
    if runs:
        return f"{found.pid}, runs; as of {age_s:.0f} s ago"
    end = "ended without a goodbye" if found.running else "ended"
    return f"does not run: {found.pid} {end}, last seen {timedelta(seconds=round(age_s))} ago"


def _broker(found: DeviceStatus, runs: bool) -> str:
    if not runs:
        return "not connected"
    return "connected" if found.connected else f"offline{': ' if found.trouble else ''}{found.trouble}"


def _rows(found: DeviceStatus, runs: bool, age_s: float) -> list[tuple[str, str]]:
    rows = [
        ("process", _process(found, runs, age_s)),
        ("broker", _broker(found, runs)),
        ("frames", f"{found.frames} ({found.frames_per_second:.0f}/s, {found.latency_ms:.2f} ms each)"),
        ("segment", f"{found.segment}, drift {found.drift:.2f} source deviations"),
        (
            "generation",
            f"{found.generation}, {found.updates} updates of its statistics, {found.builds} builds",
        ),
        ("patch", found.patch or "none"),
        ("trial", found.trial or "none"),
        ("uploads", f"{found.flagged} flagged, {found.uploaded} acknowledged, {found.outbox_rows} waiting"),
        ("bytes", f"{found.bytes_up} up, {found.bytes_down} down, {found.budget_left_bytes} left to spend"),
        ("quarantined", str(found.quarantined)),
        ("storage", f"{found.storage_errors} failed writes"),
    ]
    rows += [("refused", text) for text in found.refusals]
    return rows + ([("note", found.note)] if found.note else [])


@group.command("example-config")
def example_config() -> None:
    """Print a configuration with every section and key at its default, to edit."""
    click.echo(device_toml(), nl=False)
