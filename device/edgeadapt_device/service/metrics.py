"""A device's status in the Prometheus text format (version 0.0.4), written by hand: it is forty lines.

Counters start again with each process, as Prometheus expects. Names and words are for whoever writes the
dashboards; a test holds that every one of them is in the manual.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from edgeadapt_device.service.health import Health
from edgeadapt_device.status import DeviceStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "edgeadapt_device_"


class Metric(NamedTuple):
    """One sample of a family; those of one family follow one another."""

    name: str
    kind: str
    help: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


def families(status: DeviceStatus, health: Health) -> tuple[Metric, ...]:
    """All of them, in the order in which they are shown."""
    return (
        Metric("up", "gauge", "1 while frames are scored as they should be.", health.state != "failed"),
        Metric("healthy", "gauge", "1 while nothing at all is wrong.", health.state == "ok"),
        *_counters(status),
        *_verdicts(status),
        *_ledger(status),
        *_gauges(status),
        Metric(
            "generation_info",
            "gauge",
            "What scores the frames: always 1, the labels say it.",
            1,
            (
                ("bundle", status.bundle[:12]),
                ("generation", status.generation),
                ("patch", status.patch),
                ("runtime", status.runtime),
                ("provider", status.provider),
                ("version", status.version),
            ),
        ),
    )


def _counters(status: DeviceStatus) -> tuple[Metric, ...]:
    rows = (
        ("frames_total", "Frames scored.", status.frames),
        ("frames_skipped_total", "Frames of the source that could not be used.", status.skipped),
        ("frames_dropped_total", "Frames of the source that were overtaken by newer ones.", status.dropped),
        ("flagged_total", "Frames chosen for upload.", status.flagged),
        ("questions_total", "Questions asked about kinds of strange things.", status.questions),
        ("uploaded_total", "Samples that the server has acknowledged.", status.uploaded),
        ("sent_bytes_total", "Topics and payloads that went out.", status.bytes_up),
        ("received_bytes_total", "Bytes that came down, protocol overhead included.", status.bytes_down),
        ("builds_total", "Sessions that were asked for.", status.builds),
        ("swaps_total", "Sessions that took over from another one.", status.swaps),
        ("statistics_updates_total", "Re-estimations of the norm statistics.", status.updates),
        ("reverts_total", "Patches that were taken back.", status.reverts),
        ("quarantined_total", "Messages that were not ours.", status.quarantined),
        ("storage_errors_total", "Writes that failed.", status.storage_errors),
    )
    return tuple(Metric(name, "counter", text, value) for name, text, value in rows)


def _ledger(status: DeviceStatus) -> tuple[Metric, ...]:
    text = "Bytes on the link by purpose, protocol overhead included."
    return tuple(
        Metric("link_bytes_total", "counter", text, count, (("purpose", line.purpose), ("direction", way)))
        for line in status.ledger
        for way, count in (("up", line.bytes_up), ("down", line.bytes_down))
    )


def _verdicts(status: DeviceStatus) -> tuple[Metric, ...]:
    counts = msgspec.structs.asdict(status.verdicts)
    return tuple(
        Metric("verdicts_total", "counter", "Frames by verdict.", count, (("verdict", name),))
        for name, count in counts.items()
    )


def _gauges(status: DeviceStatus) -> tuple[Metric, ...]:
    rows = (
        ("frames_per_second", "Frames scored over the last moments.", status.frames_per_second),
        ("latency_seconds", "What the model takes for a frame, smoothed.", status.latency_ms / 1000.0),
        ("frame_age_seconds", "Time since the last frame was scored.", status.frame_age_s),
        ("drift", "Distance of the domain from the source, in source deviations.", status.drift),
        ("drift_p_value", "Anytime p-value of the source's domain.", status.drift_p_value),
        ("segment", "Number of the running stretch of one domain.", status.segment),
        ("suspects", "Strange frames that wait until the model has adapted.", status.suspects),
        ("strange_kinds", "Kinds of strange things in quarantine.", status.clusters),
        ("outbox_rows", "Messages to be sent that the server has not acknowledged.", status.outbox_rows),
        ("outbox_held", "Samples that wait until the server wants them.", status.outbox_held),
        ("budget_left_bytes", "What the uplink may spend at once.", status.budget_left_bytes),
        ("connected", "1 while a broker is there.", status.connected),
        ("on_trial", "1 while a patch is built for trial or on trial.", bool(status.trial)),
        ("generation_age_seconds", "Time since the running session took over.", status.generation_age_s),
        ("swap_gap_seconds", "Longest pause between frames at the last swap.", status.swap_gap_ms / 1000.0),
    )
    return tuple(Metric(name, "gauge", text, value) for name, text, value in rows)


def render(status: DeviceStatus, health: Health) -> bytes:
    """The page that a scrape gets."""
    lines, last = [], ""
    for metric in families(status, health):
        name = PREFIX + metric.name
        if metric.name != last:
            lines.append(f"# HELP {name} {metric.help}\n# TYPE {name} {metric.kind}\n")
            last = metric.name
        lines.append(_sample(metric, name))
    return "".join(lines).encode()


def _sample(metric: Metric, name: str) -> str:
    labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in metric.labels)
    shown = f"{name}{{{labels}}}" if labels else name
    return f"{shown} {float(metric.value)!r}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
