"""`edgeadapt bench`: options in, tables and files out. The study is imported when it runs."""

from __future__ import annotations

import time
from pathlib import Path

import click
from click.core import ParameterSource

from edgeadapt_sim.cli.alarm import alarm
from edgeadapt_sim.cli.ood import ood
from edgeadapt_sim.cli.outbox import outbox
from edgeadapt_sim.cli.progress import watched
from edgeadapt_sim.cli.uplink import uplink


def _refuse_others(context: click.Context) -> None:
    """--small sets everything itself: an option beside it would be ignored without a word."""
    for name in ("seeds", "frames_per_domain", "domains", "strategies", "workers"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = "strategy" if name == "strategies" else name.replace("_", "-")
            raise click.UsageError(f"--small and --{option} exclude each other")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """Benchmarks: tables in the terminal, and files in docs/results or --out.

    Some have a first look that takes a minute or a few:

    \b
      edgeadapt bench loop --small --out out/bench
      edgeadapt bench ood --quick --out out/bench
      edgeadapt bench uplink --quick --out out/bench
      edgeadapt bench device --quick --out out/bench

    Without --small and --quick they run in full, from three minutes to an hour and more; the --help of each
    says what is measured and how long it takes.
    """


group.add_command(alarm)
group.add_command(ood)
group.add_command(outbox)
group.add_command(uplink)


@group.command(short_help="The whole loop against its baselines.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="How many seeds.")
@click.option(
    "--frames-per-domain",
    type=click.IntRange(min=1),
    default=1500,
    show_default=True,
    help="Frames of each domain, per device.",
)
@click.option("--domains", help='Domains in order, such as "clean fog:5 snow:3"; the default is nine.')
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    default=("cema", "anchored"),
    show_default=True,
    help="Strategies to compare; the claims are about the last. May be given several times.",
)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Processes.")
@click.option(
    "--small",
    is_flag=True,
    help="One seed, two short domains, one strategy: about a minute. Goes with --out only.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("docs/results"),
    show_default=True,
    help="Folder for loop.json and loop.png.",
)
@click.pass_context
def loop(
    context: click.Context,
    seeds: int,
    frames_per_domain: int,
    domains: str | None,
    strategies: tuple[str, ...],
    workers: int,
    small: bool,
    out: Path,
) -> None:
    """Measure the whole loop on Fashion-MNIST at severity 5, in virtual time.

    Two devices share a cloud; bytes really go through both sides' codecs. Compared on the same frames:
    the frozen model, own statistics only, and the full loop with each strategy. Prints accuracy per
    domain, costs, and whether two claims hold: that the loop is at least own statistics on the mean, and
    that no published patch leaves a domain more than 1 point below it. The full study takes about a
    quarter of an hour on 2 cores.
    """
    from rich.console import Console

    from edgeadapt_sim.bench.loop.output import show, write
    from edgeadapt_sim.bench.loop.study import DOMAINS, StudyPlan, pieces, run_study

    if small:
        _refuse_others(context)
        plan = StudyPlan(("fog:5", "contrast:5"), 600, 1, ("anchored",))
    else:
        chosen = tuple(domains.split()) if domains else DOMAINS
        plan = StudyPlan(chosen, frames_per_domain, seeds, strategies, workers=workers)
    console = Console()
    began = time.monotonic()
    study = watched(console, len(pieces(plan)), lambda on_done: run_study(plan, on_done))
    write(study, plan, time.monotonic() - began, out)
    show(study, console)
    console.print(f"wrote {out / 'loop.json'} and {out / 'loop.png'}", soft_wrap=True, highlight=False)


@group.command(short_help="What 8 bits cost in accuracy.")
@click.option(
    "--network",
    "networks",
    multiple=True,
    help="Weights of the zoo, such as cifar10/resnet8; may be given several times. The default is three.",
)
@click.option("--corruptions", help='Corruptions, such as "fog contrast"; the default is three.')
@click.option(
    "--frames", type=click.IntRange(min=1), default=2000, show_default=True, help="Frames to measure."
)
@click.option(
    "--runtime", type=click.Choice(["onnxruntime", "tflite"]), default="onnxruntime", show_default=True
)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Processes.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("docs/results"),
    show_default=True,
    help="Folder for int8.json and int8.png (int8-tflite for LiteRT).",
)
def int8(
    networks: tuple[str, ...], corruptions: str | None, frames: int, runtime: str, workers: int, out: Path
) -> None:
    """Compare the int8 and the float model of one bundle, in the device's engine, on the same frames.

    Clean and at severity 5: with the base's values, with statistics of their own, and with a norm patch that
    the cloud's strategy makes of labelled frames of the domain. Also how far apart the domain signatures and
    the moments are that both models' probes give. About three minutes on 2 cores.
    """
    from rich.console import Console

    from edgeadapt_sim.bench.int8.output import file_name, show, write
    from edgeadapt_sim.bench.int8.study import CORRUPTIONS, STUDENTS, Int8Plan, pieces, run_study

    chosen = tuple(corruptions.split()) if corruptions else CORRUPTIONS
    plan = Int8Plan(networks or STUDENTS, chosen, frames, runtime=runtime, workers=workers)
    console = Console()
    began = time.monotonic()
    rows = watched(console, len(pieces(plan)), lambda on_done: run_study(plan, on_done))
    write(rows, plan, time.monotonic() - began, out)
    show(rows, console)
    files = " and ".join(str(out / f"{file_name(plan)}.{kind}") for kind in ("json", "png"))
    console.print(f"wrote {files}", soft_wrap=True, highlight=False)


@group.command(short_help="What the device runtime costs above the bare one.")
@click.option("--network", "networks", multiple=True, help="May be given several times; the default is four.")
@click.option(
    "--runtime",
    "runtimes",
    type=click.Choice(["onnxruntime", "tflite"]),
    multiple=True,
    help="May be given twice; the default is both.",
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(["float32", "int8"]),
    multiple=True,
    help="May be given twice; the default is both.",
)
@click.option("--quick", is_flag=True, help="Two networks, fewer rounds: a few minutes.")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where compiled models are kept from run to run.  [default: in the user's cache]",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("docs/results"),
    show_default=True,
    help="Folder for device.json and device.png.",
)
def device(
    networks: tuple[str, ...],
    runtimes: tuple[str, ...],
    precisions: tuple[str, ...],
    quick: bool,
    cache: Path | None,
    out: Path,
) -> None:
    """Time the bare runtime, our engine and the whole agent side by side, in one process and one thread.

    The arms take turns in rounds, so that whatever disturbs the machine disturbs all alike: (a) the bare
    runtime with a pre-folded model, (b) our engine, (c) with a patch, (d) with a prompt and adapters, (e) the
    whole agent. Also how long a swap holds frames up, how long a patch takes, and what the agent needs of
    memory and to start, in processes of their own. Exact figures want an idle machine; the full study takes
    about half an hour on 2 cores, and some minutes more the first time, to compile the models.
    """
    import os

    from msgspec.structs import replace
    from rich.console import Console

    from edgeadapt_models.data.locations import default_cache_dir
    from edgeadapt_sim.bench.device.output import show, write
    from edgeadapt_sim.bench.device.study import QUICK, DevicePlan, pieces, run_study

    plan = QUICK if quick else DevicePlan()
    given = {"networks": networks, "runtimes": runtimes, "precisions": precisions}
    plan = replace(plan, **{name: value for name, value in given.items() if value})
    console = Console()
    began, load = time.monotonic(), os.getloadavg()[0]

    def report(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    cases = watched(
        console,
        len(pieces(plan)),
        lambda on_done: run_study(plan, cache or default_cache_dir() / "bench-device", report, on_done),
    )
    loads = (load, os.getloadavg()[0])
    write(cases, plan, time.monotonic() - began, loads, out)
    show(cases, loads, console)
    files = " and ".join(str(out / f"device.{kind}") for kind in ("json", "png"))
    console.print(f"wrote {files}", soft_wrap=True, highlight=False)
