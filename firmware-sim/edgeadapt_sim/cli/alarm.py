"""`edgeadapt bench alarm`: options in, tables and files out. The study is imported when it runs."""

from __future__ import annotations

import time
from pathlib import Path

import click


@click.command(short_help="Whether the drift alarm keeps its level, and what it sees.")
@click.option("--network", "networks", multiple=True, help="Weights of the zoo; the default is two.")
@click.option("--streams", type=click.IntRange(1), help="Clean streams for each order.  [default: 100]")
@click.option("--quick", is_flag=True, help="One network, few streams, two corruptions: half a minute.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("docs/results"),
    show_default=True,
    help="Folder for alarm.json and alarm.png.",
)
def alarm(networks: tuple[str, ...], streams: int | None, quick: bool, out: Path) -> None:
    """Measure false alarms on clean streams, and how soon drift is seen, on real test images.

    Clean streams come as drawn, sorted by class, in runs of one class, and in scenes of a few images that
    come again and again; the share that sounds the alarm is held against its level. Fifteen corruptions at
    severities 1, 3 and 5 begin after clean frames, before the alarm, the distance rule that it took the
    place of, and a whole device. Seven minutes on a busy machine, one thread.
    """
    from msgspec.structs import replace
    from rich.console import Console

    from edgeadapt_sim.bench.alarm.output import show, write
    from edgeadapt_sim.bench.alarm.plan import QUICK, AlarmPlan
    from edgeadapt_sim.bench.alarm.study import pieces, run_study
    from edgeadapt_sim.cli.progress import watched

    plan = QUICK if quick else AlarmPlan()
    given = {"networks": networks, "streams": streams}
    plan = replace(plan, **{name: value for name, value in given.items() if value})
    console = Console()
    began = time.monotonic()
    study = watched(console, len(pieces(plan)), lambda on_done: run_study(plan, on_done))
    write(study, plan, time.monotonic() - began, out)
    show(study, console)
    files = " and ".join(str(out / f"alarm.{kind}") for kind in ("json", "png"))
    console.print(f"wrote {files}", soft_wrap=True, highlight=False)
