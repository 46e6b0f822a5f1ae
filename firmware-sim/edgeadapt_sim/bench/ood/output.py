"""What the study leaves: tables and claims in the terminal, `ood.json` and `ood.png` in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")  # no display: before pyplot is imported

import matplotlib.pyplot as plt
import msgspec
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from edgeadapt_sim import provenance
from edgeadapt_sim.bench.ood.plan import ALPHAS, CLEAN, KNOTS, NOMINAL, STATES, OodPlan, Row
from edgeadapt_sim.bench.ood.summary import Claim, Line, Summary, claims, false_rate, shifted_rows
from edgeadapt_sim.report.style import GRID, bytes_text, words

_PACKAGES = ("torch", "onnxruntime", "numpy", "scipy")
_COLOURS = {"base": "#8a8f98", "own": "#e08214", "patched": "#117a43"}
_NAMES = {"base": "base", "own": "own statistics", "patched": "patched"}
_SHOWN = 5


class Document(msgspec.Struct, frozen=True):
    """`ood.json`: areas, shares and rates are 0..1, times CPU seconds of one thread."""

    date: str
    versions: dict[str, str]
    machine: str
    arguments: dict[str, object]
    seconds: float
    alphas: tuple[float, ...]
    claims: tuple[Claim, ...]
    summary: Summary


def file_name(plan: OodPlan) -> str:
    """Of both files, without what they end with."""
    return "ood" if plan.dataset == "fashion-mnist" else f"ood-{plan.dataset}"


def write(summary: Summary, plan: OodPlan, seconds: float, out: Path) -> None:
    """Write both files into `out`, made if absent. Of JSON a line for each row: there are thousands."""
    out.mkdir(parents=True, exist_ok=True)
    document = Document(
        date=provenance.now(),
        versions=provenance.versions(_PACKAGES),
        machine=provenance.machine(),
        arguments=msgspec.to_builtins(plan),
        seconds=round(seconds, 1),
        alphas=ALPHAS,
        claims=claims(summary),
        summary=summary,
    )
    text = msgspec.json.encode(document).replace(b'},{"', b'},\n{"')
    (out / f"{file_name(plan)}.json").write_bytes(text + b"\n")
    _plot(summary, out / f"{file_name(plan)}.png")


class _Figures(NamedTuple):
    """What a table of near and far frames holds: its title, and two fields of `Row`."""

    title: str
    near: str
    far: str


_AREAS = _Figures("AUROC x 100", "near", "far")
_FALSE = _Figures("FPR at 95 % TPR, per cent", "fpr95_near", "fpr95_far")


def show(summary: Summary, console: Console) -> None:
    """All tables, network by network, and the claims."""
    console.print(f"far unknown frames: {', '.join(summary.far_sets)}", highlight=False)
    for network in dict.fromkeys(line.network for line in summary.lines):
        console.print(_spectrum(summary, network))
        for severity in sorted({row.severity for row in summary.rows if row.network == network} - {0}):
            console.print(_places(summary, network, severity, _AREAS))
            console.print(_places(summary, network, severity, _FALSE))
        console.print(_rates(summary, network))
        console.print(_caught(summary, network))
    console.print(_windows(summary))
    console.print(_costs(summary))
    for claim in claims(summary):
        word = "holds" if claim.holds else "MISSED"
        console.print(f"{word}: {claim.text} ({claim.figures})", highlight=False, soft_wrap=True)


def _table(title: str, first: str, headings: Sequence[str]) -> Table:
    """Figures are never cut off; what has to give way in 80 columns is the space between, then names."""
    table = Table(
        title=title, box=box.SIMPLE_HEAD, title_justify="left", collapse_padding=True, pad_edge=False
    )
    table.add_column(first, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _scorers(summary: Summary, network: str) -> list[str]:
    """Best first, by the patched model's p-values."""
    lines = [line for line in summary.lines if line.network == network]
    by_name = {line.name: line.auroc for line in lines if line.values == "scores"}
    by_name |= {
        line.name: line.auroc for line in lines if (line.state, line.values) == ("patched", "uploads")
    }
    return sorted(by_name, key=lambda name: -by_name[name])


def _spectrum(summary: Summary, network: str) -> Table:
    """Full-spectrum areas: scores as they are, then p-values by the patch's knots, and combinations."""
    table = _table(
        f"{network}, full spectrum: AUROC x 100; p: by knots from the domain; ± of the last",
        "scorer",
        ("base", "own", "patched", "own p", "patch p", "±", "near", "far", "FPR95"),
    )
    found = {(line.name, line.state, line.values): line for line in summary.lines if line.network == network}
    for name in _scorers(summary, network):
        kinds = [(state, "scores") for state in STATES] + [("own", "uploads"), ("patched", "uploads")]
        lines = [found.get((name, *kind)) for kind in kinds]
        table.add_row(name, *map(_area, lines), *_last(lines[-1]))
    table.add_section()
    joined = [line for line in summary.combinations if line.network == network]
    for line in [line for line in joined if (line.state, line.values) == ("patched", "known")][:_SHOWN]:
        table.add_row(line.name.replace("+", " + "), *[""] * 4, _area(line), *_last(line))
    return table


def _area(line: Line | None) -> str:
    return "" if line is None else f"{100 * line.auroc:.1f}"


def _last(line: Line | None) -> tuple[str, ...]:
    if line is None:
        return ("",) * 4
    return tuple(f"{100 * value:.1f}" for value in (line.spread, line.near, line.far, line.fpr95))


def _places(summary: Summary, network: str, severity: int, figures: _Figures) -> Table:
    """At home and, on the mean, under corruptions: near and far."""
    table = _table(
        f"{network}: {figures.title}, near / far; severity {severity}: mean over corruptions",
        "scorer",
        ("clean", f"severity {severity}, base", "own", "patched"),
    )
    rows = [row for row in summary.rows if row.network == network]
    for name in _scorers(summary, network):
        mine = [row for row in rows if row.scorer == name]
        home = [row for row in mine if row.domain == CLEAN and row.state == "base"]
        away = ([r for r in mine if r.severity == severity and r.state == state] for state in STATES)
        table.add_row(name, *(_near_far(group, figures) for group in (home, *away)))
    return table


def _near_far(rows: Sequence[Row], figures: _Figures) -> str:
    if not rows:
        return ""
    near, far = (
        100 * float(np.mean([getattr(row, field) for row in rows])) for field in (figures.near, figures.far)
    )
    return f"{near:.1f} / {far:.1f}"


def _rates(summary: Summary, network: str) -> Table:
    """False positives at the nominal rate, by knots; and of clean frames that went to the wrong patch."""
    headings = [f"{state[:5]}\n{kind}" for state in ("own", "patched") for kind in KNOTS]
    table = _table(
        f"{network}: shifted known frames flagged at nominal {NOMINAL:.0%}, per cent, by origin of knots",
        "scorer",
        (*headings, "mis-\nrouted"),
    )
    shifted = shifted_rows(summary, network)
    for name in _scorers(summary, network):
        if not any(row.scorer == name and row.state == "patched" for row in shifted):
            continue
        cells = [
            f"{100 * false_rate(shifted, name, state, kind):.1f}"
            for state in ("own", "patched")
            for kind in KNOTS
        ]
        wrong = [row.misrouted for row in shifted if row.scorer == name and row.state == "patched"]
        table.add_row(name, *cells, f"{100 * float(np.mean(wrong)):.1f}")
    return table


def _caught(summary: Summary, network: str) -> Table:
    """What each alpha catches after a patch, for the best scorers and the best combination."""
    table = _table(
        f"{network}, patched: per cent flagged of known/near/far, by alpha; knots from the domain",
        "scorer",
        [f"{alpha:g}" for alpha in ALPHAS],
    )
    lines = {line.name: line for line in summary.lines if _is_patched(line, network, "uploads")}
    joined = [line for line in summary.combinations if _is_patched(line, network, "known")]
    best = [lines[name] for name in _scorers(summary, network) if name in lines][:_SHOWN]
    for line in (*best, *joined[:1]):
        cells = ("/".join(f"{100 * share:.0f}" for share in shares) for shares in line.caught)
        table.add_row(line.name.replace("+", " + "), *cells)
    return table


def _is_patched(line: Line, network: str, values: str) -> bool:
    return (line.network, line.state, line.values) == (network, "patched", values)


def _windows(summary: Summary) -> Table:
    """Shift seen by windows of 64 frames of known classes: style, and the best mean scores."""
    network = summary.lines[0].network
    base = [row for row in summary.rows if row.network == network and row.state == "base"]
    means: dict[str, float] = {}
    for name in dict.fromkeys(row.scorer for row in base):
        means[name] = float(np.mean([r.window for r in base if r.scorer == name and r.domain != CLEAN]))
    best = sorted(means, key=lambda name: -means[name])[:3]
    table = _table(
        "windows of 64 known frames flagged at nominal 5 %, per cent; by mean scores; base model",
        "domain",
        ("style", "style of a frame", *(name.replace("-", "-\n") for name in best)),
    )
    for found in summary.style:
        place = found.domain, found.severity
        scores = [
            next(row.window for row in base if row.scorer == name and (row.domain, row.severity) == place)
            for name in best
        ]
        cells = (f"{100 * share:.0f}" for share in (found.window, found.frame, *scores))
        table.add_row(words(f"{found.domain} {found.severity or ''}"), *cells)
    return table


def _costs(summary: Summary) -> Table:
    table = _table(
        "cost on this machine, one thread", "scorer", ("us alone", "us of 256", "ships", "reference")
    )
    for cost in summary.costs:
        same = "" if cost.difference is None else f"{cost.against}: {cost.difference:.1e}"
        table.add_row(
            f"{cost.scorer} ({cost.network})",
            f"{1e6 * cost.single_s:.1f}",
            f"{1e6 * cost.batch_s:.2f}",
            bytes_text(cost.shipped_bytes),
            same,
        )
    return table


def _plot(summary: Summary, path: Path) -> None:
    """Left: full-spectrum areas by state. Right: realised false positives by origin of the knots."""
    network = summary.lines[0].network
    names = _scorers(summary, network)
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.2), layout="constrained")
    found = {(line.name, line.state, line.values): line for line in summary.lines if line.network == network}
    for number, (state, values) in enumerate([*((s, "scores") for s in STATES), ("patched", "uploads")]):
        lines = [found.get((name, state, values)) for name in names]
        places = np.arange(len(names)) + 0.2 * (number - 1.5)
        label = _NAMES[state] + (", own knots" if values != "scores" else "")
        left.barh(
            places,
            [100 * line.auroc if line else 0 for line in lines],
            xerr=[100 * line.spread if line else 0 for line in lines],
            height=0.18,
            color=_COLOURS[state] if values == "scores" else "#0067a5",
            label=label,
        )
    left.set_yticks(np.arange(len(names)), names)
    left.invert_yaxis()
    left.set_xlim(40, 100)
    left.axvline(50, color=GRID, linewidth=1.2)
    left.set_xlabel("full-spectrum AUROC x 100: unknown against known, all domains (bars: spread over seeds)")
    left.legend(loc="lower right", frameon=False)
    shifted = shifted_rows(summary, network)
    there = [name for name in names if any(r.scorer == name and r.state == "patched" for r in shifted)]
    for number, kind in enumerate(KNOTS):
        places = np.arange(len(there)) + 0.2 * (number - 1.5)
        rates = [100 * false_rate(shifted, name, "patched", kind) for name in there]
        right.barh(places, rates, height=0.18, label=f"knots: {kind}")
    right.axvline(100 * NOMINAL, color="#1f2430", linewidth=1.0, linestyle=":")
    right.set_yticks(np.arange(len(there)), there)
    right.invert_yaxis()
    right.set_xlabel("shifted known frames flagged under a patch, %; dotted: nominal")
    right.legend(loc="lower right", frameon=False)
    for panel in (left, right):
        panel.grid(axis="x", color=GRID, linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, facecolor="white")
    plt.close(figure)
