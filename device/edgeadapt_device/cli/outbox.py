"""`edgeadapt device outbox`: what waits to leave the device, down to the picture, and how to make it go."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import click
import msgspec
import numpy as np

from edgeadapt.errors import ConfigError
from edgeadapt.wire import Descriptors, Sample
from edgeadapt_device.cli.common import CONFIG, read_config
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.io.lock import is_locked
from edgeadapt_device.io.outbox.read import Shown, read_message, read_rows
from edgeadapt_device.io.outbox.worth import Storable
from edgeadapt_device.io.png import png
from edgeadapt_device.service import orders
from edgeadapt_device.service.purge import OUTBOX_NAME, Purge, purge_stopped

_FAILED = 1
_LANE = click.Choice(["adapt", "ask", "audit"])
_JSON = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.group(short_help="What waits to leave the device.")
def outbox() -> None:
    """Look at what waits to leave the device, and delete it.

    \b
    edgeadapt device outbox list                    all, by lane, size and age
    edgeadapt device outbox show 17 --save 17.png   one, and the picture to leave
    edgeadapt device outbox purge --older-than 24   delete what is a day old
    """


@outbox.command("list", short_help="Every message that waits.")
@CONFIG
@click.option("--lane", type=_LANE, help="Only samples of this lane.")
@_JSON
def list_rows(config_path: Path, lane: str | None, as_json: bool) -> None:
    """List the messages that the cloud has not acknowledged, oldest first.

    \b
    to send    on its way, or as soon as the budget allows
    held       kept here; the cloud will be asked whether it wants it
    announced  kept here; the cloud was asked, and has not answered yet
    """
    config = read_config(config_path)
    rows = read_rows(_path(config), 3600.0 * config.delivery.retention_hours)
    rows = tuple(row for row in rows if lane in (None, row.lane))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    if not rows:
        click.echo("nothing waits to leave this device")
        return
    click.echo(f"{'message':>8}  {'kind':<10} {'lane':<6} {'verdict':<12} {'state':<9} {'bytes':>8}  age")
    for row in rows:
        click.echo(
            f"{row.sequence:>8}  {row.kind:<10} {row.lane or '-':<6} {row.verdict or '-':<12} "
            f"{row.state:<9} {row.size_bytes:>8}  {_age(row.age_s)}"
        )
    click.echo(_total(rows, config.delivery.outbox_bytes))


@outbox.command(short_help="One message, and its picture.")
@CONFIG
@click.argument("sequence", type=click.IntRange(min=1))
@click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), help="Write the picture to this file."
)
@_JSON
def show(config_path: Path, sequence: int, save: Path | None, as_json: bool) -> None:
    """Show all fields of message SEQUENCE. Exits with 1 when it is not there (any more)."""
    path = _path(read_config(config_path))
    message = read_message(path, sequence)
    if message is None:
        click.echo(f"message {sequence} is not in the outbox: delivered, dropped, or never there", err=True)
        raise SystemExit(_FAILED)
    fields = _fields(message)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(fields)).decode())
    else:
        for name, value in fields.items():
            click.echo(f"{name:<12} {value}")
    if save is not None:
        _save(message, save)


@outbox.command(short_help="Delete messages for good.")
@CONFIG
@click.option("--lane", type=_LANE, help="Only samples of this lane.")
@click.option("--older-than", "hours", type=click.FloatRange(min=0.0), help="Only what is older, in hours.")
@click.option("--all", "everything", is_flag=True, help="Everything, reports and outcomes too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--timeout",
    "patience_s",
    type=click.FloatRange(1.0),
    default=60.0,
    show_default=True,
    help="Seconds to wait for a device that runs.",
)
def purge(
    config_path: Path, lane: str | None, hours: float | None, everything: bool, yes: bool, patience_s: float
) -> None:
    """Delete messages unsent, and overwrite them on the disk.

    A running device does it itself. Exits with 1 when nothing was deleted because it was refused or failed.
    """
    if everything == (lane is not None or hours is not None):
        raise click.UsageError("say --all, or what to delete with --lane and --older-than")
    config = read_config(config_path)
    rows = read_rows(_path(config), 3600.0 * config.delivery.retention_hours)
    order = msgspec.convert({"lane": lane, "older_than_s": 3600.0 * (hours or 0.0)}, Purge)
    meant = [row for row in rows if lane in (None, row.lane) and row.age_s >= order.older_than_s]
    if not meant:
        click.echo("nothing to delete")
        return
    size = sum(row.size_bytes for row in meant)
    if not yes and not click.confirm(f"delete {len(meant)} messages ({size} bytes), unsent and for good?"):
        click.echo("nothing was deleted", err=True)
        raise SystemExit(_FAILED)
    click.echo(f"{_delete(config, order, patience_s)} messages deleted")


def _delete(config: DeviceConfig, order: Purge, patience_s: float) -> int:
    folder = Path(config.device.state_dir)
    if is_locked(folder):
        answer = orders.give(folder, "", patience_s=patience_s, runs=lambda: is_locked(folder), purge=order)
        if answer is not None:
            if not answer.done:
                click.echo(f"not deleted: {answer.trouble}", err=True)
                raise SystemExit(_FAILED)
            return answer.purged
    return purge_stopped(config, order)


def _path(config: DeviceConfig) -> Path:
    return Path(config.device.state_dir) / OUTBOX_NAME


def _fields(message: Storable) -> dict[str, object]:
    """What is said about a message: bytes as their number, since a picture is no text."""
    fields: dict[str, object] = {"kind": type(message).__name__.lower()}
    for name in message.__struct_fields__:
        value = getattr(message, name)
        if isinstance(value, bytes):
            value = f"{len(value)} bytes"
        elif name == "captured_s":
            value = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
        elif isinstance(message, Descriptors) and name == "items":
            value = [item.sample for item in message.items]
        elif not isinstance(value, (str, int, float, bool)):
            value = msgspec.to_builtins(value, builtin_types=())
        fields[name] = value
    return fields


def _save(message: Storable, path: Path) -> None:
    if not isinstance(message, Sample) or message.codec == "none" or not message.data:
        raise ConfigError(f"message {message.sequence} holds no picture")
    data = message.data
    if message.codec == "raw":
        shape = (message.height, message.width, message.channels)
        data = png(np.frombuffer(data, np.uint8).reshape(shape))
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error
    kind = "JPEG" if message.codec == "jpeg" else "PNG"
    click.echo(f"wrote {path}: {kind}, {message.height}x{message.width}, as it would leave", err=True)


def _total(rows: tuple[Shown, ...], most_bytes: int) -> str:
    states = Counter(row.state for row in rows)
    size = sum(row.size_bytes for row in rows)
    parts = ", ".join(f"{count} {state}" for state, count in states.items())
    return f"{len(rows)} messages ({parts}), {size} bytes of at most {most_bytes}"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
