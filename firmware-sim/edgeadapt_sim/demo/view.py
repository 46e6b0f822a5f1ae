"""What the demo shows while it runs: values, their drawing with rich, and plain lines for a log.

Pure: everything here is a function of a `Scene`. Who fills it is `demo.session`; who refreshes the
terminal is `demo.run`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from edgeadapt_sim.accuracy import RUNNING_WINDOW
from edgeadapt_sim.records import LABELS, METHODS, Method
from edgeadapt_sim.report.style import bytes_text, words

_STYLES: Mapping[Method, str] = {"frozen": "bright_black", "statistics": "yellow", "loop": "bold cyan"}
_BLOCKS = "▁▂▃▄▅▆▇█"
_SPARK_COLUMNS = 20
_WIDE_COLUMNS = 134  # from here on there is room for the history ...
_ROOMY_COLUMNS = 108  # ... and from here on for every counter
_NEWS_LINES = 5


@dataclass(frozen=True, slots=True)
class DeviceLine:
    """One device now. `accuracy` is 0..1 over the last 500 frames; `history` is the loop's, older first.

    `strange` are frames that the device called shifted or unknown. `flagged` are those that it kept, to
    choose the best of when their window ends; `uploaded` are the samples that the server acknowledged.
    """

    name: str
    domain: str
    frame: int
    frames: int
    accuracy: Mapping[Method, float]
    history: Sequence[float]
    flagged: int
    uploaded: int
    bytes_up: int
    bytes_down: int
    generation: str
    state: str
    strange: int = 0


@dataclass(frozen=True, slots=True)
class CohortLine:
    """One cohort in the cloud now."""

    name: str
    devices: int
    samples: int
    jobs: int
    published: int
    rollout: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything on the screen."""

    broker: str
    elapsed_s: float
    total_s: float
    devices: tuple[DeviceLine, ...]
    cohorts: tuple[CohortLine, ...]
    cloud_state: str
    news: tuple[str, ...]


def draw(scene: Scene, width: int = 120) -> RenderableType:
    """The whole screen for a terminal of `width` columns."""
    news = Text(
        "\n".join(scene.news[-_NEWS_LINES:]) or "waiting for samples", overflow="ellipsis", no_wrap=True
    )
    return Group(
        _header(scene),
        _devices(scene.devices, width),
        _cloud(scene),
        Panel(news, title="news", title_align="left", border_style="bright_black"),
    )


def _header(scene: Scene) -> RenderableType:
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(
        Text.assemble(("edgeadapt demo", "bold"), f"  broker {scene.broker}"),
        ProgressBar(total=max(scene.total_s, 1e-9), completed=min(scene.elapsed_s, scene.total_s)),
        f"{scene.elapsed_s:.0f} of {scene.total_s:.0f} s",
    )
    return grid


def _devices(lines: Sequence[DeviceLine], width: int) -> RenderableType:
    wide, roomy = width >= _WIDE_COLUMNS, width >= _ROOMY_COLUMNS
    table = _table(f"devices, % right of the last {RUNNING_WINDOW} frames")
    for name in ("device", "true domain"):
        table.add_column(name, no_wrap=True)
    for method, name in zip(METHODS, ("frozen", "own stats", "full loop"), strict=True):
        table.add_column(name, justify="right", style=_STYLES[method], no_wrap=True)
    if wide:
        table.add_column("full loop so far", width=_SPARK_COLUMNS, no_wrap=True)
    if wide:
        table.add_column("strange", justify="right", no_wrap=True)
    for name in ("kept", "uploaded", "sent", "received") if roomy else ("uploaded", "sent"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("model", no_wrap=True, ratio=1)
    for line in lines:
        table.add_row(*_device_cells(line, wide=wide, roomy=roomy))
    return table


def _device_cells(line: DeviceLine, *, wide: bool, roomy: bool) -> list[RenderableType]:
    cells: list[RenderableType] = [line.name, words(line.domain)]
    cells += [f"{100 * line.accuracy[method]:.1f}" for method in METHODS]
    if wide:
        cells.append(Text(sparkline(line.history), style="cyan"))
    uploaded, sent = f"{line.uploaded:,}", bytes_text(line.bytes_up)
    if wide:
        cells.append(f"{line.strange:,}")
    cells += [f"{line.flagged:,}", uploaded, sent, bytes_text(line.bytes_down)] if roomy else [uploaded, sent]
    cells.append(Text(f"{line.generation} {line.state}".strip(), overflow="ellipsis"))
    return cells


def _cloud(scene: Scene) -> RenderableType:
    table = _table(f"cloud, {scene.cloud_state}")
    table.add_column("cohort", no_wrap=True)
    for name in ("devices", "samples", "jobs", "published"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("rollout", no_wrap=True)
    table.add_column("last verdict of the gate", no_wrap=True, ratio=1)
    for line in scene.cohorts:
        passed = line.verdict.startswith("passed")
        style = "green" if passed else "red" if line.verdict else ""
        table.add_row(
            line.name,
            str(line.devices),
            f"{line.samples:,}",
            str(line.jobs),
            str(line.published),
            line.rollout,
            Text(line.verdict, style=style, overflow="ellipsis"),
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
        expand=True,
    )


def sparkline(values: Sequence[float], width: int = _SPARK_COLUMNS) -> str:
    """The last `width` values, each in 0..1, as block characters over 0.2..1."""
    cut = [min(max((value - 0.2) / 0.8, 0.0), 1.0) for value in list(values)[-width:]]
    return "".join(_BLOCKS[min(int(value * len(_BLOCKS)), len(_BLOCKS) - 1)] for value in cut)


def plain_lines(scene: Scene) -> list[str]:
    """The same for a log: one line per device and one for the cloud."""
    lines = []
    for line in scene.devices:
        scores = ", ".join(f"{LABELS[method]} {100 * line.accuracy[method]:.1f} %" for method in METHODS)
        lines.append(
            f"[{scene.elapsed_s:4.0f} s] {line.name}: {words(line.domain)}; {scores}; "
            f"{line.strange} strange; uploaded {line.uploaded} of {line.flagged} kept to choose from; "
            f"sent {bytes_text(line.bytes_up)}, received {bytes_text(line.bytes_down)}; "
            f"{line.generation} {line.state}".rstrip()
        )
    samples = sum(line.samples for line in scene.cohorts)
    published = sum(line.published for line in scene.cohorts)
    lines.append(
        f"[{scene.elapsed_s:4.0f} s] cloud: {scene.cloud_state}; {len(scene.cohorts)} cohorts, "
        f"{samples} samples, {published} patches published"
    )
    return lines
