"""Brings patches to a cohort: chooses the canary, judges outcomes, widens, halts, reverts, renews.

A patch is sealed once and the same bytes go to the canary and then to all: the device that tried it
recognises it. Serials only rise; going back is a new serial that carries older values, or none (the
base bundle). The stable channel always holds the last good patch, issued again before it expires. A
canary's own outcome, or its deadline, ends its trial; one that is gone or cannot take the patch makes
room for another. Not here: the table of stages (`rollout.stages`), signing (`rollout.sealing`), jobs, MQTT.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import Channel, Outcome
from edgeadapt.wire.topics import patch as patch_topic
from edgeadapt_cloud.config import RolloutConfig
from edgeadapt_cloud.core.effects import Effect, Note, Publish, Save
from edgeadapt_cloud.core.rollout.sealing import Sealer, expiring
from edgeadapt_cloud.core.rollout.stages import UNSETTLED, Signal, Stage, advance
from edgeadapt_cloud.core.rollout.standing import CohortRelease, Draft
from edgeadapt_cloud.core.rows import CohortRow, OutcomeRow, PatchRow


class Release:
    """Rollouts of all cohorts."""

    def __init__(self, fleet: str, config: RolloutConfig, bundle: Bundle, key: Ed25519PrivateKey) -> None:
        self._fleet = fleet
        self.config = config
        self._sealer = Sealer(bundle, key, config.patch_lifetime_s)
        self.cohorts: dict[str, CohortRelease] = {}

    def restore(self, rows: Iterable[PatchRow], outcomes: Iterable[OutcomeRow], now: Instant) -> None:
        """Take up where the store left off; a canary under way gets its whole deadline again."""
        for row in sorted(rows, key=lambda row: row.serial):
            if not row.expires_s:  # stored by a release that did not write it down
                row = replace(row, expires_s=row.created_s + self.config.patch_lifetime_s)
            state = self.of(row.cohort)
            state.listener = row.canary or state.listener
            if row.canary or row.stage is not Stage.GATED:  # a patch that waits has replaced nothing yet
                state.recall = row if row.stage is Stage.REISSUED and row.canary else None
            if row.stage in UNSETTLED:
                state.current = row
                if row.stage is Stage.CANARY:
                    state.deadline_mono_s = now.mono_s + self.config.canary_deadline_s
            elif row.stage is Stage.STABLE:
                state.stable = row
            elif row.stage is Stage.RETIRED:
                state.retired.append(row)
        for told in outcomes:
            self.of(told.outcome.cohort).heed(told.origin.device, told.outcome)
        for state in self.cohorts.values():
            if state.current is not None and state.current.stage is Stage.GATED:
                self._await(state, now)

    def of(self, cohort: str) -> CohortRelease:
        """The cohort's release state."""
        return self.cohorts.setdefault(cohort, CohortRelease())

    def busy(self, cohort: str) -> bool:
        """True while a rollout of the cohort is under way."""
        return self.of(cohort).current is not None

    def serving(self, cohort: str) -> Mapping[str, FloatArray]:
        """Values on the cohort's stable channel; empty means the base bundle."""
        stable = self.of(cohort).stable
        return stable.values if stable is not None else {}

    def canary(self, cohort: str) -> str:
        """The device that is trying a patch, or ""."""
        current = self.of(cohort).current
        return current.canary if current is not None and current.stage is Stage.CANARY else ""

    def next_deadline(self) -> float | None:
        """The earliest canary deadline."""
        due = [state.deadline_mono_s for state in self.cohorts.values() if state.deadline_mono_s is not None]
        return min(due, default=None)

    def seal(self, cohort: CohortRow, draft: Draft, now: Instant) -> tuple[CohortRow, PatchRow]:
        """As `Sealer.seal`."""
        return self._sealer.seal(cohort, draft, now)

    def begin(self, patch: PatchRow, devices: Iterable[str], now: Instant) -> list[Effect]:
        """Start the rollout of a freshly sealed patch; `devices` are in the cohort now."""
        state = self.of(patch.cohort)
        state.current = patch
        effects: list[Effect] = [Save(patch)]
        if not self.config.canary:
            return effects + self._confirm(state, Signal.UNTRIED, "canaries are off")
        return effects + self.offer(patch.cohort, devices, now)

    def offer(self, cohort: str, devices: Iterable[str], now: Instant) -> list[Effect]:
        """Send a waiting patch to a canary: one that already had it when there is one, else the first."""
        state = self.of(cohort)
        if state.current is None or state.current.stage is not Stage.GATED:
            return []
        names = sorted(name for name in devices if (state.current.digest, name) not in state.unable)
        if not names:
            return []
        name = next((name for name in names if name in state.current.tried_by), names[0])
        state.listener, state.recall = name, None
        state.deadline_mono_s = now.mono_s + self.config.canary_deadline_s
        row = self._move(state, Signal.SENT, canary=name)
        return [
            Save(row),
            self._publish(row, "canary"),
            Note(f"{cohort}: serial {row.serial} to canary {name}"),
        ]

    def silent(self, cohort: CohortRow, now: Instant) -> list[Effect]:
        """The canary's time is up: evidence against the patch, unless it has said that it cannot take it."""
        state, device = self.of(cohort.cohort), self.canary(cohort.cohort)
        if state.current is not None and (state.current.digest, device) in state.declined:
            state.unable.add((state.current.digest, device))
            return self.left(cohort.cohort, now)
        reason = f"canary {device} said nothing for {self.config.canary_deadline_s:.0f} s"
        return self.halt(cohort, Signal.OVERDUE, reason, now)

    def left(self, cohort: str, now: Instant) -> list[Effect]:
        """The canary is gone: the patch waits for another, or for its return."""
        state = self.of(cohort)
        row = self._move(state, Signal.LEFT)
        self._await(state, now)
        return [Save(row)]

    def ask_again(self, cohort: str) -> None:
        """The devices that could not take the waiting patch may have been repaired meanwhile."""
        state = self.of(cohort)
        state.unable, state.deadline_mono_s = set(), None

    def outcome(
        self, device: str, outcome: Outcome, cohort: CohortRow, inside: Set[str], now: Instant
    ) -> list[Effect]:
        """What a device made of a patch; counts only if it concerns the current or the stable one.

        The current patch is judged by the devices that were chosen to try it, the stable one by the
        devices `inside` the cohort: those that have a segment in it.
        """
        state = self.of(cohort.cohort)
        current, good = state.current, state.heed(device, outcome)
        if good is None:
            return self._unable(state, device, outcome, now)
        if current is not None and outcome.patch == current.digest and device in current.tried_by:
            if good:
                return self._confirm(state, Signal.CONFIRMED, f"confirmed by {device}")
            return self.halt(cohort, Signal.REVERTED, f"{outcome.state} by {device}: {outcome.reason}", now)
        if state.stable is not None and outcome.patch == state.stable.digest:
            return self._judge_stable(state, cohort, inside, now)
        return []

    def overdue(self, now: Instant) -> list[str]:
        """Cohorts whose canary's time is up."""
        return [
            name
            for name, state in self.cohorts.items()
            if state.deadline_mono_s is not None and now.mono_s >= state.deadline_mono_s
        ]

    def halt(self, cohort: CohortRow, signal: Signal, reason: str, now: Instant) -> list[Effect]:
        """End the current rollout; the canary channel gets the last good values under a new serial."""
        state = self.of(cohort.cohort)
        halted = self._move(state, signal, note=reason)
        state.current, state.deadline_mono_s, state.declined = None, None, set()
        cohort, good = self._sealer.restore(
            cohort, state.stable, f"after serial {halted.serial} was halted", now
        )
        # Everybody else already runs these values: only the canary has to be brought back.
        stage = advance(good.stage, Signal.RECALLED)
        state.recall = replace(good, stage=stage, canary=halted.canary)
        return [
            Save(halted),
            Save(cohort),
            Save(state.recall),
            self._publish(state.recall, "canary"),
            Note(f"{cohort.cohort}: serial {halted.serial} halted, {reason}"),
        ]

    def withdraw(self, cohort: CohortRow, reason: str, now: Instant, *, to_base: bool) -> list[Effect]:
        """Put the previous values, or the base bundle, on the stable channel under a new serial."""
        state = self.of(cohort.cohort)
        effects: list[Effect] = []
        if state.current is not None:
            effects.append(Save(self._move(state, Signal.WITHDRAWN, note=reason)))
            state.current, state.deadline_mono_s = None, None
        if state.stable is not None:
            stage = advance(state.stable.stage, Signal.WITHDRAWN)
            effects.append(Save(replace(state.stable, stage=stage, note=reason)))
            state.stable = None
        source = state.retired.pop() if state.retired and not to_base else None
        cohort, patch = self._sealer.restore(cohort, source, reason, now)
        if source is not None:
            effects.append(Save(replace(source, stage=advance(source.stage, Signal.RECALLED))))
        state.current = patch
        return [*effects, Save(cohort), *self._confirm(state, Signal.UNTRIED, patch.note)]

    def renew(self, cohort: CohortRow, now: Instant) -> list[Effect]:
        """Issue the stable patch again before it expires; not while a canary may soon replace it.

        A patch that waits for a canary is put aside meanwhile, and gets a serial above the new one.
        """
        state = self.of(cohort.cohort)
        stable, waiting = state.stable, state.current
        if waiting is not None and waiting.stage is Stage.GATED:
            due = stable if stable is not None and expiring(stable, now) else waiting
            return self._renew_both(state, cohort, waiting, now) if expiring(due, now) else []
        if stable is None or waiting is not None or not expiring(stable, now):
            return []
        return self._renew_stable(state, cohort, stable, now)

    def _renew_stable(
        self, state: CohortRelease, cohort: CohortRow, stable: PatchRow, now: Instant
    ) -> list[Effect]:
        cohort, state.current = self._sealer.renew(cohort, stable, now)
        state.stable = None
        old = replace(stable, stage=advance(stable.stage, Signal.RECALLED))
        return [Save(old), Save(cohort), *self._confirm(state, Signal.UNTRIED, state.current.note)]

    def _renew_both(
        self, state: CohortRelease, cohort: CohortRow, waiting: PatchRow, now: Instant
    ) -> list[Effect]:
        effects: list[Effect] = []
        state.current = None
        if state.stable is not None:
            effects += self._renew_stable(state, cohort, state.stable, now)
            cohort = replace(cohort, serial=state.stable.serial)
        cohort, again = self._sealer.renew(cohort, waiting, now)
        # Without a canary: an old row that names one would be taken for that canary's way back.
        old = replace(waiting, stage=advance(waiting.stage, Signal.RECALLED), canary="")
        state.current = again
        return [*effects, Save(old), Save(cohort), Save(again)]

    def retained(self, cohort: str) -> list[Publish]:
        """What the broker should hold for the cohort."""
        state = self.of(cohort)
        held = [self._publish(state.stable, "stable")] if state.stable is not None else []
        trying = state.current if state.current is not None and state.current.stage is Stage.CANARY else None
        on_canary = trying or state.recall
        if on_canary is not None:
            held.append(self._publish(on_canary, "canary"))
        return held

    def _confirm(self, state: CohortRelease, signal: Signal, note: str) -> list[Effect]:
        self._move(state, signal, note=note)
        row = self._move(state, Signal.PUBLISHED)
        effects: list[Effect] = [Save(row), self._publish(row, "stable"), self._clear_canary(row.cohort)]
        if state.stable is not None:
            stage = advance(state.stable.stage, Signal.SUPERSEDED)
            state.retired.append(replace(state.stable, stage=stage))
            effects.append(Save(state.retired[-1]))
        state.settle(row)
        return [*effects, Note(f"{row.cohort}: serial {row.serial} is stable, {note}")]

    def _unable(self, state: CohortRelease, device: str, outcome: Outcome, now: Instant) -> list[Effect]:
        if (outcome.patch, device) not in state.unable or outcome.state != "refused":
            return []
        note = f"{outcome.cohort}: serial {outcome.serial} refused by {device}: {outcome.reason}"
        effects: list[Effect] = [Note(note)]
        current = state.current
        if current is not None and current.digest == outcome.patch and self.canary(current.cohort) == device:
            effects += self.left(current.cohort, now)
        elif state.refused() and state.deadline_mono_s is None:
            self._await(state, now)
        return effects

    def _await(self, state: CohortRelease, now: Instant) -> None:
        """A patch waits; the devices that could not take it are asked again later."""
        asked_again_s = now.mono_s + self.config.canary_deadline_s
        state.deadline_mono_s = asked_again_s if state.refused() else None

    def _judge_stable(
        self, state: CohortRelease, cohort: CohortRow, inside: Set[str], now: Instant
    ) -> list[Effect]:
        if state.stable is None or not state.stable.values:
            return []
        judgements = state.judgements(inside)
        reverted = judgements.count(False)
        if reverted < max(1, self.config.min_reverted):
            return []
        if reverted / len(judgements) <= self.config.max_reverted_share:
            return []
        reason = f"{reverted} of {len(judgements)} devices reverted it"
        return self.withdraw(cohort, reason, now, to_base=False)

    def _move(
        self, state: CohortRelease, signal: Signal, *, canary: str | None = None, note: str | None = None
    ) -> PatchRow:
        row = state.current
        assert row is not None
        tried_by = row.tried_by if canary is None or canary in row.tried_by else (*row.tried_by, canary)
        state.current = replace(
            row,
            stage=advance(row.stage, signal),
            canary=row.canary if canary is None else canary,
            tried_by=tried_by,
            note=row.note if note is None else note,
        )
        return state.current

    def _publish(self, row: PatchRow, channel: Channel) -> Publish:
        return Publish(patch_topic(self._fleet, row.cohort, channel), row.sealed, retain=True)

    def _clear_canary(self, cohort: str) -> Publish:
        return Publish(patch_topic(self._fleet, cohort, "canary"), b"", retain=True)
