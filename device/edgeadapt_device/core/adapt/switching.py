"""What runs, what is built to run next, and what a trial would go back to.

Rules: one switch of patch at a time, and while it is being built no session for new statistics is; what is
to run next counts from the moment its session is warm. Building takes at most a share of the time, unless
a switch is wanted. Why anything should run is decided elsewhere (`patches`, `adaptation`).
"""

from __future__ import annotations

from edgeadapt.clock import Instant
from edgeadapt.normstats import StatisticsConfig
from edgeadapt_device.core.adapt.generations import Generations
from edgeadapt_device.core.adapt.running import Running, Statistics
from edgeadapt_device.core.adapt.statistics import OwnStatistics
from edgeadapt_device.core.effects import Effect

# How much more of the time builds may take while a segment is young.
_YOUNG_TIMES = 5.0


class Switching:
    """The generations of one device, and the statistics held under them.

    Attributes:
        generations: tokens, builds and the fallback.
        statistics: held under what runs.
        source: those of the base.
        running: what runs, or is to run first.
        coming: what is built to take its place, or None.
        before: what ran before the patch on trial, while that is watched.
    """

    def __init__(self, statistics: OwnStatistics, source: Statistics, config: StatisticsConfig) -> None:
        self.generations = Generations()
        self.statistics, self.source, self._config = statistics, source, config
        self.running = self.base
        self.coming: Running | None = None
        self.before: Running | None = None
        # The last build for statistics alone: its token, when it was asked for, its end, how long it took.
        self._own_token = 0
        self._asked_s = self._ended_s = self._took_s = 0.0
        self._held_up = False

    @property
    def base(self) -> Running:
        """The base with the source's statistics."""
        return Running(None, self.source)

    @property
    def present(self) -> Running:
        """What runs, or already what is to run next."""
        return self.coming or self.running

    # Asking

    def start(self, running: Running) -> list[Effect]:
        """Build the first generation.

        It counts as running from here on: a state that is committed before its session is built must
        name it, or a process that is killed while it starts would forget what it ran.
        """
        self.running = running
        self.statistics.restart(running.digest, *running.statistics)
        return self.to(running)

    def to(self, wanted: Running, *, keep_previous: bool = False) -> list[Effect]:
        """Run this next; with `keep_previous`, what runs now stays warm beside it."""
        self.coming = wanted
        return self._build(wanted, keep_previous=keep_previous)

    def refresh(self, now: Instant, *, young: bool) -> list[Effect]:
        """Build what runs anew, with the statistics held now, when that is worth it and not too soon."""
        self._held_up = False
        if not self.statistics.moved:
            return []
        if not self._may_build(now, young=young):
            self._held_up = True
            return []
        self._asked_s, self._own_token = now.mono_s, self.generations.next_token
        self.statistics.asked_for()
        return self.generations.request(self.running.digest, self.statistics.own_values(self.running.values))

    def held_up(self, now: Instant, *, young: bool) -> bool:
        """True when a `refresh` came too soon, and would not now: updates may be far apart."""
        return self._held_up and self._may_build(now, young=young)

    def _may_build(self, now: Instant, *, young: bool) -> bool:
        if self.coming is not None or self.generations.busy:
            return False
        share = min(self._config.build_share * (_YOUNG_TIMES if young else 1.0), 1.0)
        return now.mono_s >= self._ended_s + self._took_s * (1.0 / share - 1.0)

    def _build(self, wanted: Running, *, keep_previous: bool) -> list[Effect]:
        values = self.statistics.values(wanted.values, wanted.statistics)
        return self.generations.request(wanted.digest, values, keep_previous=keep_previous)

    def drop(self) -> None:
        """What was to run next is not wanted any more."""
        self.coming = None
        self.generations.cancel()

    # Answers

    def ready(self, token: int, now: Instant) -> tuple[Running | None, list[Effect]]:
        """A build ended well: (what ran until now, when this was a switch; effects)."""
        if token == self._own_token:
            self._took_s, self._ended_s = now.mono_s - self._asked_s, now.mono_s
        generation, effects = self.generations.ready(token)
        coming = self.coming
        if generation is None or coming is None or generation.patch != coming.digest:
            return None, effects
        before = Running(self.running.entry, self.statistics.current)
        self.coming, self.running = None, coming
        self.statistics.restart(coming.digest, *coming.statistics)
        return before, effects

    def failed(self, token: int) -> tuple[bool, Running | None, list[Effect]]:
        """A build failed: (whether it was still wanted, the switch that it was for, effects)."""
        generation, effects = self.generations.failed(token)
        if generation is None:
            return False, None, effects
        if self.coming is None:
            self.statistics.not_built()
        failed, self.coming = self.coming, None
        return True, failed, effects

    # Without a build

    def go_back(self) -> list[Effect]:
        """Return to what ran before the patch on trial; at once, while its sessions are warm."""
        before, self.before = self.before, None
        if before is None:
            return []
        self.running = before
        self.statistics.restart(before.digest, *before.statistics)
        effects = self.generations.revert()
        return effects or self._build(before, keep_previous=False)

    def settle(self) -> list[Effect]:
        """What is on trial is kept, or leaves for another reason: nothing is kept warm beside it."""
        self.before = None
        return self.generations.settle()

    def rename(self, renewed: Running) -> None:
        """What runs, or is to run next, goes by another name from now on; its values are the same."""
        present, entry = self.present, renewed.entry
        if self.running.digest == present.digest:
            self.running = Running(entry, self.running.statistics)
        if self.coming is not None:
            self.coming = Running(entry, self.coming.statistics)
        self.generations.rename(present.digest, renewed.digest)
        self.statistics.rename(present.digest, renewed.digest)
