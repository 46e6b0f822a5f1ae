"""What runs, what is being built, and what it can fall back to.

Invariants: at most one build in flight; the newest request wins; the old generation scores frames
until the new one is activated between two frames; while a fallback is held, returning to it needs no
build. Tokens only rise within a process; a generation's name is its patch, since its statistics move.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from edgeadapt.bundle.materialise import SlotValues
from edgeadapt_device.core.effects import Activate, BuildGeneration, Effect, Release

# Generations that are gone and still known by name.
_REMEMBERED = 8


@dataclass(frozen=True, slots=True)
class Generation:
    """A set of sessions in the driver; `patch` is a digest, or "" for the base."""

    token: int
    patch: str


@dataclass(frozen=True, slots=True)
class _Request:
    patch: str
    values: SlotValues
    keep_previous: bool


class Generations:
    """Book-keeping of tokens; effects tell the driver what to build, use and forget."""

    def __init__(self) -> None:
        self.running: Generation | None = None
        self.fallback: Generation | None = None
        self._building: tuple[Generation, _Request] | None = None
        self._stale = False
        self._next: _Request | None = None
        self._token = 0
        self._patches: dict[int, str] = {}
        self._gone: deque[int] = deque()

    @property
    def busy(self) -> bool:
        """True while a build is in flight."""
        return self._building is not None

    @property
    def next_token(self) -> int:
        """What the next build is called."""
        return self._token + 1

    def beside(self, patch: str, values: SlotValues) -> BuildGeneration:
        """A token of its own for sessions that are kept beside what runs (`warm`)."""
        self._token += 1
        self._patches[self._token] = patch
        return BuildGeneration(self._token, values)

    def forget_beside(self, token: int) -> list[Effect]:
        """Let such sessions go."""
        self._patches.pop(token, None)
        return [Release(token)]

    def patch_of(self, token: int) -> str | None:
        """The patch under which a generation scored; None for one long gone."""
        return self._patches.get(token)

    def request(self, patch: str, values: SlotValues, *, keep_previous: bool = False) -> list[Effect]:
        """Ask for a generation; it replaces any request before it."""
        request = _Request(patch, values, keep_previous)
        if self._building is not None:
            self._stale, self._next = True, request
            return []
        return self._start(request)

    def _start(self, request: _Request) -> list[Effect]:
        self._token += 1
        self._building = (Generation(self._token, request.patch), request)
        self._stale, self._next = False, None
        return [BuildGeneration(self._token, request.values)]

    def cancel(self) -> None:
        """Drop whatever is asked for; a build in flight is released when it ends."""
        self._next = None
        self._stale = self._building is not None

    def rename(self, old: str, new: str) -> None:
        """The same values go by another name: what runs, is built or is asked for is not built anew."""
        if self.running is not None and self.running.patch == old:
            self.running = replace(self.running, patch=new)
        self._patches = {token: new if patch == old else patch for token, patch in self._patches.items()}
        if self._building is not None and self._building[0].patch == old:
            generation, request = self._building
            self._building = replace(generation, patch=new), replace(request, patch=new)
        if self._next is not None and self._next.patch == old:
            self._next = replace(self._next, patch=new)

    def ready(self, token: int) -> tuple[Generation | None, list[Effect]]:
        """A build ended well: activate it, or let it go when something newer is wanted."""
        if self._building is None or self._building[0].token != token:
            return None, [Release(token)]
        generation, request = self._building
        self._building = None
        if self._stale:
            return None, [Release(token), *self._start_next()]
        effects: list[Effect] = [Activate(token)]
        effects += self._retire(keep=request.keep_previous)
        self.running = generation
        self._patches[token] = generation.patch
        return generation, effects

    def failed(self, token: int) -> tuple[Generation | None, list[Effect]]:
        """A build failed: returns the generation when it was still wanted."""
        if self._building is None or self._building[0].token != token:
            return None, []
        generation, _ = self._building
        wanted = None if self._stale else generation
        self._building = None
        return wanted, self._start_next()

    def _start_next(self) -> list[Effect]:
        request, self._next, self._stale = self._next, None, False
        return self._start(request) if request is not None else []

    def _retire(self, *, keep: bool) -> list[Effect]:
        old = self.running
        if old is None:
            return []
        if keep and self.fallback is None:
            self.fallback = old
            return []
        return self._forget(old)

    def _forget(self, generation: Generation) -> list[Effect]:
        # A batch that is in hand may still have been scored by it.
        self._gone.append(generation.token)
        if len(self._gone) > _REMEMBERED:
            self._patches.pop(self._gone.popleft(), None)
        return [Release(generation.token)]

    def settle(self) -> list[Effect]:
        """The running generation is kept: let the fallback go."""
        fallback, self.fallback = self.fallback, None
        return self._forget(fallback) if fallback is not None else []

    def revert(self) -> list[Effect]:
        """Back to the fallback at once; without one there is nothing to do."""
        self.cancel()
        fallback, old = self.fallback, self.running
        if fallback is None or old is None:
            return []
        self.fallback, self.running = None, fallback
        return [Activate(fallback.token), *self._forget(old)]
