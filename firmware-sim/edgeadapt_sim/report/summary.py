"""The run in a handful of figures: `summary.json`, the last words in the terminal, the exit code."""

from __future__ import annotations

import msgspec

from edgeadapt_sim import accuracy
from edgeadapt_sim.records import LABELS, METHODS, Method, RunRecord


class DomainFigures(msgspec.Struct, frozen=True):
    """Accuracy (0..1) per method over all frames of one domain, all devices."""

    domain: str
    frames: int
    accuracy: dict[str, float]


class DeviceFigures(msgspec.Struct, frozen=True):
    """One device: accuracy (0..1) per method, and its traffic in frames and bytes."""

    name: str
    frames: int
    accuracy: dict[str, float]
    flagged: int
    uploaded: int
    bytes_up: int
    bytes_down: int


class Summary(msgspec.Struct, frozen=True):
    """All of it. `helped`: the loop is at least own statistics, and better than the frozen model."""

    helped: bool
    accuracy: dict[Method, float]
    uploaded_share: float
    bytes_up: int
    bytes_down: int
    published: int
    refused: int
    devices: tuple[DeviceFigures, ...]
    domains: tuple[DomainFigures, ...]
    facts: dict[str, str]
    started_at: str
    duration_s: float


def summarise(run: RunRecord) -> Summary:
    """Compute the figures of a run."""
    mean = {method: accuracy.fleet_mean(run.devices, method) for method in METHODS}
    frames = sum(device.frames for device in run.devices)
    return Summary(
        helped=mean["loop"] >= mean["statistics"] and mean["loop"] > mean["frozen"],
        accuracy=mean,
        uploaded_share=sum(device.traffic.uploaded for device in run.devices) / frames,
        bytes_up=sum(device.traffic.bytes_up for device in run.devices),
        bytes_down=sum(device.traffic.bytes_down for device in run.devices),
        published=sum(job.passed for job in run.jobs),
        refused=sum(not job.passed for job in run.jobs),
        devices=tuple(
            DeviceFigures(
                device.name,
                device.frames,
                {method: accuracy.mean(device, method) for method in METHODS},
                device.traffic.flagged,
                device.traffic.uploaded,
                device.traffic.bytes_up,
                device.traffic.bytes_down,
            )
            for device in run.devices
        ),
        domains=tuple(
            DomainFigures(row.domain, row.frames, dict(zip(METHODS, row.values, strict=True)))
            for row in accuracy.by_domain(run.devices)
        ),
        facts=dict(run.facts),
        started_at=run.started_at,
        duration_s=run.duration_s,
    )


def headline(summary: Summary) -> str:
    """One sentence that says whether the loop helped, with the figures."""
    figures = {method: f"{100 * summary.accuracy[method]:.1f} %" for method in METHODS}
    verb = "The loop helped" if summary.helped else "The loop did not help"
    return (
        f"{verb}: {figures['loop']} of all frames right with the {LABELS['loop']}, "
        f"{figures['statistics']} with {LABELS['statistics']}, "
        f"{figures['frozen']} with the {LABELS['frozen']}; "
        f"{100 * summary.uploaded_share:.1f} % of the frames were uploaded."
    )


def encode(summary: Summary) -> bytes:
    """As indented JSON."""
    return msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n"
