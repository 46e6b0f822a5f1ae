"""Where the demo is shown: a live terminal view, or plain lines for a log. Both are context managers."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.live import Live

from edgeadapt_sim.demo.view import Scene, draw, plain_lines

_PLAIN_EVERY_S = 10.0
_REFRESH_PER_S = 4


class Screen(Protocol):
    """What a run needs of it."""

    def show(self, scene: Scene) -> None:
        """Take the newest scene; called several times a second."""

    def say(self, text: str) -> None:
        """One line of news."""


class LiveScreen:
    """Redraws the whole view in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=_REFRESH_PER_S, transient=True)

    def show(self, scene: Scene) -> None:
        """Draw the scene."""
        self._live.update(draw(scene, self._console.width))

    def say(self, text: str) -> None:
        """Above the view; news of a run are in the view itself."""

    def __enter__(self) -> LiveScreen:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


class PlainScreen:
    """Appends lines: news at once, the state of everything every ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_s = 0.0

    def show(self, scene: Scene) -> None:
        """Write the scene's lines, when it is time."""
        if scene.elapsed_s >= self._next_s:
            self._next_s = scene.elapsed_s + _PLAIN_EVERY_S
            for line in plain_lines(scene):
                self.say(line)

    def say(self, text: str) -> None:
        """Write a line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> PlainScreen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
