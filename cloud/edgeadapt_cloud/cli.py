"""`edgeadapt cloud`: serve, keygen, status, rollback, command, example-config (`unknown` has its own file).

Nothing here imports torch.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Literal, NoReturn

import click
import msgspec

from edgeadapt.errors import EdgeAdaptError
from edgeadapt_cloud.config import CloudConfig
from edgeadapt_cloud.io import keys
from edgeadapt_cloud.io.report import order_rollback, read_report
from edgeadapt_cloud.unknown import unknown

Action = Literal["rollback", "report"]

_CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("cloud.toml"),
    show_default=True,
    help="The service's configuration; `edgeadapt cloud example-config` prints one.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """Serve the adaptation service, and look after it.

    \b
    To begin:
      edgeadapt cloud keygen --out keys            devices pin its public half
      edgeadapt cloud example-config > cloud.toml  then set bundle and signing key
      edgeadapt cloud serve --config cloud.toml    runs until Ctrl-C
      edgeadapt cloud status --config cloud.toml   from another terminal
      edgeadapt cloud unknown list                 what devices ask about
    """


@group.command(short_help="Learn from uploads and roll patches out.")
@_CONFIG
@click.option("--announce", is_flag=True, help="Tell devices on the local network where the broker is.")
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
def serve(config_path: Path, announce: bool, verbose: bool) -> None:
    """Take in what devices send, adapt per cohort, and roll patches out.

    Runs until Ctrl-C or SIGTERM. Everything lives in the state folder: the service may be killed at any
    time and goes on where it was. Log lines go to stderr.
    """
    from edgeadapt_cloud.wiring import build_service, read_config

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
    config = read_config(config_path)
    service = build_service(_announcing(config) if announce else config)
    try:
        service.serve(stop)
    except Exception as error:
        if not service.at_work:
            raise
        _leave(error)
    logging.getLogger("edgeadapt.cloud").info("stopped")
    if service.at_work:
        _leave()


def _announcing(config: CloudConfig) -> CloudConfig:
    section = msgspec.structs.replace(config.announce, enabled=True)
    return msgspec.structs.replace(config, announce=section)


def _leave(error: Exception | None = None) -> NoReturn:
    """End at once, with the code and the words of an ordinary end. Everything is stored and closed by now.

    A thread that is left inside torch makes an ordinary exit abort: torch's own threads are torn down
    under it.
    """
    code = 0
    if isinstance(error, EdgeAdaptError):
        code = 2
        click.echo(f"error: {error}", err=True)
    elif error is not None:
        code = 1
        logging.getLogger("edgeadapt.cloud").error("a defect", exc_info=error)
    logging.shutdown()
    os._exit(code)


@group.command(short_help="Make a signing key.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("keys"),
    show_default=True,
    help="Folder for the private key.",
)
def keygen(out: Path) -> None:
    """Make a signing key, and print the public half for the devices to pin.

    The private key stays with the service, readable by its owner only. Put the printed line into every
    device's configuration. An existing key is never replaced.
    """
    path = out / keys.KEY_NAME
    key = keys.generate(path)
    click.echo(f"private key: {path}", err=True)
    click.echo("pin this public key on every device, in [trust] keys:", err=True)
    click.echo(keys.public_hex(key))


@group.command(short_help="Show cohorts, devices, jobs and patches.")
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def status(config_path: Path, as_json: bool) -> None:
    """Show cohorts, devices, jobs with their gate's evidence, patches and what was quarantined.

    Reads the database, whether or not the service runs.
    """
    from edgeadapt_cloud.status import render
    from edgeadapt_cloud.wiring import read_config

    report = read_report(Path(read_config(config_path).cloud.state_dir))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        render(report)


@group.command(short_help="Take a cohort back to its previous patch.")
@_CONFIG
@click.option("--cohort", required=True, help="Name of the cohort, as `status` shows it.")
@click.option("--to-base", is_flag=True, help="Back to the bundle as installed, not to the previous patch.")
def rollback(config_path: Path, cohort: str, to_base: bool) -> None:
    """Take a cohort back to its previous patch, or to the base bundle.

    Devices accept only rising serials, so this publishes the older values under a new one. A running
    service does it within a second; one that is stopped does it when it starts.
    """
    from edgeadapt_cloud.wiring import read_config

    order_rollback(Path(read_config(config_path).cloud.state_dir), cohort, to_base=to_base)
    click.echo(f"{cohort}: ordered back to {'the base bundle' if to_base else 'its previous patch'}")


@group.command("command", short_help="Send an order to one device, and wait for its answer.")
@_CONFIG
@click.argument("device")
@click.argument("action", type=click.Choice(["rollback", "report"]))
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=30.0, show_default=True, help="Seconds."
)
def order(config_path: Path, device: str, action: Action, timeout_s: float) -> None:
    """Send an order to one device, and wait for its answer.

    \b
    rollback  back to the bundle as installed; what ran is never run there again
    report    send a signature report now

    Exit code 0: done; 1: the device refuses; 2: no answer in time. An order that nobody answered has expired.
    """
    from edgeadapt_cloud.io.asking import ask
    from edgeadapt_cloud.wiring import read_config

    config = read_config(config_path)
    reply = ask(config.mqtt, config.cloud.fleet, device, action, timeout_s)
    detail = f": {reply.detail}" if reply.detail else ""
    click.echo(f"{device}: {reply.reason}{detail}")
    if not reply.done:
        raise click.exceptions.Exit(1)


group.add_command(unknown)


@group.command("example-config", short_help="Print a configuration with every key, to edit.")
def example_config() -> None:
    """Print a configuration with every key, its default and what it does."""
    from edgeadapt_cloud.example import cloud_toml

    click.echo(cloud_toml())
