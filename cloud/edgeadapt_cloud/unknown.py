"""`edgeadapt cloud unknown`: what devices asked about, for a person to look at.

Reading it is in `io.unknown`. What takes time to import is imported by the commands that need it.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from edgeadapt.bundle import Bundle, read_folder
from edgeadapt.errors import BundleError
from edgeadapt_cloud.config import CloudConfig

if TYPE_CHECKING:
    from edgeadapt_cloud.io.unknown import Unknown

_CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("cloud.toml"),
    show_default=True,
    help="The service's configuration.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
# Exit code: what was asked for is not there.
_NOT_THERE = 1


@click.group(short_help="What devices do not know, and ask a person about.")
def unknown() -> None:
    """Look at what stays strange to the fleet's models after they have adapted.

    Devices gather such frames into clusters and send one picture of each. The cloud keeps one thing for all
    devices that see the same. Nothing is learned from them. Works whether or not the service runs.
    """


@unknown.command("list", short_help="Every thing, the most seen first.")
@_CONFIG
@click.option("--all", "everything", is_flag=True, help="Also what one device saw once.")
@_JSON
def list_things(config_path: Path, everything: bool, as_json: bool) -> None:
    """List what devices asked about: what most devices and frames show comes first.

    \b
    id       to `show` it by; with an "s": a single one, not announced before
    lane     ask: a device's question; audit: drawn at random, and strange
    nearest  the known class that devices take it for
    picture  here; coming: a device was asked for it; none;
             embedding: it came without one

    Things that one device saw once are left out without --all.
    """
    from edgeadapt_cloud.wiring import read_config

    config = read_config(config_path)
    found = _read(config, _bundle(config))
    shown = tuple(one for one in found if everything or not one.lonely)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(shown)).decode())
        return
    hidden = len(found) - len(shown)
    if shown:
        click.echo(
            f"{'id':>7}  {'lane':<5}  {'frames':>6}  {'devices':>7}  {'last seen':<14}  "
            f"{'picture':<9}  nearest"
        )
    for one in shown:
        click.echo(
            f"{one.id:>7}  {one.lane:<5}  {one.frames:>6}  {one.devices:>7}  {_clock(one.last_s):<14}  "
            f"{one.picture:<9}  {one.nearest}"
        )
    if not found:
        click.echo("nothing was asked about")
    elif hidden:
        click.echo(f"{hidden} that one device saw once: --all shows them")


@unknown.command(short_help="One thing, and its pictures.")
@_CONFIG
@click.argument("thing_id", metavar="ID")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Write its pictures there, as PNG files."
)
@_JSON
def show(config_path: Path, thing_id: str, out: Path | None, as_json: bool) -> None:
    """Show who saw the thing ID, when, in how many frames, and what became of each picture.

    \b
    fate     received; wanted: on its way; waiting: in case that does not come;
             declined: another is here; embedding: it came without a picture

    --out writes the pictures that have come as unknown-ID-1.png and so on, in the size that the model sees.
    Exits with 1 when there is no such thing, or, with --out, no picture of it.
    """
    from edgeadapt_cloud.io.unknown import write_pictures
    from edgeadapt_cloud.wiring import read_config

    config = read_config(config_path)
    bundle = _bundle(config)
    one = next((one for one in _read(config, bundle) if one.id == thing_id), None)
    if one is None:
        click.echo(f"there is no unknown thing {thing_id!r}; `unknown list --all` shows all", err=True)
        raise click.exceptions.Exit(_NOT_THERE)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(one)).decode())
    else:
        _tell(one)
    if out is None:
        return
    if not one.blobs:
        click.echo(f"no picture of it can be written: {one.picture}", err=True)
        raise click.exceptions.Exit(_NOT_THERE)
    spec = (bundle or read_folder(Path(config.bundle.path))).manifest.input
    for path in write_pictures(one, Path(config.cloud.state_dir), spec, out):
        click.echo(f"wrote {path}", err=as_json)


def _bundle(config: CloudConfig) -> Bundle | None:
    """For the classes' names; without it they are numbers."""
    try:
        return read_folder(Path(config.bundle.path))
    except BundleError:
        return None


def _read(config: CloudConfig, bundle: Bundle | None) -> tuple[Unknown, ...]:
    from edgeadapt_cloud.io.unknown import read_unknown

    digest, classes = (bundle.digest, bundle.manifest.classes) if bundle is not None else ("", ())
    return read_unknown(Path(config.cloud.state_dir), digest, classes)


def _tell(one: Unknown) -> None:
    for name, value in (
        ("id", one.id),
        ("lane", one.lane),
        ("nearest", one.nearest),
        ("frames", one.frames),
        ("devices", one.devices),
        ("first seen", _clock(one.first_s)),
        ("last seen", _clock(one.last_s)),
        ("picture", one.picture),
    ):
        click.echo(f"{name:<11} {value}")
    click.echo(f"\n{'device':<24}  {'sample':>7}  {'frames':>6}  {'seen':<14}  fate")
    for seen in one.sightings:
        frames = str(seen.frames) if seen.frames else "-"
        click.echo(
            f"{seen.device:<24}  {seen.sample:>7}  {frames:>6}  {_clock(seen.seen_s):<14}  {seen.state}"
        )


def _clock(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s).strftime("%m-%d %H:%M:%S")
