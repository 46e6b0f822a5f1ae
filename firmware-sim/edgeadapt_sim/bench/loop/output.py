"""What the study leaves: tables in the terminal, `loop.json` and `loop.png` in the results folder."""

from __future__ import annotations

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

from edgeadapt_sim import provenance
from edgeadapt_sim.bench.loop.figures import ArmRow, Claim
from edgeadapt_sim.bench.loop.study import Study, StudyPlan
from edgeadapt_sim.report.style import GRID, INK, bytes_text, words

_COLOURS = ("#8a8f98", "#e08214", "#6a3d9a", "#0067a5", "#117a43", "#b3261e")
_NAMES = {"statistics": "own statistics"}
_PACKAGES = ("torch", "onnxruntime", "numpy")


class Document(msgspec.Struct, frozen=True):
    """`loop.json`: the study with what is needed to repeat it. Accuracies are 0..1, sizes bytes."""

    date: str
    versions: dict[str, str]
    machine: str
    arguments: dict[str, object]
    seconds: float
    study: Study


def write(study: Study, plan: StudyPlan, seconds: float, out: Path) -> None:
    """Write both files into `out`, made if absent."""
    out.mkdir(parents=True, exist_ok=True)
    document = Document(
        date=provenance.now(),
        versions=provenance.versions(_PACKAGES),
        machine=provenance.machine(),
        arguments=msgspec.to_builtins(plan),
        seconds=seconds,
        study=study,
    )
    (out / "loop.json").write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    _plot(study.arms, out / "loop.png")


def show(study: Study, console: Console) -> None:
    """Accuracy per domain, costs, and whether the claims hold."""
    table = Table(title="accuracy, %, mean ± spread over seeds", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("domain")
    for arm in study.arms:
        table.add_column(_NAMES.get(arm.arm, arm.arm), justify="right")
    for number, row in enumerate(study.arms[0].domains):
        cells = (_figure(arm.domains[number].mean, arm.domains[number].spread) for arm in study.arms)
        table.add_row(words(row.domain), *cells)
    table.add_section()
    table.add_row("all frames", *(_figure(arm.accuracy, arm.spread) for arm in study.arms))
    console.print(table)
    console.print(_costs(study.arms))
    for arm in study.arms:
        if arm.refused_for:
            reasons = ", ".join(f"{name} {count}" for name, count in arm.refused_for.items())
            console.print(f"{arm.arm}, checks that failed over all seeds: {reasons}", soft_wrap=True)
    for claim in study.claims:
        console.print(_verdict(claim), highlight=False, soft_wrap=True)


def _costs(arms: Sequence[ArmRow]) -> Table:
    table = Table(
        title="costs per seed, both devices; uploaded: share of all frames",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    table.add_column("arm")
    for name in ("uploaded", "sent", "received", "published", "refused", "cloud s"):
        table.add_column(name, justify="right")
    for arm in arms:
        if arm.arm in ("frozen", "statistics"):
            continue
        table.add_row(
            arm.arm,
            f"{100 * arm.uploaded_share:.1f} %",
            bytes_text(arm.bytes_up),
            bytes_text(arm.bytes_down),
            f"{arm.published:.1f}",
            f"{arm.refused:.1f}",
            f"{arm.cloud_s:.0f}",
        )
    return table


def _verdict(claim: Claim) -> str:
    word = {True: "holds", False: "MISSED", None: "not tested"}[claim.holds]
    return f"{word}: {claim.text} ({claim.figures})"


def _figure(mean: float, spread: float) -> str:
    return f"{100 * mean:.1f} ± {100 * spread:.1f}"


def _plot(arms: Sequence[ArmRow], path: Path) -> None:
    figure, panel = plt.subplots(figsize=(12, 4.6), layout="constrained")
    names = [words(row.domain) for row in arms[0].domains] + ["all frames"]
    width = 0.82 / len(arms)
    for number, arm in enumerate(arms):
        places = np.arange(len(names)) + (number - (len(arms) - 1) / 2) * width
        means = [100 * row.mean for row in arm.domains] + [100 * arm.accuracy]
        spreads = [100 * row.spread for row in arm.domains] + [100 * arm.spread]
        panel.bar(
            places,
            means,
            width=0.92 * width,
            yerr=spreads,
            color=_COLOURS[number % len(_COLOURS)],
            error_kw={"ecolor": INK, "elinewidth": 1.0},
            label=_NAMES.get(arm.arm, arm.arm),
        )
    panel.set_xticks(np.arange(len(names)), names, rotation=20, ha="right")
    panel.set_ylim(0, 100)
    panel.set_ylabel("accuracy, % (bars: spread over seeds)")
    panel.set_xlabel("domain")
    panel.grid(axis="y", color=GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(arms), frameon=False)
    figure.savefig(path, dpi=110, facecolor="white")
    plt.close(figure)
