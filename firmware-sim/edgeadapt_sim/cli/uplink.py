"""`edgeadapt bench uplink`: options in, tables and files out. The study is imported when it runs."""

from __future__ import annotations

import time
from pathlib import Path

import click


@click.command(short_help="Accuracy against bytes sent, by selection policy.")
@click.option("--seeds", type=click.IntRange(min=1), help="How many streams per domain.  [default: 3]")
@click.option(
    "--domains",
    help='Such as "fog:5 contrast:5+unknown fog:5+runs"; the default is six. +unknown: a fifth of the frames '
    "is of no known class (needs CIFAR-10); +runs: frames come class by class.",
)
@click.option("--policy", "policies", multiple=True, help="May be given several times; the default is all.")
@click.option("--shares", help='Byte budgets in % of what the stream would cost.  [default: "1 2 5 10 25"]')
@click.option("--draws", type=click.IntRange(min=1), help="How often each is taught.  [default: 1]")
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: 2]")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0.0, min_open=True),
    help="Begin nothing after so long; streams that not every policy has met by then are left out.",
)
@click.option(
    "--resume",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An uplink.json of the same study that was cut short, or had fewer seeds: measures what it lacks.",
)
@click.option("--quick", is_flag=True, help="One domain, a short stream, two budgets: under half a minute.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("docs/results"),
    show_default=True,
    help="Folder for uplink.json and uplink.png.",
)
def uplink(
    seeds: int | None,
    domains: str | None,
    policies: tuple[str, ...],
    shares: str | None,
    draws: int | None,
    workers: int | None,
    minutes: float | None,
    resume: Path | None,
    quick: bool,
    out: Path,
) -> None:
    """Measure how accurate the adapted model gets for its bytes, by the policy that chose the uploads.

    A cohort of devices sees one domain of Fashion-MNIST and pools its uploads; frames come in order, and a
    policy may spend a share of what the whole stream would cost. What it sent is taught by the cloud's own
    strategy, and accuracy is measured on held-out frames. Compared on the same streams: uniform draws, the
    entropy band of CEMA, the largest entropy, k-centre, and ours. Prints accuracy by budget and by domain,
    what was sent, how ours differs from each other policy with the interval of the difference, and whether
    ours is at or above every other policy at 2 and 5 %. The full study takes an hour and more on 2 cores;
    streams come seed by seed, so with --minutes the first seeds are whole, and --resume does the rest later.
    """
    from rich.console import Console

    from edgeadapt_sim.bench.uplink.output import read, show, write
    from edgeadapt_sim.bench.uplink.plan import QUICK, UplinkPlan, changed
    from edgeadapt_sim.bench.uplink.study import measured, pieces, run_study
    from edgeadapt_sim.cli.progress import watched

    plan = changed(
        QUICK if quick else UplinkPlan(),
        seeds=seeds,
        domains=tuple(domains.split()) if domains else None,
        policies=policies or None,
        shares=_shares(shares) if shares else None,
        draws=draws,
        workers=workers,
    )
    console = Console()
    began = time.monotonic()
    limit_s = None if minutes is None else 60.0 * minutes
    earlier = read(resume, plan) if resume else None
    done = measured(earlier.study) if earlier else {}
    left = len([piece for piece in pieces(plan) if piece not in done])
    study = watched(console, left, lambda on_done: run_study(plan, on_done, limit_s, done))
    write(study, plan, time.monotonic() - began, out, earlier)
    show(study, console)
    files = " and ".join(str(out / f"uplink.{kind}") for kind in ("json", "png"))
    console.print(f"wrote {files}", soft_wrap=True, highlight=False)


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) / 100.0 for part in text.split())
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: expected percentages such as '2 5'") from error
