"""After a run: its files (report.html, report.png, summary.json) and the last words in the terminal."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from edgeadapt_sim.records import METHODS, RunRecord
from edgeadapt_sim.report import page, picture
from edgeadapt_sim.report.style import bytes_text, words
from edgeadapt_sim.report.summary import Summary, encode, headline, summarise


def write_files(run: RunRecord, out: Path) -> Summary:
    """Write the three files into `out`; returns the figures."""
    summary = summarise(run)
    (out / "summary.json").write_bytes(encode(summary))
    (out / "report.html").write_text(page.render(run), encoding="utf-8")
    picture.draw(run, out / "report.png")
    return summary


def last_words(summary: Summary, out: Path, console: Console) -> None:
    """Tables of accuracy per device and per domain, bytes, patches, and where the report is."""
    table = _table("accuracy, %", "device")
    for name in ("frames", "uploaded", "sent", "received"):
        table.add_column(name, justify="right")
    for device in summary.devices:
        table.add_row(
            device.name,
            *(f"{100 * device.accuracy[method]:.1f}" for method in METHODS),
            f"{device.frames:,}",
            f"{device.uploaded:,}",
            bytes_text(device.bytes_up),
            bytes_text(device.bytes_down),
        )
    console.print(table)
    table = _table("accuracy, %, all devices", "domain")
    table.add_column("frames", justify="right")
    for domain in summary.domains:
        scores = (f"{100 * domain.accuracy[method]:.1f}" for method in METHODS)
        table.add_row(words(domain.domain), *scores, f"{domain.frames:,}")
    console.print(table)
    console.print(f"patches: {summary.published} published, {summary.refused} refused by the gate")
    console.print(headline(summary), highlight=False)
    console.print(f"report: {out / 'report.html'}", soft_wrap=True, highlight=False)


def _table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    for name in ("frozen", "own stats", "full loop"):
        table.add_column(name, justify="right")
    return table
