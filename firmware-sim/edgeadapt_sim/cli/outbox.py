"""`edgeadapt bench outbox`: options in, tables and files out. The study is imported when it runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click


@click.command(short_help="What the outbox costs, and what chaos loses.")
@click.option("--chaos", "kills", type=click.IntRange(min=0), default=200, show_default=True, help="Kills.")
@click.option(
    "--rounds", type=click.IntRange(min=0), default=3, show_default=True, help="Of each kind, to time it."
)
@click.option("--rows", type=click.IntRange(min=1), default=2000, show_default=True, help="Messages a round.")
@click.option("--cuts", type=click.IntRange(min=0), default=100, show_default=True, help="Power cuts, each.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of everything that is drawn.")
@click.option(
    "--durability",
    type=click.Choice(["normal", "full"]),
    default="normal",
    show_default=True,
    help="Of the device in the chaos run.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("docs/results"),
    show_default=True,
    help="Folder for outbox.json, outbox.md and outbox.png.",
)
def outbox(kills: int, rounds: int, rows: int, cuts: int, seed: int, durability: str, out: Path) -> None:
    """Time the device's outbox, cut its power, and kill everything around it.

    Inserts and acknowledgements per second, bytes on disk and recovery after `kill -9`, for both durabilities
    side by side. Then power cuts, played on copies of the database with a torn WAL. Then chaos: a device, a
    broker and a server as processes, killed at random, behind a link that is cut, throttled and swallowed;
    at the end it is counted what was committed and is not there, and what is there twice. Exits with 1 when a
    claim does not hold. Exact speeds want an idle machine; 200 kills take some minutes.
    """
    import msgspec
    from rich.console import Console

    from edgeadapt_sim.bench.outbox.output import claims, show, write
    from edgeadapt_sim.bench.outbox.plan import OutboxPlan
    from edgeadapt_sim.bench.outbox.study import pieces, run_study
    from edgeadapt_sim.cli.progress import watched

    given = {"kills": kills, "rounds": rounds, "rows": rows, "cuts": cuts, "seed": seed}
    plan = msgspec.convert({**given, "durability": durability}, OutboxPlan)
    console = Console()
    began, load = time.monotonic(), os.getloadavg()[0]
    study = watched(console, pieces(plan), lambda on_done: run_study(plan, on_done))
    write(study, plan, time.monotonic() - began, (load, os.getloadavg()[0]), out)
    show(study, console)
    files = ", ".join(str(out / f"outbox.{kind}") for kind in ("json", "md", "png"))
    console.print(f"wrote {files}", soft_wrap=True, highlight=False)
    if not all(claim.holds for claim in claims(study)):
        raise SystemExit(1)
