"""The report's charts, as plotly figures; one function per chart, each from a RunRecord alone."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from edgeadapt_sim import accuracy
from edgeadapt_sim.records import LABELS, METHODS, DeviceRecord, RunRecord
from edgeadapt_sim.report.style import COLOURS, EVENT_COLOURS, EVENT_SYMBOLS, GRID, INK, tints, words

_STEP_FRAMES = 20  # one point per so many frames keeps the file small
_FONT = {"family": "Inter, Segoe UI, Helvetica, Arial, sans-serif", "size": 13, "color": INK}


def _layout(figure: go.Figure, *, height: int, x_title: str, y_title: str) -> None:
    figure.update_layout(
        height=height,
        margin={"l": 64, "r": 20, "t": 56, "b": 52},
        paper_bgcolor="white",
        plot_bgcolor="white",
        font=_FONT,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0.0, "xanchor": "left"},
        hovermode="x unified",
    )
    figure.update_xaxes(title=x_title, gridcolor=GRID, zeroline=False, linecolor=GRID, ticks="outside")
    figure.update_yaxes(title=y_title, gridcolor=GRID, zeroline=False, linecolor=GRID)


def accuracy_over_time(device: DeviceRecord, domains: tuple[str, ...]) -> go.Figure:
    """Running accuracy of the three methods, with domain bands and patch events."""
    figure = go.Figure()
    points = _points(device.frames)
    seconds = points / device.frames_per_second
    for method in METHODS:
        curve = 100 * accuracy.running(device.correct[method], accuracy.CHART_WINDOW)[points]
        figure.add_scatter(
            x=seconds,
            y=curve,
            name=LABELS[method],
            mode="lines",
            line={"color": COLOURS[method], "width": 3 if method == "loop" else 2},
            hovertemplate="%{y:.1f} %",
        )
    _add_bands(figure, device, domains)
    _add_events(figure, device)
    _layout(
        figure,
        height=360,
        x_title="seconds of the stream",
        y_title=f"accuracy of the last {accuracy.CHART_WINDOW} frames, %",
    )
    figure.update_yaxes(range=[_floor(device), 104])
    figure.update_xaxes(range=[0, device.frames / device.frames_per_second])
    return figure


def _points(frames: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    first = min(50, frames - 1)  # a mean of fewer frames than this says nothing
    return np.unique(np.append(np.arange(first, frames, _STEP_FRAMES), frames - 1))


def _floor(device: DeviceRecord) -> float:
    points = _points(device.frames)
    lowest = min(
        float(accuracy.running(device.correct[method], accuracy.CHART_WINDOW)[points].min())
        for method in METHODS
    )
    return max(0.0, 100 * lowest - 6)


def _add_bands(figure: go.Figure, device: DeviceRecord, domains: tuple[str, ...]) -> None:
    colour = tints(domains)
    for stretch in device.stretches:
        if stretch.start >= device.frames:
            continue
        figure.add_vrect(
            x0=stretch.start / device.frames_per_second,
            x1=min(stretch.stop, device.frames) / device.frames_per_second,
            fillcolor=colour[stretch.domain],
            opacity=0.75,
            line_width=0,
            layer="below",
            annotation={"text": words(stretch.domain), "font": {"size": 11, "color": "#4a5160"}},
            annotation_position="inside bottom left",
        )


def _add_events(figure: go.Figure, device: DeviceRecord) -> None:
    curve = 100 * accuracy.running(device.correct["loop"], accuracy.CHART_WINDOW)
    for kind, colour in EVENT_COLOURS.items():
        events = [event for event in device.events if event.kind == kind and event.frame < device.frames]
        if not events:
            continue
        figure.add_scatter(
            x=[event.frame / device.frames_per_second for event in events],
            y=[curve[event.frame] for event in events],
            name=f"patch {kind}",
            mode="markers",
            marker={
                "symbol": EVENT_SYMBOLS[kind][0],
                "size": 13 if kind == "reapplied" else 11,
                "color": colour,
                "line": {"width": 1.5, "color": colour if kind in ("trial", "reverted") else "white"},
            },
            text=[f"{event.patch} {kind}{': ' if event.detail else ''}{event.detail}" for event in events],
            hovertemplate="%{text}<extra></extra>",
        )


def accuracy_per_domain(run: RunRecord) -> go.Figure:
    """Grouped bars: accuracy of the three methods in every domain, over all devices."""
    rows = accuracy.by_domain(run.devices)
    figure = go.Figure()
    for number, method in enumerate(METHODS):
        values = [100 * row.values[number] for row in rows]
        figure.add_bar(
            x=[words(row.domain) for row in rows],
            y=values,
            name=LABELS[method],
            marker={"color": COLOURS[method]},
            text=[f"{value:.0f}" for value in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y:.1f} %",
        )
    _layout(figure, height=400, x_title="domain", y_title="accuracy over all its frames, %")
    figure.update_layout(barmode="group", bargap=0.25, bargroupgap=0.04)
    figure.update_yaxes(range=[0, 108])
    return figure


def traffic(run: RunRecord) -> go.Figure:
    """Bytes per device and direction, against sending every frame; logarithmic."""
    names = [device.name for device in run.devices]
    figure = go.Figure()
    bars = (
        ("every frame as PNG", "#c9ced6", [run.frame_png_bytes * device.frames for device in run.devices]),
        ("sent by edgeadapt", COLOURS["loop"], [device.traffic.bytes_up for device in run.devices]),
        ("received by edgeadapt", "#56b4e9", [device.traffic.bytes_down for device in run.devices]),
    )
    for name, colour, values in bars:
        figure.add_bar(
            x=names,
            y=[value / 1000 for value in values],
            name=name,
            marker={"color": colour},
            text=[f"{value / 1000:,.0f}" for value in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y:,.1f} kB",
        )
    _layout(figure, height=360, x_title="device", y_title="kilobytes over the run (log scale)")
    top = max(max(values) for _, _, values in bars) / 1000
    figure.update_yaxes(type="log", range=[0, float(np.log10(max(top, 10.0))) + 0.4], dtick=1)
    return figure
