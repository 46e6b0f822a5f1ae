"""`edgeadapt bench ood`: options in, tables and files out. The study is imported when it runs."""

from __future__ import annotations

import time
from pathlib import Path

import click


@click.command(short_help="Which scores tell unknown classes from known ones.")
@click.option("--dataset", type=click.Choice(["fashion-mnist", "cifar10"]), help="[default: fashion-mnist]")
@click.option(
    "--network",
    "networks",
    multiple=True,
    help="resnet8 or resnet8-abet; may be given twice.  [default: both]",
)
@click.option("--quick", is_flag=True, help="One seed, three corruptions, a short training: a few minutes.")
@click.option(
    "--seeds", type=click.IntRange(1), help="How many; each leaves out other classes.  [default: 3]"
)
@click.option(
    "--full", is_flag=True, help="Every severity and network with every seed: about two hours on one core."
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where trained networks, and what they said, are kept from run to run (about 500 MB).  "
    "[default: in the user's cache]",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("docs/results"),
    show_default=True,
    help="Folder for ood.json and ood.png (ood-cifar10 for CIFAR-10).",
)
def ood(
    dataset: str | None,
    networks: tuple[str, ...],
    quick: bool,
    seeds: int | None,
    full: bool,
    cache: Path | None,
    out: Path,
) -> None:
    """Measure every scorer on networks that have never seen two of ten classes.

    Unknown frames are of the two classes (near), and of other data, textures and noise (far); known ones are
    clean, and under fifteen corruptions. All are scored before adaptation, with statistics re-estimated, and
    under a patch; p-values by knots of several origins. A network is trained for each seed, and a patch made
    for each domain: about an hour on one core the first time, two minutes when only scorers have changed.
    """
    from msgspec.structs import replace
    from rich.console import Console

    from edgeadapt_models.data.locations import default_cache_dir
    from edgeadapt_sim.bench.ood.output import file_name, show, write
    from edgeadapt_sim.bench.ood.plan import QUICK, OodPlan
    from edgeadapt_sim.bench.ood.study import pieces, run_study
    from edgeadapt_sim.bench.ood.summary import summarise
    from edgeadapt_sim.cli.progress import watched

    plan = QUICK if quick else OodPlan()
    given = {"dataset": dataset, "networks": networks, "seeds": seeds, "full": full}
    plan = replace(plan, **{name: value for name, value in given.items() if value})
    console = Console()
    began = time.monotonic()

    def report(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    study = watched(
        console,
        len(pieces(plan)),
        lambda on_done: run_study(plan, cache or default_cache_dir() / "bench-ood", report, on_done),
    )
    summary = summarise(study)
    write(summary, plan, time.monotonic() - began, out)
    show(summary, console)
    files = " and ".join(str(out / f"{file_name(plan)}.{kind}") for kind in ("json", "png"))
    console.print(f"wrote {files}", soft_wrap=True, highlight=False)
