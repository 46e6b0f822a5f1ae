"""What the study leaves: tables and plain words in the terminal, `device.json` and `device.png`."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no display: before pyplot is imported

import matplotlib.pyplot as plt
import msgspec
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgeadapt_sim import provenance
from edgeadapt_sim.bench.device.study import AGENT, ARMS, BARE, BASE, PATCHED, SLOTS, Case, DevicePlan
from edgeadapt_sim.bench.device.targets import (
    ARM_WORDS,
    ENGINE_RATIO,
    GAP,
    MEMORY,
    START,
    Verdict,
    arm_limit,
    verdicts,
)
from edgeadapt_sim.report.style import GRID, INK

_PACKAGES = ("onnxruntime", "ai-edge-litert", "numpy", "torch")
_NAMES = {BASE: "engine, base", PATCHED: "patched", SLOTS: "prompt, adapters", AGENT: "whole agent"}
_COLOURS = {BASE: "#8a8f98", PATCHED: "#e08214", SLOTS: "#6a3d9a", AGENT: "#0067a5"}

_ENGINES = {"onnxruntime": "onnx", "tflite": "tflite"}
_PRECISIONS = {"float32": "f32", "int8": "i8"}


class Document(msgspec.Struct, frozen=True):
    """`device.json`: the study with what is needed to repeat it. Times in seconds, memory in bytes.

    `load` is the machine's load average as the study began and ended: other work spoils timings.
    """

    date: str
    versions: dict[str, str]
    machine: str
    processor: str
    load: tuple[float, float]
    arguments: dict[str, object]
    seconds: float
    verdicts: tuple[Verdict, ...]
    cases: tuple[Case, ...]


def write(
    cases: Sequence[Case], plan: DevicePlan, seconds: float, load: tuple[float, float], out: Path
) -> None:
    """Write both files into `out`, made if absent."""
    out.mkdir(parents=True, exist_ok=True)
    document = Document(
        date=provenance.now(),
        versions=provenance.versions(_PACKAGES),
        machine=provenance.machine(),
        processor=_processor(),
        load=load,
        arguments=msgspec.to_builtins(plan),
        seconds=seconds,
        verdicts=verdicts(cases),
        cases=tuple(cases),
    )
    (out / "device.json").write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    _plot(cases, out / "device.png")


def show(cases: Sequence[Case], load: tuple[float, float], console: Console) -> None:
    """Times, swaps, memory and start, each beside its target; then what was met and missed, in words."""
    judged = {(verdict.case, verdict.what): verdict for verdict in verdicts(cases)}
    console.print(_times(cases, judged))
    console.print(_costs(cases, judged))
    missed = [verdict for verdict in judged.values() if not verdict.met]
    console.print(f"{len(judged) - len(missed)} of {len(judged)} targets met", highlight=False)
    for verdict in missed:
        line = Text.assemble(("missed: ", "red"), _words(verdict))
        console.print(line, soft_wrap=True, highlight=False)
    busy = max(load)
    if busy > 0.5 * (os.cpu_count() or 1):
        console.print(
            f"load average {load[0]:.1f} to {load[1]:.1f}: other work was running, and spoils timings; "
            "the ratios hold up best, the gaps worst",
            style="yellow",
            soft_wrap=True,
            highlight=False,
        )


def _words(verdict: Verdict) -> str:
    return (
        f"{verdict.case}: {verdict.what} {verdict.figure:.3g} {verdict.unit}, "
        f"the target is {verdict.limit:g} at most"
    )


def _times(cases: Sequence[Case], judged: dict[tuple[str, str], Verdict]) -> Table:
    table = Table(
        title="time of a frame over that of the bare runtime (a); CPU time of one thread",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    table.add_column("model and engine", no_wrap=True)
    for name in ("(a) bare", "(b) base", "(c) patch", "(d) slots", "(e) agent", "all probed"):
        table.add_column(name, justify="right")
    for case in cases:
        row: list[Text | str] = [_short(case), _time(case.arm(BARE).frame_s)]
        for arm in ARMS[1:]:
            found = case.arm(arm)
            met = judged[case.title, ARM_WORDS[arm]].met
            row.append(_coloured(f"{found.ratio:.3f}", met))
        table.add_row(*row, f"{case.young_ratio:.2f}")
    return table


def _costs(cases: Sequence[Case], judged: dict[tuple[str, str], Verdict]) -> Table:
    table = Table(
        title="a new generation; then memory and start of the agent above the bare runtime",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    table.add_column("model and engine", no_wrap=True)
    for name in ("ready, ms", "gap, frames", "MB", "MB at most", "MB single", "start, s"):
        table.add_column(name, justify="right")
    for case in cases:
        foot, title = case.footprint, case.title
        table.add_row(
            _short(case),
            f"{1e3 * case.apply.seconds:.0f}",
            _coloured(f"{case.gap.worst:.1f}", judged[title, GAP].met),
            _coloured(_megabytes(foot.above_bytes), judged[title, MEMORY].met),
            _megabytes(foot.agent.peak - foot.bare.peak),
            _megabytes(foot.single.steady - foot.bare.steady),
            _coloured(f"{foot.start_above_s:+.2f}", judged[title, START].met),
        )
    return table


def _short(case: Case) -> str:
    """A title that leaves a terminal room for the figures."""
    return f"{case.network} {_ENGINES[case.runtime]} {_PRECISIONS[case.precision]}"


def _coloured(text: str, met: bool) -> Text:
    return Text(text, style="green" if met else "bold red")


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:+.0f}"


def _time(seconds: float) -> str:
    return f"{1e6 * seconds:.0f} us" if seconds < 1e-3 else f"{1e3 * seconds:.1f} ms"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _plot(cases: Sequence[Case], path: Path) -> None:
    height = 1.4 + 0.55 * len(cases)
    figure, panel = plt.subplots(figsize=(10, height), layout="constrained")
    arms = ARMS[1:]
    width = 0.8 / len(arms)
    for number, arm in enumerate(arms):
        found = [case.arm(arm) for case in cases]
        values = np.array([100 * (each.ratio - 1) for each in found])
        quartiles = np.array([[100 * (each.low - 1), 100 * (each.high - 1)] for each in found])
        places = np.arange(len(cases)) + (number - (len(arms) - 1) / 2) * width
        panel.barh(places, values, height=0.9 * width, color=_COLOURS[arm], label=_NAMES[arm])
        panel.hlines(places, quartiles[:, 0], quartiles[:, 1], color=INK, linewidth=1.0)
    for row, case in enumerate(cases):
        limit, engine = 100 * (arm_limit(case, AGENT) - 1), 100 * (ENGINE_RATIO - 1)
        panel.vlines(limit, row - 0.45, row + 0.45, color=_COLOURS[AGENT], linestyle="--", linewidth=1.2)
        panel.vlines(engine, row - 0.45, row + 0.45, color=INK, linestyle=":", linewidth=1.2)
    panel.set_yticks(np.arange(len(cases)), [case.title for case in cases])
    panel.invert_yaxis()
    panel.axvline(0.0, color=INK, linewidth=0.8)
    panel.set_xlabel(
        "time of a frame above the bare runtime, %\n"
        "lines: quartiles of the rounds; dotted: target of the engine; dashed: of the agent"
    )
    panel.margins(y=0.01)
    panel.grid(axis="x", color=GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(arms), frameon=False)
    figure.savefig(path, dpi=110, facecolor="white")
    plt.close(figure)
