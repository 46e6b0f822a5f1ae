"""Sessions that are kept warm beside the running one, for frames that look like another domain.

Each belongs to a patch, by digest ("" for the base), and is built once when a frame asks for it, one after
the other; the least recently used goes when there is no room. A patch whose session cannot be built is not
tried again while the bank holds it. Tokens and the driver's book-keeping are those of `generations`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from edgeadapt.bundle.materialise import SlotValues
from edgeadapt_device.core.adapt.generations import Generations
from edgeadapt_device.core.effects import Effect


class WarmSessions:
    """The cache of one device."""

    def __init__(self, generations: Generations, most: int) -> None:
        """Keep `most` sessions at a time; 0 keeps none."""
        self._generations, self._most = generations, most
        self._tokens: OrderedDict[str, int] = OrderedDict()
        self._building: tuple[str, int] | None = None
        self._failed: set[str] = set()

    def __len__(self) -> int:
        """Sessions that are warm."""
        return len(self._tokens)

    @property
    def enabled(self) -> bool:
        """False when none is ever kept."""
        return self._most > 0

    def holds(self, token: int) -> bool:
        """True for one of these sessions."""
        return token in self._tokens.values()

    def token(self, digest: str | None) -> int | None:
        """The session of a patch, which counts as used now; None when there is none."""
        if digest is None or digest not in self._tokens:
            return None
        self._tokens.move_to_end(digest)
        return self._tokens[digest]

    def ask(self, digest: str, make: Callable[[], SlotValues]) -> list[Effect]:
        """Build a session for a patch, of the values that `make` gives, unless one is there or cannot be."""
        known = digest in self._tokens or digest in self._failed
        if known or self._building is not None or self._generations.busy or not self.enabled:
            return []
        build = self._generations.beside(digest, make())
        self._building = (digest, build.token)
        return [build]

    def ready(self, token: int) -> list[Effect] | None:
        """A build ended well; None when it is not one of these."""
        if self._building is None or self._building[1] != token:
            return None
        (digest, _), self._building = self._building, None
        self._tokens[digest] = token
        effects: list[Effect] = []
        while len(self._tokens) > self._most:
            _, gone = self._tokens.popitem(last=False)
            effects += self._generations.forget_beside(gone)
        return effects

    def failed(self, token: int) -> bool:
        """A build failed; False when it is not one of these."""
        if self._building is None or self._building[1] != token:
            return False
        (digest, _), self._building = self._building, None
        self._failed.add(digest)
        self._generations.forget_beside(token)
        return True

    def keep(self, wanted: Callable[[str], bool]) -> list[Effect]:
        """Let the sessions go that are not wanted any more."""
        effects: list[Effect] = []
        for digest in [digest for digest in self._tokens if not wanted(digest)]:
            effects += self._generations.forget_beside(self._tokens.pop(digest))
        self._failed = {digest for digest in self._failed if wanted(digest)}
        return effects
