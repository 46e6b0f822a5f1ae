"""`report.png`: the run in one picture for a README, drawn with matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg")  # no display: before pyplot is imported

import matplotlib.pyplot as plt
import numpy as np

from edgeadapt_sim import accuracy
from edgeadapt_sim.records import LABELS, METHODS, DeviceRecord, RunRecord
from edgeadapt_sim.report.style import COLOURS, EVENT_COLOURS, EVENT_SYMBOLS, GRID, INK, tints, words

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

_FIRST_FRAMES = 50  # a mean of fewer frames than this says nothing


def draw(run: RunRecord, path: Path) -> None:
    """Write the picture: one panel per device, and accuracy per domain below."""
    count = len(run.devices)
    figure, panels = plt.subplots(
        count + 1,
        1,
        figsize=(12, 2.5 * count + 3.4),
        height_ratios=[*([1.0] * count), 1.15],
        layout="constrained",
    )
    domains = accuracy.domains_of(run.devices)
    for panel, device in zip(panels, run.devices, strict=False):
        _over_time(panel, device, domains)
    panels[count - 1].set_xlabel("seconds of the stream")
    _per_domain(panels[-1], run)
    handles, names = _legend(panels[:count])
    figure.legend(handles, names, loc="outside upper center", ncols=7, frameon=False, fontsize=10.5)
    figure.savefig(path, dpi=110, facecolor="white")
    plt.close(figure)


def _legend(panels: list[Axes]) -> tuple[list[Artist], list[str]]:
    found: dict[str, Artist] = {}
    for panel in panels:
        handles, names = panel.get_legend_handles_labels()
        for handle, name in zip(handles, names, strict=True):
            found.setdefault(name, handle)
    return list(found.values()), list(found)


def _over_time(panel: Axes, device: DeviceRecord, domains: tuple[str, ...]) -> None:
    shade = tints(domains)
    first = min(_FIRST_FRAMES, device.frames - 1)
    seconds = np.arange(first, device.frames) / device.frames_per_second
    lowest = 100.0
    for method in METHODS:
        curve = 100 * accuracy.running(device.correct[method], accuracy.CHART_WINDOW)[first:]
        lowest = min(lowest, float(curve.min()))
        width = 2.4 if method == "loop" else 1.6
        panel.plot(seconds, curve, color=COLOURS[method], linewidth=width, label=LABELS[method])
    _events(panel, device)
    floor = max(0.0, lowest - 12)
    for stretch in device.stretches:
        if stretch.start < device.frames:
            left = stretch.start / device.frames_per_second
            right = min(stretch.stop, device.frames) / device.frames_per_second
            panel.axvspan(left, right, color=shade[stretch.domain], linewidth=0, zorder=0)
            panel.text(left + 0.4, floor + 1.5, words(stretch.domain), fontsize=8.5, color="#4a5160")
    panel.set_ylim(floor, 102)
    panel.set_xlim(0, device.frames / device.frames_per_second)
    panel.set_ylabel(f"{device.name}\naccuracy, %")
    _plain(panel)


def _events(panel: Axes, device: DeviceRecord) -> None:
    curve = 100 * accuracy.running(device.correct["loop"], accuracy.CHART_WINDOW)
    for kind, colour in EVENT_COLOURS.items():
        frames = [
            event.frame for event in device.events if event.kind == kind and event.frame < device.frames
        ]
        if frames:
            hollow = kind == "trial"
            panel.scatter(
                np.array(frames) / device.frames_per_second,
                curve[frames],
                marker=EVENT_SYMBOLS[kind][1],
                s=70,
                facecolors="none" if hollow else colour,
                edgecolors=colour if hollow else None,
                zorder=4,
                label=f"patch {kind}",
            )


def _per_domain(panel: Axes, run: RunRecord) -> None:
    rows = accuracy.by_domain(run.devices)
    places = np.arange(len(rows))
    for number, method in enumerate(METHODS):
        values = [100 * row.values[number] for row in rows]
        bars = panel.bar(places + (number - 1) * 0.27, values, width=0.25, color=COLOURS[method])
        panel.bar_label(bars, fmt="%.0f", fontsize=8.5, color=INK, padding=1)
    panel.set_xticks(places, [words(row.domain) for row in rows])
    panel.set_ylim(0, 112)
    panel.set_ylabel("all devices\naccuracy, %")
    panel.set_xlabel("domain")
    _plain(panel)


def _plain(panel: Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(GRID)
    panel.grid(axis="y", color=GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(colors=INK, labelsize=9.5)
