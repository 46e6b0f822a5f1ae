"""`edgeadapt device status`: what the device last said of itself."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import click
import msgspec

from edgeadapt_device.cli.common import CONFIG, read_config
from edgeadapt_device.io.lock import is_locked
from edgeadapt_device.status import DeviceStatus, read_status

NOT_RUNNING = 3


@click.command(short_help="Show what the device is doing.")
@CONFIG
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
        raise SystemExit(NOT_RUNNING)


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
