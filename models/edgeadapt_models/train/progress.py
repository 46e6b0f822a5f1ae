"""The progress of a training run, on stderr: a bar in a terminal, a line per epoch in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from edgeadapt_models.train.loop import Progress
from edgeadapt_models.train.recipe import Recipe


@contextmanager
def training_bar(recipe: Recipe) -> Iterator[Callable[[Progress], None]]:
    """Show progress while the context lasts; yields the observer to give to `loop.train`."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda progress: _line(console, progress)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TextColumn("{task.fields[speed]:.0f} img/s"),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console) as bar:
        task = bar.add_task(recipe.name, total=None, epoch=0, epochs=recipe.epochs, loss=0.0, speed=0.0)

        def observe(progress: Progress) -> None:
            bar.update(
                task,
                total=progress.epochs * progress.steps,
                completed=progress.epoch * progress.steps + progress.step,
                epoch=progress.epoch + 1,
                loss=progress.loss,
                speed=progress.images_per_s,
            )

        yield observe


def _line(console: Console, progress: Progress) -> None:
    """The end of an epoch in words."""
    if progress.step == progress.steps:
        console.print(
            f"epoch {progress.epoch + 1}/{progress.epochs}: loss {progress.loss:.3f}, "
            f"{progress.images_per_s:.0f} images per second",
            highlight=False,
        )
