"""The report as tables for a terminal of 80 columns and more (rich). Reading it is in `io.report`."""

from __future__ import annotations

from datetime import datetime

from rich import box
from rich.console import Console
from rich.table import Table

from edgeadapt.patch import Evidence
from edgeadapt_cloud.core.jobs.job import AuditEstimate
from edgeadapt_cloud.io.report import Report


def render(report: Report, console: Console | None = None) -> None:
    """Print the report."""
    out = console or Console()
    state = "[green]running[/]" if report.running else "[yellow]not running[/]"
    waiting = f", {report.samples_waiting} of them not yet in a cohort" if report.samples_waiting else ""
    out.print(f"service {state}; {report.samples} samples{waiting}")
    if report.questions or report.questions_coming:
        coming = f", {report.questions_coming} more on their way" if report.questions_coming else ""
        out.print(f"unknown things that wait for a person: {report.questions}{coming}")
        out.print("`edgeadapt cloud unknown list` shows them")
    for table in (_cohorts(report), _audit(report), _devices(report), _jobs(report), _patches(report)):
        if table.row_count:
            out.print(table)
    _evidence(report, out)
    for row in report.devices:
        if row.trouble:
            out.print(f"[yellow]{row.trouble}[/]")
    if report.quarantine:
        counts = ", ".join(f"{reason} {count}" for reason, count in report.quarantine.items())
        out.print(f"quarantined messages: {counts}")


def _cohorts(report: Report) -> Table:
    table = _table("Cohorts")
    for name in ("cohort", "devices now", "samples", "serial", "stable", "under way"):
        table.add_column(name, no_wrap=name in ("cohort", "made", "last heard"))
    for row in report.cohorts:
        table.add_row(
            row.cohort,
            ", ".join(row.devices) or "-",
            str(row.samples),
            str(row.serial),
            _serial(row.stable),
            _serial(row.under_way),
        )
    return table


def _audit(report: Report) -> Table:
    """How right the devices are; of a share, its 95 % interval, which allows for frames without a picture."""
    table = _table("Audit: frames drawn at random, in which the device says what the teacher says")
    for name in ("cohort", "model", "right", "strange", "frames", "no picture"):
        table.add_column(name, no_wrap=name not in ("frames", "no picture"))
    for row in report.cohorts:
        if not row.audit:
            table.add_row(row.cohort, "-", "no estimate yet", "-", "-", "-")
        for found in row.audit:
            model = f"serial {found.serial}" if found.serial else found.generation[:12]
            counts = str(found.strange.samples), str(found.blind)
            table.add_row(row.cohort, model, _share(found.right), _share(found.strange), *counts)
    return table


def _share(found: AuditEstimate) -> str:
    if not found.samples:
        return "no estimate yet"
    return f"{100 * found.value:.0f} % ({100 * found.low:.0f} to {100 * found.high:.0f})"


def _devices(report: Report) -> Table:
    table = _table("Devices")
    for name in ("device", "online", "cohort", "segment", "generation", "samples", "last heard"):
        table.add_column(name, no_wrap=name in ("cohort", "made", "last heard"))
    for row in report.devices:
        table.add_row(
            row.device,
            "yes" if row.online else "no",
            row.cohort or "-",
            str(row.segment) if row.segment >= 0 else "-",
            row.generation[:24] or "-",
            str(row.samples),
            _clock(row.seen_s),
        )
    return table


def _jobs(report: Report) -> Table:
    table = _table("Jobs")
    for name in ("job", "cohort", "strategy", "samples", "seconds", "result"):
        table.add_column(name, no_wrap=name in ("cohort", "made", "last heard"))
    for row in report.jobs:
        refused = ", ".join(entry.check for entry in row.evidence if not entry.passed)
        why = refused or (row.note if row.state in ("failed", "abandoned") else "")
        result = f"{row.state} as serial {row.serial}" if row.serial else row.state
        table.add_row(
            str(row.job),
            row.cohort,
            row.strategy,
            str(row.samples),
            f"{row.seconds:.1f}",
            f"{result}: {why}" if why else result,
        )
    return table


def _evidence(report: Report, out: Console) -> None:
    """What the gate saw in the newest judged job of every cohort, one check a line."""
    for row in {row.cohort: row for row in report.jobs if row.evidence}.values():
        out.print(f"[bold]Gate, {row.cohort}, job {row.job}[/]")
        for entry in row.evidence:
            out.print(f"  {_check(entry)}", highlight=False)


def _patches(report: Report) -> Table:
    table = _table("Patches")
    for name in ("cohort", "serial", "stage", "made", "bytes", "devices", "note"):
        table.add_column(name, no_wrap=name in ("cohort", "made", "last heard"))
    for row in report.patches:
        devices = ", ".join(f"{count} {state}" for state, count in sorted(row.outcomes.items()))
        table.add_row(
            row.cohort,
            str(row.serial),
            row.stage,
            _clock(row.created_s),
            str(row.size_bytes),
            devices or "-",
            row.note or "-",
        )
    return table


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def _check(evidence: Evidence) -> str:
    mark = "[green]ok[/]" if evidence.passed else "[red]no[/]"
    detail = f" ({evidence.detail})" if evidence.detail else ""
    return f"{mark} {evidence.check} {evidence.value:.4g} against {evidence.bound:.4g}{detail}"


def _serial(serial: int) -> str:
    return str(serial) if serial else "-"


def _clock(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s).strftime("%m-%d %H:%M:%S") if wall_s else "-"
