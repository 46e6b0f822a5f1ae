"""The progress bar of a training run: epoch, loss, images per second, time left. Drawn on stderr."""

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
    """Show a bar while the context lasts; yields the observer to give to `loop.train`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TextColumn("{task.fields[speed]:.0f} img/s"),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
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
