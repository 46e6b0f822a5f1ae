"""What the study leaves: tables and claims in the terminal, `uplink.json` and `uplink.png` in a folder.

Every comparison of ours with another policy is over pairs, the same stream and budget, with its interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no display: before pyplot is imported

import matplotlib.pyplot as plt
import msgspec
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter
from rich import box
from rich.console import Console
from rich.table import Table

from edgeadapt.errors import ConfigError
from edgeadapt_sim import provenance
from edgeadapt_sim.bench.uplink.figures import CONFIDENCE, Claim, Curve, Gap, claims, curves, gaps
from edgeadapt_sim.bench.uplink.plan import UplinkPlan
from edgeadapt_sim.bench.uplink.study import Point, Reference, Study
from edgeadapt_sim.report.style import GRID, INK, bytes_text, words

_COLOURS = ("#8a8f98", "#e08214", "#6a3d9a", "#b3261e", "#0067a5", "#117a43")
_PACKAGES = ("torch", "onnxruntime", "numpy", "scipy")
# What may differ between runs of one study: how many streams each domain gets, and how many processes.
_FREE = ("seeds", "workers")
# Measures whose differences are shown; all of them are in the file.
_MEASURED = {
    "candidate": "ours less another policy, points of accuracy under the candidate patch, paired",
    "re-estimated": "the same for the base with statistics from the uploads alone",
}


class Document(msgspec.Struct, frozen=True):
    """`uplink.json`: the study with what is needed to repeat it. Accuracies and shares are 0..1.

    `earlier` are the dates of runs that this one went on from; `seconds` is the time of all of them.
    """

    date: str
    versions: dict[str, str]
    machine: str
    arguments: dict[str, object]
    seconds: float
    curves: tuple[Curve, ...]
    gaps: tuple[Gap, ...]
    claims: tuple[Claim, ...]
    study: Study
    earlier: tuple[str, ...] = ()


def read(path: Path, plan: UplinkPlan) -> Document:
    """What an earlier run left, to go on from.

    Raises:
        ConfigError: it cannot be read, or measured something else or with other versions.
    """
    try:
        document = msgspec.json.decode(path.read_bytes(), type=Document)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: not a result of this study: {error}") from error
    wanted = msgspec.json.decode(msgspec.json.encode(plan))
    found = {**document.arguments, **document.versions}
    for name, value in {**wanted, **provenance.versions(_PACKAGES)}.items():
        if name not in _FREE and found.get(name) != value:
            raise ConfigError(f"{path}: {name} was {found.get(name)}, not {value}: measure all of it anew")
    return document


def write(study: Study, plan: UplinkPlan, seconds: float, out: Path, earlier: Document | None = None) -> None:
    """Write both files into `out`, made if absent; `earlier` is what this run went on from."""
    out.mkdir(parents=True, exist_ok=True)
    document = Document(
        date=provenance.now(),
        versions=provenance.versions(_PACKAGES),
        machine=provenance.machine(),
        arguments=msgspec.to_builtins(plan),
        seconds=seconds + (earlier.seconds if earlier else 0.0),
        curves=curves(study.points),
        gaps=gaps(study.points),
        claims=claims(study.points, study.references),
        study=study,
        earlier=(*earlier.earlier, earlier.date) if earlier else (),
    )
    (out / "uplink.json").write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    _plot(study, out / "uplink.png")


def show(study: Study, console: Console) -> None:
    """Accuracy by policy and budget, differences, by domain, what was sent, and whether the claims hold."""
    found = curves(study.points)
    console.print(_accuracies(found, study.references))
    compared = gaps(study.points)
    for measure, title in _MEASURED.items():
        console.print(_differences([gap for gap in compared if gap.measure == measure], title))
    console.print(_domains(study.points, study.references))
    console.print(_contents(found))
    for sentence in study.skipped:
        console.print(sentence, highlight=False, soft_wrap=True)
    for claim in claims(study.points, study.references):
        word = {True: "holds", False: "MISSED", None: "not tested"}[claim.holds]
        console.print(f"{word}: {claim.text} ({claim.figures})", highlight=False, soft_wrap=True)


def _accuracies(found: Sequence[Curve], references: Sequence[Reference]) -> Table:
    shares = list(dict.fromkeys(curve.share for curve in found))
    title = "accuracy under the candidate patch, %, mean ± spread over seeds, by budget"
    table = _table(title, ("policy",), [_percent(share) for share in shares])
    by_key = {(curve.policy, curve.share): curve for curve in found}
    for policy in dict.fromkeys(curve.policy for curve in found):
        cells = (by_key[policy, share] for share in shares)
        table.add_row(policy, *(f"{100 * cell.candidate:.1f} ± {100 * cell.spread:.1f}" for cell in cells))
    table.add_section()
    for name, value in _lines(references).items():
        table.add_row(name, f"{100 * value:.1f}")
    return table


def _differences(found: Sequence[Gap], title: str) -> Table:
    """Mean and interval, by policy and budget; what leaves 0 out is marked."""
    policies = list(dict.fromkeys(gap.policy for gap in found))
    title = f"{title}: mean and {100 * CONFIDENCE:g} % interval, * where it leaves 0 out"
    table = _table(title, ("budget",), [f"against {name}".replace(" ", "\n") for name in policies])
    by_key = {(gap.policy, gap.share): gap for gap in found}
    for share in dict.fromkeys(gap.share for gap in found):
        table.add_row(_percent(share), *(_difference(by_key.get((name, share))) for name in policies))
    return table


def _difference(gap: Gap | None) -> str:
    if gap is None:
        return ""
    mean, _, interval = str(gap).partition(" ")
    return f"{mean}{'*' if gap.certain else ' '}\n{interval.strip('()')} "


def _domains(points: Sequence[Point], references: Sequence[Reference]) -> Table:
    policies = list(dict.fromkeys(point.policy for point in points))
    table = _table(
        "accuracy by domain; own: own statistics alone",
        ("domain", "budget"),
        ("own", *(name.replace("-", "-\n") for name in policies)),
    )
    for domain, share in dict.fromkeys((point.domain, point.share) for point in points):
        own = [row.own for row in references if row.domain == domain]
        cells = [[p.candidate for p in points if _key(p) == (domain, share, name)] for name in policies]
        values = (f"{100 * float(np.mean(cell)):.1f}" if cell else "" for cell in (own, *cells))
        table.add_row(words(domain), _percent(share), *values)
    return table


def _contents(found: Sequence[Curve]) -> Table:
    table = _table(
        "what was sent; audit: share of the bytes; unknown: share of no known class, in streams that have "
        "such; passed: how often the gate said yes",
        ("policy", "budget"),
        ("sent", "uploads", "audit", "unknown", "re-est.", "let out", "passed"),
    )
    for curve in found:
        table.add_row(
            curve.policy,
            _percent(curve.share),
            bytes_text(curve.sent_bytes),
            f"{curve.uploads:.0f}",
            f"{100 * curve.lanes.get('audit', 0.0) / max(sum(curve.lanes.values()), 1.0):.0f} %",
            f"{100 * curve.unknown:.1f}",
            f"{100 * curve.reestimated:.1f}",
            f"{100 * curve.let_out:.1f}",
            f"{100 * curve.published:.0f} %",
        )
    return table


def _lines(references: Sequence[Reference]) -> dict[str, float]:
    """The lines of reference, means over domains and seeds."""
    if not references:
        return {}
    found = {
        "frozen": [row.frozen for row in references],
        "own statistics": [row.own for row in references],
        "teacher": [row.teacher for row in references],
        "all of the stream": [row.everything for row in references if row.everything is not None],
    }
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def _table(title: str, names: Sequence[str], figures: Sequence[str]) -> Table:
    """Figures are never cut off; in 80 columns the space between them gives way, then names."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.collapse_padding, table.pad_edge = True, False
    for name in names:
        table.add_column(name, overflow="fold")
    for figure in figures:
        table.add_column(figure, justify="right", no_wrap=True)
    return table


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _key(point: Point) -> tuple[str, float, str]:
    return point.domain, point.share, point.policy


def _plot(study: Study, path: Path) -> None:
    found = curves(study.points)
    figure, (left, right, beside) = plt.subplots(1, 3, figsize=(16.0, 4.8), layout="constrained")
    right.sharey(left)
    for number, policy in enumerate(dict.fromkeys(curve.policy for curve in found)):
        mine = [curve for curve in found if curve.policy == policy]
        colour = _COLOURS[number % len(_COLOURS)]
        heights = [100 * curve.candidate for curve in mine]
        spreads = [100 * curve.spread for curve in mine]
        # Neighbours side by side, or their bars hide each other.
        aside = 1.0 + 0.02 * (number - 2)
        for panel, places in (
            (left, [100 * curve.share * aside for curve in mine]),
            (right, [curve.sent_bytes for curve in mine]),
        ):
            panel.errorbar(
                places, heights, yerr=spreads, color=colour, label=policy if panel is left else None,
                marker="o", markersize=4, linewidth=1.6, elinewidth=0.9, capsize=2,
            )  # fmt: skip
    shares = sorted({curve.share for curve in found})
    sizes = [float(np.mean([c.sent_bytes for c in found if c.share == share])) for share in shares]
    _dress(left, right, study.references, [100 * share for share in shares], sizes)
    _plot_differences(beside, study, [100 * share for share in shares])
    figure.legend(loc="outside upper center", ncols=5, frameon=False)
    figure.savefig(path, dpi=110, facecolor="white")
    plt.close(figure)


def _plot_differences(panel: Axes, study: Study, shares: Sequence[float]) -> None:
    """Ours less each other policy, in the colours of the curves."""
    policies = list(dict.fromkeys(point.policy for point in study.points))
    compared = [gap for gap in gaps(study.points) if gap.measure == "candidate"]
    for number, policy in enumerate(policies):
        mine = [gap for gap in compared if gap.policy == policy]
        aside = 1.0 + 0.03 * (number - 2)
        panel.errorbar(
            [100 * gap.share * aside for gap in mine],
            [100 * gap.difference for gap in mine],
            yerr=[100 * (gap.high - gap.difference) for gap in mine],
            color=_COLOURS[number % len(_COLOURS)],
            marker="o", markersize=4, linestyle="none", elinewidth=1.2, capsize=3,
        )  # fmt: skip
    panel.axhline(0.0, color=INK, linewidth=0.9, zorder=0)
    panel.set_xscale("log")
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xticks(shares, [f"{share:g}" for share in shares])
    panel.set_xlabel("budget, % of what the stream would cost")
    panel.set_ylabel(f"ours less the other, points, paired (bars: {100 * CONFIDENCE:g} % interval)")
    panel.grid(color=GRID, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _dress(
    left: Axes, right: Axes, references: Sequence[Reference], shares: Sequence[float], sizes: Sequence[float]
) -> None:
    for panel in (left, right):
        panel.set_xscale("log")
        panel.xaxis.set_minor_formatter(NullFormatter())
        for (name, value), style in zip(_lines(references).items(), (":", "--", "-.", "-"), strict=False):
            if name == "frozen":
                continue  # far below: it would flatten everything else
            panel.axhline(100 * value, color=INK, linewidth=0.9, linestyle=style, zorder=0)
            if panel is left:
                panel.annotate(name, (min(shares), 100 * value), fontsize=8, va="bottom", color=INK)
        panel.grid(color=GRID, linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    left.set_xticks(shares, [f"{share:g}" for share in shares])
    left.set_xlabel("budget, % of what the stream would cost")
    left.set_ylabel("accuracy, %, mean over domains (bars: spread over seeds)")
    right.set_xticks(sizes, [bytes_text(size) for size in sizes])
    right.set_xlabel("bytes sent by the cohort, overhead included")
