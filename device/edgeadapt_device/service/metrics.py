"""A device's status in the Prometheus text format (version 0.0.4), written by hand: it is forty lines.

Counters start again with each process, as Prometheus expects. Names and words are for whoever writes the
dashboards; a test holds that every one of them is in the manual.
"""

from __future__ import annotations

from typing import NamedTuple

from edgeadapt_device.service.health import Health
from edgeadapt_device.status import DeviceStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "edgeadapt_device_"


class Metric(NamedTuple):
    """One family with one sample."""

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
        ("uploaded_total", "Samples that the server has acknowledged.", status.uploaded),
        ("sent_bytes_total", "Topics and payloads that went out.", status.bytes_up),
        ("received_bytes_total", "Topics and payloads that came in.", status.bytes_down),
        ("builds_total", "Sessions that were asked for.", status.builds),
        ("swaps_total", "Sessions that took over from another one.", status.swaps),
        ("statistics_updates_total", "Re-estimations of the norm statistics.", status.updates),
        ("reverts_total", "Patches that were taken back.", status.reverts),
        ("quarantined_total", "Messages that were not ours.", status.quarantined),
        ("storage_errors_total", "Writes that failed.", status.storage_errors),
    )
    return tuple(Metric(name, "counter", text, value) for name, text, value in rows)


def _gauges(status: DeviceStatus) -> tuple[Metric, ...]:
    rows = (
        ("frames_per_second", "Frames scored over the last moments.", status.frames_per_second),
        ("latency_seconds", "What the model takes for a frame, smoothed.", status.latency_ms / 1000.0),
        ("frame_age_seconds", "Time since the last frame was scored.", status.frame_age_s),
        ("drift", "Distance of the domain from the source, in source deviations.", status.drift),
        ("segment", "Number of the running stretch of one domain.", status.segment),
        ("outbox_rows", "Messages that the server has not acknowledged.", status.outbox_rows),
        ("budget_left_bytes", "What the uplink may spend at once.", status.budget_left_bytes),
        ("connected", "1 while a broker is there.", status.connected),
        ("on_trial", "1 while a patch is built for trial or on trial.", bool(status.trial)),
        ("generation_age_seconds", "Time since the running session took over.", status.generation_age_s),
        ("swap_gap_seconds", "Longest pause between frames at the last swap.", status.swap_gap_ms / 1000.0),
    )
    return tuple(Metric(name, "gauge", text, value) for name, text, value in rows)


def render(status: DeviceStatus, health: Health) -> bytes:
    """The page that a scrape gets."""
    return "".join(_family(metric) for metric in families(status, health)).encode()


def _family(metric: Metric) -> str:
    name = PREFIX + metric.name
    labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in metric.labels)
    shown = f"{name}{{{labels}}}" if labels else name
    return f"# HELP {name} {metric.help}\n# TYPE {name} {metric.kind}\n{shown} {float(metric.value)!r}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
