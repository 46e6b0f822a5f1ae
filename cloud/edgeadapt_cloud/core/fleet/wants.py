"""Which of the samples that devices announce are wanted: what nobody in the fleet has sent, or is about to.

Devices announce samples by descriptors and keep them until they are told. An announced sample is compared (by
cosine) with the *things* that were wanted before: one that is new is wanted; one of a known thing is wanted
until there are `copies` of it, and else waits as a substitute while those are on their way, and is declined
once they are here. A wanted sample that does not come within `patience_s` frees its place: the first
substitute is wanted then. Questions for a person (lane "ask") are compared over the whole fleet, samples to
learn from within their cohort. Samples for the audit are always wanted: to choose among them would bias it.

Everything is kept in the store, so that the same question gets the same answer, also after a restart, and
however often it is asked. Questions that are declined are kept too, `MOST_SEEN` of a thing: a person wants
to know how many devices see it; of those that came without a picture the store keeps all, and memory as
many. Memory is bounded: beyond `kept` things, those not touched longest are forgotten.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from edgeadapt.clock import Instant
from edgeadapt.descriptor import SIZE, unit, unpack
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import DescriptorItem, MessageProperties, Want, encode
from edgeadapt.wire.properties import LONGEST_EXPIRY_S
from edgeadapt.wire.topics import down
from edgeadapt_cloud.config import WantsConfig
from edgeadapt_cloud.core.effects import Effect, ForgetWants, Publish, Save
from edgeadapt_cloud.core.rows import DescriptorsRow, Origin, WantRow, WantState

#: Substitutes of one thing, at most.
MOST_WAITING = 8
#: Samples of one thing that are remembered, at most, beside those that are wanted.
MOST_SEEN = 32
_ASK_SHELF = "ask"

WantKey = tuple[str, str, int]


@dataclass(slots=True)
class _Thing:
    """What one or more samples show."""

    number: int
    shelf: str
    vector: FloatArray
    claims: dict[WantKey, WantRow] = field(default_factory=dict)

    def count(self, *states: str) -> int:
        return sum(row.state in states for row in self.claims.values())


class _Shelf:
    """The vectors [n, 64] of the things that are compared with one another."""

    def __init__(self) -> None:
        self._vectors: FloatArray = np.zeros((64, SIZE), np.float32)
        self._numbers: list[int] = []

    def add(self, number: int, vector: FloatArray) -> None:
        count = len(self._numbers)
        if count == len(self._vectors):
            self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
        self._vectors[count] = vector
        self._numbers.append(number)

    def remove(self, number: int) -> None:
        place, last = self._numbers.index(number), len(self._numbers) - 1
        self._vectors[place] = self._vectors[last]
        self._numbers[place] = self._numbers[last]
        self._numbers.pop()

    def nearest(self, vector: FloatArray, alike: float) -> int | None:
        """The thing that is most like it, if any is enough."""
        if not self._numbers:
            return None
        cosines = self._vectors[: len(self._numbers)] @ vector
        place = int(cosines.argmax())
        return self._numbers[place] if cosines[place] >= alike else None


class Wants:
    """Every thing that the fleet was asked about, and who is to send it."""

    def __init__(self, fleet: str, bundle: str, config: WantsConfig) -> None:
        self._fleet, self._bundle, self._config = fleet, bundle, config
        self._things: OrderedDict[int, _Thing] = OrderedDict()
        self._shelves: dict[str, _Shelf] = {}
        self._of: dict[WantKey, int] = {}
        # Wanted samples in the order of their deadlines.
        self._deadlines: OrderedDict[WantKey, float] = OrderedDict()
        self._next_number = 1

    def restore(self, rows: Iterable[WantRow], now: Instant) -> None:
        """Take up where the store left off; what is wanted gets its full time anew."""
        for row in rows:
            self._next_number = max(self._next_number, row.thing + 1)
            if len(row.vector) != SIZE or row.bundle != self._bundle:
                continue
            thing = self._things.get(row.thing) or self._shelve(
                row.thing, row.shelf, unit(unpack(row.vector))
            )
            if row.state != "declined" or thing.count("declined") < MOST_SEEN:
                self._claim(thing, row, now)

    def next_deadline(self) -> float | None:
        """Monotonic second at which the next wanted sample is overdue."""
        return next(iter(self._deadlines.values()), None)

    def asked(self, row: DescriptorsRow, cohort: str, now: Instant) -> list[Effect]:
        """Answer a device: what of it is wanted, and what is not; substitutes hear later."""
        origin, effects = row.origin, list[Effect]()
        wanted, declined = list[int](), list[int]()
        for item in {item.sample: item for item in row.message.items}.values():
            state = self._state(origin, item, cohort, now, effects)
            if state in ("wanted", "audit"):
                wanted.append(item.sample)
            elif state != "waiting":
                declined.append(item.sample)
        return [*effects, *self._tell(origin.device, origin.outbox, wanted, declined)]

    def _state(
        self, origin: Origin, item: DescriptorItem, cohort: str, now: Instant, effects: list[Effect]
    ) -> str:
        """What becomes of an announced sample: a state of `WantRow`, "audit" or "declined"."""
        if item.lane == "audit":
            return "audit"
        key = (origin.device, origin.outbox, item.sample)
        known = self._of.get(key)
        if known is not None:
            self._things.move_to_end(known)
            before = self._things[known].claims[key].state
            if before == "wanted":
                self._expect(key, now)
            return "declined" if before == "received" else before
        thing = self._find(item, cohort, effects)
        state: WantState
        if thing.count("wanted", "received") < self._config.copies:
            state = "wanted"
        elif thing.count("received") >= self._config.copies or thing.count("waiting") >= MOST_WAITING:
            state = "declined"
        else:
            state = "waiting"
        if state == "declined" and (thing.shelf != _ASK_SHELF or len(thing.claims) >= MOST_SEEN):
            return state
        row = WantRow(
            device=origin.device,
            outbox=origin.outbox,
            sample=item.sample,
            bundle=self._bundle,
            shelf=thing.shelf,
            thing=thing.number,
            lane=item.lane,
            state=state,
            members=item.members,
            vector=item.vector,
            asked_s=now.wall_s,
            predicted=item.predicted,
        )
        self._claim(thing, row, now)
        effects.append(Save(row))
        return state

    def _find(self, item: DescriptorItem, cohort: str, effects: list[Effect]) -> _Thing:
        """The thing that a sample shows, which may be new."""
        name = _ASK_SHELF if item.lane == "ask" else f"{item.lane}/{cohort}"
        vector = unit(unpack(item.vector))
        shelf = self._shelves.get(name)
        number = shelf.nearest(vector, self._config.alike) if shelf is not None else None
        if number is not None:
            self._things.move_to_end(number)
            return self._things[number]
        while len(self._things) >= self._config.kept:
            effects += self._forget(next(iter(self._things.values())))
        self._next_number += 1
        return self._shelve(self._next_number - 1, name, vector)

    def received(self, origin: Origin) -> list[Effect]:
        """A sample is here: if it was announced, its substitutes may not be needed any more."""
        thing, key = self._thing_of(origin)
        if thing is None or thing.claims[key].state == "received":
            return []
        self._deadlines.pop(key, None)
        thing.claims[key] = replace(thing.claims[key], state="received")
        effects: list[Effect] = [Save(thing.claims[key])]
        if thing.count("received") < self._config.copies:
            return effects
        waiting = [row for row in thing.claims.values() if row.state == "waiting"]
        effects += self._let_go(thing, waiting)
        for row in waiting:
            effects += self._tell(row.device, row.outbox, [], [row.sample])
        return effects

    def _let_go(self, thing: _Thing, rows: list[WantRow]) -> list[Effect]:
        if thing.shelf != _ASK_SHELF:
            return self._drop(thing, [row.key for row in rows])
        declined = [replace(row, state="declined") for row in rows]
        thing.claims.update({row.key: row for row in declined})
        return [Save(row) for row in declined]

    def described(self, origin: Origin, now: Instant) -> list[Effect]:
        """A sample came without a picture: its thing is known, and still wanted of whoever can show it."""
        thing, key = self._thing_of(origin)
        if thing is None or thing.claims[key].state in ("received", "declined"):
            return []
        self._deadlines.pop(key, None)
        row = thing.claims[key] = replace(thing.claims[key], state="declined")
        if thing.count("declined") > MOST_SEEN:
            # It is in the store for people; nothing more will be asked about it.
            del thing.claims[key], self._of[key]
        return [Save(row), *self._want_substitute(thing, now)]

    def failed(self, origin: Origin, now: Instant) -> list[Effect]:
        """A sample came, and could not be taken in: its place is free."""
        thing, key = self._thing_of(origin)
        return self._free(thing, key, now) if thing is not None else []

    def overdue(self, now: Instant) -> list[Effect]:
        """Wanted samples that did not come: their places are free."""
        effects: list[Effect] = []
        while self._deadlines:
            key, due_mono_s = next(iter(self._deadlines.items()))
            if due_mono_s > now.mono_s:
                break
            effects += self._free(self._things[self._of[key]], key, now)
        return effects

    def _free(self, thing: _Thing, key: WantKey, now: Instant) -> list[Effect]:
        effects = self._drop(thing, [key]) + self._want_substitute(thing, now)
        return effects if thing.claims else [*effects, *self._forget(thing)]

    def _want_substitute(self, thing: _Thing, now: Instant) -> list[Effect]:
        """The first that waits is wanted, if there is room."""
        room = thing.count("wanted", "received") < self._config.copies
        substitute = next((row for row in thing.claims.values() if row.state == "waiting"), None)
        if not room or substitute is None:
            return []
        row = replace(substitute, state="wanted", asked_s=now.wall_s)
        self._claim(thing, row, now)
        return [Save(row), *self._tell(row.device, row.outbox, [row.sample], [])]

    def _thing_of(self, origin: Origin) -> tuple[_Thing | None, WantKey]:
        key = (origin.device, origin.outbox, origin.sequence)
        number = self._of.get(key)
        return (self._things[number] if number is not None else None), key

    def _shelve(self, number: int, shelf: str, vector: FloatArray) -> _Thing:
        thing = self._things[number] = _Thing(number, shelf, vector)
        self._shelves.setdefault(shelf, _Shelf()).add(number, vector)
        return thing

    def _claim(self, thing: _Thing, row: WantRow, now: Instant) -> None:
        thing.claims[row.key] = row
        self._of[row.key] = thing.number
        if row.state == "wanted":
            self._expect(row.key, now)

    def _expect(self, key: WantKey, now: Instant) -> None:
        self._deadlines[key] = now.mono_s + self._config.patience_s
        self._deadlines.move_to_end(key)

    def _drop(self, thing: _Thing, keys: list[WantKey]) -> list[Effect]:
        for key in keys:
            del thing.claims[key], self._of[key]
            self._deadlines.pop(key, None)
        return [ForgetWants(tuple(keys))] if keys else []

    def _forget(self, thing: _Thing) -> list[Effect]:
        effects = self._drop(thing, list(thing.claims))
        del self._things[thing.number]
        self._shelves[thing.shelf].remove(thing.number)
        return effects

    def _tell(self, device: str, outbox: str, wanted: list[int], declined: list[int]) -> list[Effect]:
        if not wanted and not declined:
            return []
        want = Want(outbox=outbox, wanted=tuple(wanted), declined=tuple(declined))
        # Once its place is another device's, the answer is of no use; a device that missed it asks again.
        expiry = MessageProperties(expiry_s=min(math.ceil(self._config.patience_s), LONGEST_EXPIRY_S))
        return [Publish(down(self._fleet, device, "want"), encode(want), retain=False, properties=expiry)]
