"""What the study leaves: a table and claims in the terminal, `int8.json` and `int8.png` in a folder."""

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
from edgeadapt_sim.bench.int8.study import SHIFT, TOLERANCE, Accuracies, Int8Plan, Row
from edgeadapt_sim.report.style import GRID, words

_PACKAGES = ("torch", "onnx", "onnxruntime", "numpy")
_STATES = ("frozen", "own", "patched")
_NAMES = {"frozen": "base", "own": "own stats", "patched": "patched"}
_COLOURS = {"frozen": "#8a8f98", "own": "#e08214", "patched": "#117a43"}


class Claim(msgspec.Struct, frozen=True):
    """A sentence, whether it holds, and its figures."""

    text: str
    holds: bool
    figures: str


class Document(msgspec.Struct, frozen=True):
    """`int8.json`: accuracies are 0..1."""

    date: str
    versions: dict[str, str]
    machine: str
    arguments: dict[str, object]
    seconds: float
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...]


def claims(rows: Sequence[Row]) -> tuple[Claim, ...]:
    """What the figures say."""
    found = []
    for state in _STATES:
        lost = {(row.student, row.domain): pair.lost for row in rows if (pair := _pair(row, state))}
        if not lost:
            continue
        worst = max(lost, key=lambda key: lost[key])
        mean = float(np.mean(list(lost.values())))
        found.append(
            Claim(
                f"{_NAMES[state]}: int8 is within {100 * TOLERANCE:g} point of float in every domain",
                lost[worst] <= TOLERANCE,
                f"{100 * mean:+.2f} points lost on the mean, {100 * lost[worst]:+.2f} at most "
                f"({worst[0]}, {words(worst[1])})",
            )
        )
    apart = max(rows, key=lambda row: row.signature)
    found.append(
        Claim(
            f"signatures of int8 and float are far closer than two domains ({SHIFT:g})",
            apart.signature < SHIFT / 4,
            f"{apart.signature:.3f} at most ({apart.student}, {words(apart.domain)})",
        )
    )
    return tuple(found)


def file_name(plan: Int8Plan) -> str:
    """Of both files, without what they end with."""
    return "int8" if plan.runtime == "onnxruntime" else f"int8-{plan.runtime}"


def write(rows: tuple[Row, ...], plan: Int8Plan, seconds: float, out: Path) -> None:
    """Write both files into `out`, made if absent."""
    out.mkdir(parents=True, exist_ok=True)
    document = Document(
        date=provenance.now(),
        versions=provenance.versions(_PACKAGES),
        machine=provenance.machine(),
        arguments=msgspec.to_builtins(plan),
        seconds=seconds,
        rows=rows,
        claims=claims(rows),
    )
    name = file_name(plan)
    (out / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    _plot(rows, out / f"{name}.png")


def show(rows: Sequence[Row], console: Console) -> None:
    """Accuracies of both, differences of what their probes measure, and the claims."""
    for student in dict.fromkeys(row.student for row in rows):
        title = f"{student}: accuracy, %, float and int8"
        table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
        table.add_column("domain")
        for heading in (*_NAMES.values(), "signature", "mean", "std"):
            table.add_column(heading, justify="right")
        for row in (row for row in rows if row.student == student):
            cells = (_cell(_pair(row, state)) for state in _STATES)
            figures = f"{row.signature:.3f}", f"{row.mean:.3f}", f"{100 * row.deviation:.1f} %"
            table.add_row(words(row.domain), *cells, *figures)
        console.print(table)
    console.print(
        "signature, mean, std: largest difference between both probes, in source standard deviations and per "
        "cent; each settled on the same frames by itself",
        highlight=False,
    )
    for claim in claims(rows):
        word = "holds" if claim.holds else "MISSED"
        console.print(f"{word}: {claim.text} ({claim.figures})", highlight=False, soft_wrap=True)


def _pair(row: Row, state: str) -> Accuracies | None:
    return {"frozen": row.frozen, "own": row.own, "patched": row.patched}[state]


def _cell(pair: Accuracies | None) -> str:
    return "" if pair is None else f"{100 * pair.float32:.1f} {100 * pair.int8:.1f}"


def _plot(rows: Sequence[Row], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for state in _STATES:
        pairs = [pair for row in rows if (pair := _pair(row, state))]
        floats = [100 * pair.float32 for pair in pairs]
        label, colour = _NAMES[state], _COLOURS[state]
        left.scatter(floats, [100 * pair.int8 for pair in pairs], s=28, color=colour, label=label)
        right.scatter(floats, [-100 * pair.lost for pair in pairs], s=28, color=colour)
    left.plot((0, 100), (0, 100), color=GRID, linewidth=1.0, zorder=0)
    left.set_ylabel("accuracy of int8, %")
    right.axhspan(-100 * TOLERANCE, 100 * TOLERANCE, color=GRID, alpha=0.4, zorder=0)
    right.set_ylabel("int8 less float, points (band: 1 point)")
    for panel in (left, right):
        panel.set_xlabel("accuracy of float, %")
        panel.set_xlim(0, 100)
        panel.grid(color=GRID, linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(_STATES), frameon=False)
    figure.savefig(path, dpi=110, facecolor="white")
    plt.close(figure)
