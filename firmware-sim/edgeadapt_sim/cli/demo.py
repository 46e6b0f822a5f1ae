"""`edgeadapt demo`: options in, exit code out. The demo itself is imported when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgeadapt_sim.broker import BrokerKind


@click.command("demo", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="Folder for the report and everything else the run makes.",
)
@click.option("--seconds", default=180.0, show_default=True, help="Length of every device's stream.")
@click.option("--fps", default=60.0, show_default=True, help="Frames per second of every device.")
@click.option("--devices", default=3, show_default=True, help="How many devices.")
@click.option("--seed", default=0, show_default=True, help="Which pictures are drawn.")
@click.option("--dataset", default="fashion-mnist", show_default=True, help="Whose test pictures are shown.")
@click.option("--student", default="resnet8", show_default=True, help="Network on the devices.")
@click.option("--strategy", default="anchored", show_default=True, help="How the cloud makes patches.")
@click.option(
    "--broker",
    type=click.Choice(["auto", "mosquitto", "iotcore"]),
    default="auto",
    show_default=True,
    help="MQTT broker to start on loopback; auto takes Mosquitto if it is installed.",
)
@click.option("--plain", is_flag=True, help="Write lines instead of a live view, as without a terminal.")
def command(
    out: Path,
    seconds: float,
    fps: float,
    devices: int,
    seed: int,
    dataset: str,
    student: str,
    strategy: str,
    broker: BrokerKind,
    plain: bool,
) -> None:
    """Run the whole loop on this machine: a broker, the cloud service and several devices.

    Every device plays a stream of real images through changing domains (fog, contrast, noise ...). The
    view compares, on the same frames, the frozen model, a device that only adapts its own normalisation
    statistics, and the full loop with patches from the cloud. Labels are seen by neither side.

    \b
    At the end, in the --out folder:
      report.html    curves, bytes, patches with the gate's evidence
      summary.json   the figures
      config/        the TOML file of every process, to run one again by hand

    Exit code: 0 the loop helped, 1 it did not, 2 something is missing, 130 stopped with Ctrl-C.
    """
    from rich.console import Console

    from edgeadapt_sim.demo.plan import DemoPlan
    from edgeadapt_sim.demo.run import run_demo

    plan = DemoPlan(
        devices=devices,
        seconds=seconds,
        frames_per_second=fps,
        seed=seed,
        dataset=dataset,
        student=f"{dataset}/{student}",
        teacher=f"{dataset}/teacher",
        strategy=strategy,
        broker=broker,
    )
    console = Console()
    sys.exit(0 if run_demo(plan, out, console, plain=plain or not console.is_terminal) else 1)
