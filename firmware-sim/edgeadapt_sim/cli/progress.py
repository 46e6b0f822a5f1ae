"""A progress bar around a study, or a line for each piece where a bar cannot be drawn."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


def watched(console: Console, total: int, run: Callable[[Callable[[str], None]], T]) -> T:
    """Run a study behind a progress bar; it calls what it is given, in words, for every piece."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("running", total=total)

        def on_done(text: str) -> None:
            progress.update(task, advance=1, description=text)
            if not console.is_terminal:  # where a bar cannot be drawn
                minutes = (time.monotonic() - began) / 60
                console.print(f"[{minutes:.1f} min] done: {text}", markup=False, highlight=False)

        return run(on_done)
