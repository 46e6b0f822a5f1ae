"""A service that is killed between any two messages decides as one that was never stopped."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeadapt.clock import Instant
from edgeadapt.patch import Patch
from edgeadapt_cloud.config import StrategySection
from edgeadapt_cloud.core.rollout.stages import Stage
from edgeadapt_cloud.core.rows import Snapshot
from edgeadapt_cloud.local import LocalCloud
from tests.cloud.fleet import (
    FOG,
    NOISE,
    DeviceDouble,
    FixedAdapter,
    OutcomeState,
    Sent,
    at,
    config,
    feed,
    first_patch,
    local,
    sent,
)

STATES: tuple[OutcomeState, ...] = ("trial", "confirmed", "reverted", "refused", "reapplied")


def essence(published: Sent) -> tuple[object, ...]:
    """What was published, in a form that can be compared."""
    patches = {where: patch.digest if patch else None for where, patch in published.patches.items()}
    return published.acks, published.assigns, patches


class Script:
    """A reproducible course of events; the devices answer to the patches that they were sent."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._devices = [DeviceDouble(name) for name in ("a", "b", "c")]
        self._segment = {"a": 1, "b": 1, "c": 1}
        self._patches: list[tuple[str, Patch]] = []

    def next(self) -> tuple[str, bytes]:
        """The next message."""
        device = self._random.choice(self._devices)
        action = self._random.choices(
            [self._sample, self._signature, self._status, self._outcome], [12, 3, 1, 4]
        )[0]
        return action(device)

    def saw(self, published: Sent) -> None:
        """Remember patches, to judge them later."""
        self._patches += [(where[0], patch) for where, patch in published.patches.items() if patch]

    def _sample(self, device: DeviceDouble) -> tuple[str, bytes]:
        return device.sample(self._segment[device.name])

    def _signature(self, device: DeviceDouble) -> tuple[str, bytes]:
        if self._random.random() < 0.3:
            self._segment[device.name] += 1
        # Even segments are noise, odd ones are fog, on every device.
        segment = self._segment[device.name]
        return device.signature(NOISE if segment % 2 == 0 else FOG, segment)

    def _status(self, device: DeviceDouble) -> tuple[str, bytes]:
        return device.status(online=self._random.random() < 0.7)

    def _outcome(self, device: DeviceDouble) -> tuple[str, bytes]:
        if not self._patches:
            return self._sample(device)
        cohort, patch = self._random.choice(self._patches[-3:])
        return device.outcome(cohort, patch, self._random.choices(STATES, [1, 6, 3, 1, 1])[0], "test")


def played(
    seed: int, steps: int, step: Callable[[LocalCloud, Instant], LocalCloud], folder: Path | None = None
) -> list[object]:
    """Play a script; `step` may restart the service after every message."""
    cloud, script, seen = local(FixedAdapter(), folder), Script(seed), list[object]()
    for number in range(steps):
        now = at(number * 0.01)
        cloud.deliver(*script.next(), now)
        published = sent(cloud)
        script.saw(published)
        seen.append(essence(published))
        cloud = step(cloud, now)
    cloud.close()
    return seen


@pytest.mark.parametrize("seed", range(16))
def test_restarts_change_no_decision(seed: int) -> None:
    chance = random.Random(seed)

    def restarted(cloud: LocalCloud, now: Instant) -> LocalCloud:
        if chance.random() < 0.2:
            cloud.restart(now)
        return cloud

    assert played(seed, 200, lambda cloud, now: cloud) == played(seed, 200, restarted)


def test_reopened_database_changes_no_decision(tmp_path: Path) -> None:
    def reopened(cloud: LocalCloud, now: Instant) -> LocalCloud:
        cloud.close()
        return local(FixedAdapter(), tmp_path)

    assert played(3, 50, lambda cloud, now: cloud) == played(3, 50, reopened, tmp_path)


@pytest.mark.parametrize("seed", range(6))
def test_invariants_hold_whatever_devices_say(seed: int) -> None:
    cloud, script = local(), Script(seed)
    serials: dict[tuple[str, str], int] = {}
    for number in range(300):
        cloud.deliver(*script.next(), at(number))
        published = sent(cloud)
        script.saw(published)
        for where, patch in published.patches.items():
            if patch is not None:
                assert patch.header.serial >= serials.get(where, 0), "serials never fall on a channel"
                serials[where] = patch.header.serial
        if number % 10 == 0:
            check(cloud.store.snapshot())


def test_way_back_of_a_halted_canary_is_still_held_after_a_restart() -> None:
    cloud, device = local(), DeviceDouble("one")
    cohort, patch = first_patch(cloud, device)
    cloud.deliver(*device.outcome(cohort, patch, "reverted"), at(3))
    back = sent(cloud).patches[cohort, "canary"]
    assert back is not None
    cloud.restart(at(4))
    cloud.connected(at(5))
    held = sent(cloud)
    again = held.patches[cohort, "canary"]
    assert again is not None
    assert again.digest == back.digest
    assert held.assigns["one"].channel == "canary", "or the device would not hear of it"
    cloud.deliver(*device.signature(), at(6))
    assert not sent(cloud).assigns


def test_way_back_is_held_while_the_next_patch_waits_for_a_canary() -> None:
    cloud, device = local(), DeviceDouble("one")
    cohort, patch = first_patch(cloud, device)
    cloud.deliver(*device.outcome(cohort, patch, "reverted"), at(3))
    back = sent(cloud).patches[cohort, "canary"]
    assert back is not None
    cloud.deliver(*device.status(online=False), at(4))
    feed(cloud, device, 8, at(5))
    assert cloud.store.snapshot().patches[-1].stage is Stage.GATED
    cloud.restart(at(6))
    cloud.connected(at(7))
    again = sent(cloud).patches[cohort, "canary"]
    assert again is not None
    assert again.digest == back.digest


def test_canary_under_way_has_its_whole_time_again_after_a_restart() -> None:
    cloud, device = local(), DeviceDouble("one")
    first_patch(cloud, device)
    cloud.restart(at(50))
    assert cloud.core.next_deadline() == 150.0
    cloud.tick(at(149))
    assert not sent(cloud).patches
    cloud.tick(at(150))
    assert [row.stage for row in cloud.store.snapshot().patches] == [Stage.HALTED, Stage.REISSUED]


def test_state_of_one_strategy_is_not_handed_to_another(tmp_path: Path) -> None:
    adapter = FixedAdapter()
    cloud, device = local(adapter, tmp_path), DeviceDouble("one")
    cohort, patch = first_patch(cloud, device)
    cloud.deliver(*device.outcome(cohort, patch, "confirmed"), at(3))
    cloud.close()
    for number, (name, state) in enumerate([("other", b""), ("other", b"x"), ("anchored", b"")]):
        cloud = local(adapter, tmp_path, config(strategy=StrategySection(name=name)))
        feed(cloud, device, 8 << number, at(4 + number))
        cloud.deliver(*device.outcome(cohort, newest(cloud), "confirmed"), at(4 + number))
        assert (adapter.requests[-1].job, adapter.requests[-1].state) == (number + 2, state)
        cloud.close()


def newest(cloud: LocalCloud) -> Patch:
    """The patch that was published last."""
    (patch,) = (patch for patch in sent(cloud).patches.values() if patch is not None)
    return patch


def check(saved: Snapshot) -> None:
    """At most one stable patch and one rollout under way per cohort; the store knows every serial."""
    for cohort in saved.cohorts:
        mine = [patch for patch in saved.patches if patch.cohort == cohort.cohort]
        stages = [patch.stage for patch in mine]
        assert stages.count(Stage.STABLE) <= 1
        assert stages.count(Stage.GATED) + stages.count(Stage.CANARY) <= 1
        assert Stage.CONFIRMED not in stages
        assert [patch.serial for patch in mine] == list(range(1, cohort.serial + 1))
