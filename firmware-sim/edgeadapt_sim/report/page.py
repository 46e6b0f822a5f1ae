"""The page around the charts: `render(run)` returns `report.html`, one file that needs no network."""

from __future__ import annotations

from html import escape
from importlib.resources import files

import plotly.graph_objects as go

from edgeadapt_sim import accuracy
from edgeadapt_sim.records import LABELS, METHODS, DeviceRecord, JobRecord, RunRecord
from edgeadapt_sim.report import charts
from edgeadapt_sim.report.style import COLOURS, bytes_text, words
from edgeadapt_sim.report.summary import Summary, headline, summarise


def render(run: RunRecord) -> str:
    """The whole report as HTML with plotly.js inside (about 5 MB)."""
    summary = summarise(run)
    domains = accuracy.domains_of(run.devices)
    parts = [
        _tiles(run, summary),
        _section("Accuracy over time", _TIME_NOTE),
        *(_device(device, domains, first=number == 0) for number, device in enumerate(run.devices)),
        _section("Accuracy per domain", "All frames of a domain, over all devices, settling-in included."),
        _chart(charts.accuracy_per_domain(run)),
        _section("Bytes", _BYTES_NOTE),
        _chart(charts.traffic(run)),
        _section("Devices", ""),
        _device_table(run),
        _section("Adaptation jobs and their gate", _GATE_NOTE),
        _job_table(run.jobs),
        _section("How it was measured", ""),
        _METHOD,
        _facts(run),
    ]
    text = files("edgeadapt_sim.report").joinpath("page.html").read_text(encoding="utf-8")
    return text.replace("{{headline}}", escape(headline(summary))).replace("{{body}}", "\n".join(parts))


_TIME_NOTE = (
    f"Share of right predictions among the last {accuracy.CHART_WINDOW} frames. Shaded bands are the true "
    "domains; a domain has the same shade on every device. Markers show what became of a patch there."
)
_BYTES_NOTE = (
    "What crossed each device's MQTT link, topics and payloads, retransmissions included, beside what it "
    "would cost to send every frame losslessly."
)
_GATE_NOTE = (
    "Every job ends at the gate. A patch is signed and published only if all checks pass; it then goes to "
    "one canary device first. A refused patch never leaves the cloud."
)
_METHOD = """<ul>
<li><b>Same frames, same order.</b> All three methods score the very same frames. The frozen model and the
model that only re-estimates its own normalisation statistics run in the evaluator, with the same device
code, never connected to a cloud.</li>
<li><b>The full loop</b> is separate processes: the device daemons (ONNX Runtime, no torch), the cloud
service and an MQTT 5 broker on loopback. Every byte counted crossed that broker.</li>
<li><b>Labels</b> are read by the evaluator only, from a file that neither a device nor the cloud opens.
The cloud learns from its own teacher's predictions on uploaded samples.</li>
<li><b>Predictions count as made</b>: a frame is scored by whatever generation ran at that moment,
settling-in after a change of domain included.</li>
</ul>"""


def _tiles(run: RunRecord, summary: Summary) -> str:
    tiles = [
        (LABELS[method], f"{100 * summary.accuracy[method]:.1f} %", COLOURS[method]) for method in METHODS
    ]
    tiles += [
        ("frames uploaded", f"{100 * summary.uploaded_share:.1f} %", ""),
        ("sent per device", bytes_text(summary.bytes_up / len(run.devices)), ""),
        ("received per device", bytes_text(summary.bytes_down / len(run.devices)), ""),
        ("patches published", str(summary.published), ""),
        ("refused by the gate", str(summary.refused), ""),
    ]
    cells = "".join(
        f'<div class="tile"><div class="value"{_colour(colour)}>{escape(value)}</div>'
        f'<div class="name">{escape(name)}</div></div>'
        for name, value, colour in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def _colour(colour: str) -> str:
    return f' style="color:{colour}"' if colour else ""


def _section(title: str, note: str) -> str:
    return f"<h2>{escape(title)}</h2>" + (f"<p>{escape(note)}</p>" if note else "")


def _device(device: DeviceRecord, domains: tuple[str, ...], *, first: bool) -> str:
    title = f"<h3>{escape(device.name)}</h3>"
    return title + _chart(charts.accuracy_over_time(device, domains), inline_script=first)


def _chart(figure: go.Figure, *, inline_script: bool = False) -> str:
    text: str = figure.to_html(
        full_html=False,
        include_plotlyjs=inline_script,
        config={"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["lasso2d", "select2d"]},
    )
    return f'<div class="chart">{text}</div>'


def _device_table(run: RunRecord) -> str:
    head = ["device", "frames", *(f"{LABELS[method]}, %" for method in METHODS)]
    head += ["flagged", "uploaded", "sent", "received", "domains in order"]
    rows = []
    for device in run.devices:
        traffic = device.traffic
        cells = [device.name, f"{device.frames:,}"]
        cells += [f"{100 * accuracy.mean(device, method):.1f}" for method in METHODS]
        cells += [f"{traffic.flagged:,}", f"{traffic.uploaded:,}"]
        cells += [bytes_text(traffic.bytes_up), bytes_text(traffic.bytes_down)]
        cells.append(", ".join(words(stretch.domain) for stretch in device.stretches))
        rows.append(cells)
    return _table(head, [[escape(cell) for cell in row] for row in rows])


def _job_table(jobs: tuple[JobRecord, ...]) -> str:
    if not jobs:
        return "<p>No cohort gathered enough samples for a job.</p>"
    head = ["cohort", "strategy", "samples", "seconds", "gate", "evidence", "patch", "rollout"]
    rows = []
    for job in jobs:
        verdict = '<b class="good">published</b>' if job.passed else '<b class="bad">refused</b>'
        patch = f"#{job.serial}, {bytes_text(job.size_bytes)}" if job.passed else ""
        rows.append(
            [
                escape(job.cohort),
                escape(job.strategy),
                f"{job.samples:,}",
                f"{job.seconds:.1f}",
                verdict,
                _evidence(job),
                patch,
                escape(job.rollout),
            ]
        )
    return _table(head, rows)


def _evidence(job: JobRecord) -> str:
    lines = [
        f'<span class="{"good" if check.passed else "bad"}">{"✓" if check.passed else "✗"}</span> '
        f'<span title="{escape(check.detail)}">{escape(check.name)}</span> '
        f"{check.value:.4g} <small>(bound {check.bound:.4g})</small>"
        for check in job.checks
    ]
    if job.note:
        lines.append(f"<small>{escape(job.note)}</small>")
    return "<br>".join(lines)


def _facts(run: RunRecord) -> str:
    rows = [[escape(name), escape(value)] for name, value in run.facts]
    rows += [["started", escape(run.started_at)], ["duration", f"{run.duration_s:.0f} s"]]
    return _table(["", ""], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th>{name}</th>" for name in head) if any(head) else ""
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
