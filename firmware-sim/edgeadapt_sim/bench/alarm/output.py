"""What the study leaves: tables and claims in the terminal, `alarm.json` and `alarm.png` in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no display: before pyplot is imported

import matplotlib.pyplot as plt
import msgspec
import numpy as np
from matplotlib.axes import Axes
from rich import box
from rich.console import Console
from rich.table import Table

from edgeadapt_sim import provenance
from edgeadapt_sim.bench.alarm.plan import LEVELS, AlarmPlan, Delay, DriftRow, Study
from edgeadapt_sim.report.style import GRID, words

_PACKAGES = ("numpy", "onnxruntime", "torch")
_COLOURS = {1: "#9ecae1", 3: "#4292c6", 5: "#084594"}
#: A corruption that costs this much has to be seen ...
COSTS = 0.05
#: ... in this share of the streams.
SEEN = 0.8


class Claim(msgspec.Struct, frozen=True):
    """A sentence, whether it holds, and its figures."""

    text: str
    holds: bool
    figures: str


class Document(msgspec.Struct, frozen=True):
    """`alarm.json`: accuracies and shares are 0..1, delays in frames."""

    date: str
    versions: dict[str, str]
    machine: str
    arguments: dict[str, object]
    seconds: float
    levels: tuple[float, ...]
    claims: tuple[Claim, ...]
    study: Study


def claims(study: Study) -> tuple[Claim, ...]:
    """What the figures say."""
    streams = sum(row.streams for row in study.false_alarms)
    found = []
    for number, level in enumerate(LEVELS):
        worst = max(study.false_alarms, key=lambda row: row.alarms[number] / row.streams)
        alarms = sum(row.alarms[number] for row in study.false_alarms)
        found.append(
            Claim(
                f"at the level {level:g}, no more of the clean streams sound the alarm in any order",
                all(row.alarms[number] <= level * row.streams for row in study.false_alarms),
                f"{alarms} of {streams}; at most {worst.alarms[number]} of {worst.streams} "
                f"({worst.network}, {worst.order})",
            )
        )
    return (*found, _seen_claim(study, "alarm"), _seen_claim(study, "distance"))


def _seen_claim(study: Study, rule: str) -> Claim:
    costly = [row for row in study.drifts if row.lost >= COSTS]
    missed = [row for row in costly if _delay(row, rule).seen < SEEN]
    names = ", ".join(f"{row.network.split('/')[0]} {words(row.corruption)} {row.severity}" for row in missed)
    return Claim(
        f"the {rule}{' rule' if rule == 'distance' else ''} sees every corruption that costs "
        f"{100 * COSTS:g} points of accuracy",
        not missed,
        f"{len(costly) - len(missed)} of {len(costly)}" + (f"; not {names}" if missed else ""),
    )


def _delay(row: DriftRow, rule: str) -> Delay:
    return row.alarm if rule == "alarm" else row.distance


def write(study: Study, plan: AlarmPlan, seconds: float, out: Path) -> None:
    """Write both files into `out`, made if absent."""
    out.mkdir(parents=True, exist_ok=True)
    document = Document(
        date=provenance.now(),
        versions=provenance.versions(_PACKAGES),
        machine=provenance.machine(),
        arguments=msgspec.to_builtins(plan),
        seconds=round(seconds, 1),
        levels=LEVELS,
        claims=claims(study),
        study=study,
    )
    text = msgspec.json.encode(document).replace(b'},{"network"', b'},\n{"network"')
    (out / "alarm.json").write_bytes(text + b"\n")
    _plot(study, out / "alarm.png")


def show(study: Study, console: Console) -> None:
    """False alarms, then what is seen of each corruption, then the claims."""
    console.print(_false_table(study))
    for source in study.sources:
        console.print(_drift_table(study, source.network))
    console.print(
        "median delays in frames of the new domain; a share where not all streams saw it, a dash where none "
        "did. probed: every frame is probed; device: default settings, one in a hundred is, once settled",
        highlight=False,
        soft_wrap=True,
    )
    for claim in claims(study):
        word = "holds" if claim.holds else "MISSED"
        console.print(f"{word}: {claim.text} ({claim.figures})", highlight=False, soft_wrap=True)


def _table(title: str, first: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _false_table(study: Study) -> Table:
    levels = [f"alarm at {level:g}" for level in LEVELS]
    table = _table("Clean streams", "network, order", ["streams", *levels, "distance", "per 10,000 frames"])
    for row in study.false_alarms:
        cells = (row.streams, *row.alarms, row.distance, row.segments)
        table.add_row(f"{row.network} {row.order}", *map(str, cells))
    return table


def _drift_table(study: Study, network: str) -> Table:
    (source,) = (source for source in study.sources if source.network == network)
    title = f"{network}: clean accuracy {100 * source.accuracy:.1f} %, tolerance {source.tolerance:.3f}"
    table = _table(title, "drift", ["lost", "apart", "alarm, probed", "distance, probed", "device"])
    for row in (row for row in study.drifts if row.network == network):
        table.add_row(
            f"{words(row.corruption)} {row.severity}",
            f"{100 * row.lost:.1f}",
            f"{row.apart:.2f}",
            _cell(row.alarm),
            _cell(row.distance),
            "-" if row.device is None else str(row.device),
        )
    return table


def _cell(delay: Delay) -> str:
    if delay.frames is None:
        return "-"
    share = "" if delay.seen == 1.0 else f" ({100 * delay.seen:.0f} %)"
    return f"{delay.frames:.0f}{share}"


def _plot(study: Study, path: Path) -> None:
    """Accuracy lost against delay, for both rules; what was never seen stands at the right edge."""
    figure, panels = plt.subplots(
        len(study.sources), 2, figsize=(11, 3.8 * len(study.sources)), layout="constrained", squeeze=False
    )
    edge = 1.6 * max([row.alarm.frames or 1.0 for row in study.drifts] + [500.0])
    for line, source in zip(panels, study.sources, strict=True):
        for panel, rule in zip(line, ("alarm", "distance"), strict=True):
            rows = [row for row in study.drifts if row.network == source.network]
            for severity in sorted({row.severity for row in rows}):
                mine = [row for row in rows if row.severity == severity]
                delays = [_delay(row, rule) for row in mine]
                x = [d.frames if d.frames is not None and d.seen >= SEEN else edge for d in delays]
                y = [100 * row.lost for row in mine]
                colour = _COLOURS.get(severity, "#084594")
                panel.scatter(x, y, s=30, color=colour, label=f"severity {severity}", alpha=0.9)
            _dress(panel, f"{source.network}: {rule}", edge)
    panels[0][0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110, facecolor="white")
    plt.close(figure)


def _dress(panel: Axes, title: str, edge: float) -> None:
    panel.set_title(title, fontsize=10, loc="left")
    panel.set_xscale("log")
    panel.axvline(edge / 1.25, color=GRID, linewidth=1.0)
    panel.axhline(100 * COSTS, color=GRID, linewidth=1.0)
    ticks = [float(t) for t in np.array([5, 10, 20, 50, 100, 200]) if t < edge / 1.3]
    panel.set_xticks([*ticks, edge], [*(f"{t:g}" for t in ticks), "not seen"])
    panel.minorticks_off()
    panel.set_xlim(4, edge * 1.25)
    panel.set_xlabel("probed frames until it is seen, median")
    panel.set_ylabel("accuracy lost, points")
    panel.spines[["top", "right"]].set_visible(False)
