"""What the study leaves: tables and claims in the terminal, `outbox.json`, `.md` and `.png` in a folder."""

from __future__ import annotations

import io
import statistics
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no display: before pyplot is imported

import matplotlib.pyplot as plt
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from edgeadapt_sim import provenance
from edgeadapt_sim.bench.outbox.plan import Chaos, OutboxPlan, PowerCut, Speed
from edgeadapt_sim.bench.outbox.study import OutboxStudy
from edgeadapt_sim.report.style import COLOURS, GRID

_PACKAGES = ("numpy", "msgspec", "paho-mqtt")


class Claim(msgspec.Struct, frozen=True):
    """A sentence, whether it holds, and its figures."""

    text: str
    holds: bool
    figures: str


class Document(msgspec.Struct, frozen=True):
    """`outbox.json`; `loads` are the machine's load averages over a minute, before and after."""

    date: str
    versions: dict[str, str]
    machine: str
    arguments: OutboxPlan
    seconds: float
    loads: tuple[float, float]
    study: OutboxStudy
    claims: tuple[Claim, ...]


def claims(study: OutboxStudy) -> tuple[Claim, ...]:
    """What the figures say."""
    found = []
    if study.speeds:
        lost = [speed for speed in study.speeds if speed.recovered != study.speeds[0].recovered]
        slowest = max(speed.recovery_s for speed in study.speeds)
        found.append(
            Claim("after kill -9 every stored message is known", not lost, f"{1000 * slowest:.0f} ms at most")
        )
    for power in study.power:
        figures = f"{power.cuts} cuts, {power.torn} with a torn WAL; {power.most_lost} messages lost at most"
        whole = power.opened == power.cuts and not (power.lost_durable or power.reused)
        found.append(Claim(f"{power.durability}: a power cut loses nothing that was durable", whole, figures))
    if study.chaos is not None:
        chaos = study.chaos
        figures = (
            f"{sum(chaos.kills.values())} kills, {chaos.committed} committed, {chaos.lost} lost, "
            f"{chaos.twice} twice, {chaos.repeats} repeats recognised; of {chaos.held} held samples "
            f"{chaos.wanted} were wanted and came, {chaos.declined} were declined and deleted"
        )
        found.append(Claim("chaos loses nothing and keeps nothing twice", chaos.holds, figures))
    return tuple(found)


def write(
    study: OutboxStudy, plan: OutboxPlan, seconds: float, loads: tuple[float, float], out: Path
) -> None:
    """Write the files into `out`, made if absent."""
    out.mkdir(parents=True, exist_ok=True)
    document = Document(
        date=provenance.now(),
        versions=provenance.versions(_PACKAGES),
        machine=provenance.machine(),
        arguments=plan,
        seconds=seconds,
        loads=loads,
        study=study,
        claims=claims(study),
    )
    (out / "outbox.json").write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    console = Console(file=io.StringIO(), record=True, width=110)
    show(study, console)
    command = f"edgeadapt bench outbox --chaos {plan.kills} --rounds {plan.rounds} --cuts {plan.cuts}"
    load = f"load {loads[0]:.1f} before and {loads[1]:.1f} after"
    heading = f"# Outbox\n\n`{command} --seed {plan.seed}`, {document.date}, {document.machine}, {load}.\n"
    text = "\n".join(line.rstrip() for line in console.export_text().splitlines()).strip()
    (out / "outbox.md").write_text(f"{heading}\n```text\n{text}\n```\n")
    _plot(study, out / "outbox.png")


def show(study: OutboxStudy, console: Console) -> None:
    """The tables, and the claims."""
    if study.speeds:
        console.print(_speeds(study.speeds))
    if study.power:
        console.print(_power(study.power))
    if study.chaos is not None:
        console.print(_chaos(study.chaos))
    for claim in claims(study):
        word = "holds" if claim.holds else "MISSED"
        console.print(f"{word}: {claim.text} ({claim.figures})", highlight=False, soft_wrap=True)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column(headings[0])
    for heading in headings[1:]:
        table.add_column(heading, justify="right")
    return table


def _kinds(speeds: tuple[Speed, ...]) -> dict[str, list[Speed]]:
    kinds: dict[str, list[Speed]] = {}
    for speed in speeds:
        name = f"{speed.durability}, {'deleted rows overwritten' if speed.secure_delete else 'plain deletes'}"
        kinds.setdefault(name, []).append(speed)
    return kinds


def _speeds(speeds: tuple[Speed, ...]) -> Table:
    title = "Speed (median of the rounds)"
    table = _table(title, "durability", "inserts/s", "acks/s", "disk B/message", "recovery ms")
    for name, rounds in _kinds(speeds).items():
        table.add_row(
            name,
            f"{statistics.median(speed.inserts_per_s for speed in rounds):,.0f}",
            f"{statistics.median(speed.acks_per_s for speed in rounds):,.0f}",
            f"{statistics.median(speed.disk_bytes_per_message for speed in rounds):,.0f}",
            f"{1000 * statistics.median(speed.recovery_s for speed in rounds):.0f}",
        )
    return table


def _power(found: tuple[PowerCut, ...]) -> Table:
    headings = ("durability", "cuts", "torn WAL", "opened", "durable lost", "sequence reused", "most lost")
    table = _table("Power cuts (played)", *headings)
    for power in found:
        figures = (power.cuts, power.torn, power.opened, power.lost_durable, power.reused, power.most_lost)
        table.add_row(power.durability, *map(str, figures))
    return table


def _chaos(chaos: Chaos) -> Table:
    table = _table(f"Chaos ({chaos.broker}, {chaos.seconds:.0f} s)", "what", "count")
    rows = {f"{name} killed": count for name, count in sorted(chaos.kills.items())}
    rows |= {f"link: {name}": count for name, count in sorted(chaos.links.items())}
    rows |= {
        "messages committed on the device": chaos.committed,
        "handed to the MQTT client": chaos.published,
        "reached the server": chaos.arrived,
        "kept by the server": chaos.kept,
        "repeats that the server recognised": chaos.repeats,
        "samples held until wanted": chaos.held,
        "  wanted, and there": chaos.wanted,
        "  declined, and deleted": chaos.declined,
        "  sent without an answer": chaos.unasked,
        "  declined, and alike to nothing there": chaos.unseen,
        "lost": chaos.lost,
        "twice after deduplication": chaos.twice,
        "left in the outbox": chaos.left,
    }
    for name, count in rows.items():
        table.add_row(name, str(count))
    table.add_row("drained in", f"{chaos.drained_s:.1f} s")
    return table


def _plot(study: OutboxStudy, path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
    kinds = _kinds(study.speeds)
    for offset, (what, colour) in enumerate((("inserts", COLOURS["loop"]), ("acks", COLOURS["statistics"]))):
        heights = [
            statistics.median(s.inserts_per_s if what == "inserts" else s.acks_per_s for s in rounds)
            for rounds in kinds.values()
        ]
        left.bar([n + 0.38 * offset for n in range(len(kinds))], heights, 0.36, color=colour, label=what)
    left.set_xticks([n + 0.19 for n in range(len(kinds))], [name.replace(", ", "\n") for name in kinds])
    left.set_ylabel("messages per second")
    if kinds:
        left.legend(frameon=False)
    if study.chaos is not None:
        names = ("committed", "published", "arrived", "kept", "declined", "lost", "twice")
        counts = [int(getattr(study.chaos, name)) for name in names]
        bars = right.barh(names[::-1], counts[::-1], color=COLOURS["loop"])
        right.bar_label(bars, padding=3)
        right.set_title(f"{sum(study.chaos.kills.values())} kills", fontsize=10)
    for panel in (left, right):
        panel.grid(color=GRID, linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, facecolor="white")
    plt.close(figure)
