"""Whose word on a patch counts, and for what; and that a good patch does not run out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeadapt.errors import Refusal
from edgeadapt.patch import Patch
from edgeadapt_cloud.config import RolloutConfig
from edgeadapt_cloud.core.rollout.stages import Stage
from edgeadapt_cloud.local import LocalCloud
from tests.cloud.fleet import NOISE, DeviceDouble, at, config, feed, first_patch, local, sent

ABOUT_VALUES = {
    Refusal.UNKNOWN_SLOT,
    Refusal.WRONG_SHAPE,
    Refusal.WRONG_DTYPE,
    Refusal.NOT_FINITE,
    Refusal.OUT_OF_BOUNDS,
}
OF_THE_DEVICE = sorted(set(Refusal) - ABOUT_VALUES)


def stages(cloud: LocalCloud) -> list[Stage]:
    """Stages of the stored patches (of a service with one cohort), by serial."""
    return [row.stage for row in cloud.store.snapshot().patches]


def stable_among(*names: str) -> tuple[LocalCloud, str, Patch, list[DeviceDouble]]:
    """A stable patch of a cohort of these devices."""
    cloud, devices = local(), [DeviceDouble(name) for name in names]
    for device in devices[1:]:
        cloud.deliver(*device.signature(), at(1))
    cohort, patch = first_patch(cloud, devices[0])
    cloud.deliver(*devices[0].outcome(cohort, patch, "confirmed"), at(3))
    sent(cloud)
    return cloud, cohort, patch, devices


def test_reverts_of_devices_that_were_never_in_the_cohort_do_not_count() -> None:
    cloud, cohort, patch, _ = stable_among("a")
    for name in ("x", "y", "z"):
        stranger = DeviceDouble(name)
        cloud.deliver(*stranger.signature(NOISE), at(4))
        cloud.deliver(*stranger.outcome(cohort, patch, "reverted", "I say so"), at(5))
    assert not sent(cloud).patches
    assert stages(cloud) == [Stage.STABLE]
    assert len(cloud.store.snapshot().outcomes) == 4, "they are kept all the same"


@pytest.mark.parametrize("refusal", OF_THE_DEVICE)
def test_refusals_for_the_devices_own_reasons_withdraw_nothing(refusal: Refusal) -> None:
    cloud, cohort, patch, devices = stable_among("a", "b", "c")
    for device in devices[1:]:
        cloud.deliver(*device.outcome(cohort, patch, "refused", f"{refusal.value}: so"), at(4))
    assert not sent(cloud).patches
    assert stages(cloud) == [Stage.STABLE]


@pytest.mark.parametrize("refusal", sorted(ABOUT_VALUES))
def test_refusal_of_its_values_halts_a_patch(refusal: Refusal) -> None:
    cloud, device = local(), DeviceDouble("one")
    cohort, patch = first_patch(cloud, device)
    cloud.deliver(*device.outcome(cohort, patch, "refused", f"{refusal.value}: so"), at(3))
    assert stages(cloud)[0] is Stage.HALTED


@pytest.mark.parametrize("refusal", OF_THE_DEVICE)
def test_canary_that_cannot_take_the_patch_makes_room_for_another(refusal: Refusal) -> None:
    cloud, one, two = local(), DeviceDouble("one"), DeviceDouble("two")
    cloud.deliver(*two.signature(), at(1))
    cohort, patch = first_patch(cloud, one)
    cloud.deliver(*one.outcome(cohort, patch, "refused", f"{refusal.value}: so"), at(3))
    told = sent(cloud)
    assert (told.assigns["one"].channel, told.assigns["two"].channel) == ("stable", "canary")
    again = told.patches[cohort, "canary"]
    assert again is not None
    assert again.digest == patch.digest
    cloud.deliver(*two.outcome(cohort, patch, "confirmed"), at(4))
    assert stages(cloud) == [Stage.STABLE]


@pytest.mark.parametrize("restarted", [False, True])
def test_patch_that_nobody_can_take_waits_and_they_are_asked_again(restarted: bool) -> None:
    cloud, device = local(), DeviceDouble("one")
    cohort, patch = first_patch(cloud, device)
    cloud.deliver(*device.outcome(cohort, patch, "refused", "unknown-key: none"), at(3))
    if restarted:
        cloud.restart(at(3))
    cloud.deliver(*device.signature(), at(50))
    assert stages(cloud) == [Stage.GATED]
    assert not sent(cloud).patches
    assert cloud.core.next_deadline() == 103.0
    cloud.tick(at(103))
    assert sent(cloud).patches[cohort, "canary"] is not None
    cloud.deliver(*device.outcome(cohort, patch, "confirmed"), at(104))
    assert stages(cloud) == [Stage.STABLE]


def test_device_that_could_not_take_a_patch_is_asked_again_when_the_one_that_could_has_left() -> None:
    cloud, one, two = local(), DeviceDouble("one"), DeviceDouble("two")
    cloud.deliver(*two.signature(), at(1))
    cohort, patch = first_patch(cloud, one)
    cloud.deliver(*one.outcome(cohort, patch, "refused", "unknown-key: none"), at(3))
    cloud.deliver(*two.status(online=False), at(4))
    assert stages(cloud) == [Stage.GATED]
    cloud.tick(at(104))
    assert stages(cloud) == [Stage.CANARY]
    assert cloud.core.release.canary(cohort) == "one"


LIFETIME = config(rollout=RolloutConfig(patch_lifetime_s=900.0))


def test_stable_patch_is_issued_again_before_it_expires() -> None:
    cloud, device = local(settings=LIFETIME), DeviceDouble("one")
    cohort, patch = first_patch(cloud, device)
    cloud.deliver(*device.outcome(cohort, patch, "confirmed"), at(3))
    sent(cloud)
    cloud.tick(at(601))
    assert not sent(cloud).patches
    cloud.tick(at(603))
    renewed = sent(cloud).patches[cohort, "stable"]
    assert renewed is not None
    assert (renewed.header.serial, renewed.header.expires_s) == (2, at(603 + 900).wall_s)
    assert {name: list(value) for name, value in renewed.values.items()} == {
        name: list(value) for name, value in patch.values.items()
    }
    assert stages(cloud) == [Stage.REISSUED, Stage.STABLE]
    cloud.restart(at(604))
    cloud.tick(at(605))
    assert not sent(cloud).patches, "the new one has its whole life before it"
    cloud.rollback(cohort, at(606))
    back = sent(cloud).patches[cohort, "stable"]
    assert back is not None
    assert dict(back.values) == {}, "what went before is the base, not the same values once more"


def test_patch_is_not_renewed_while_another_is_tried() -> None:
    cloud, device = local(settings=LIFETIME), DeviceDouble("one")
    cohort, patch = first_patch(cloud, device)
    cloud.deliver(*device.outcome(cohort, patch, "confirmed"), at(3))
    feed(cloud, device, 8, at(500))
    second = sent(cloud).patches[cohort, "canary"]
    assert second is not None
    cloud.tick(at(700))
    assert stages(cloud) == [Stage.STABLE, Stage.CANARY]
    cloud.deliver(*device.outcome(cohort, second, "confirmed"), at(701))
    assert stages(cloud) == [Stage.RETIRED, Stage.STABLE]


def test_a_device_that_said_why_it_cannot_take_a_patch_is_asked_again_and_its_silence_proves_nothing() -> (
    None
):
    cloud, device = local(), DeviceDouble("a")
    cohort, patch = first_patch(cloud, device)
    cloud.deliver(*device.outcome(cohort, patch, "refused", "unknown-key: k"), at(3))
    sent(cloud)
    for second in (104, 205, 306, 407):
        cloud.tick(at(second))
    assert stages(cloud) == [Stage.GATED]
    assert all(seen is None or seen.header.serial == 1 for seen in sent(cloud).patches.values())
    cloud.tick(at(508))
    cloud.deliver(*device.outcome(cohort, patch, "confirmed"), at(509))
    assert stages(cloud) == [Stage.STABLE]


def test_a_refusal_that_comes_while_the_patch_waits_leaves_it_waiting_for_a_while_only() -> None:
    cloud, device = local(), DeviceDouble("a")
    cohort, patch = first_patch(cloud, device)
    cloud.deliver(*device.status(online=False), at(3))
    cloud.deliver(*device.outcome(cohort, patch, "refused", "expired: x"), at(4))
    cloud.deliver(*device.status(online=True, epoch=2), at(5))
    sent(cloud)
    cloud.tick(at(110))
    assert (cohort, "canary") in sent(cloud).patches


def test_a_patch_that_waits_keeps_the_stable_one_from_no_renewal() -> None:
    settings = config(rollout=RolloutConfig(canary_deadline_s=100.0, patch_lifetime_s=3000.0))
    cloud, device = local(settings=settings), DeviceDouble("a")
    cohort, patch = first_patch(cloud, device)
    cloud.deliver(*device.outcome(cohort, patch, "confirmed"), at(3))
    feed(cloud, device, 40, at(5))
    cloud.deliver(*device.status(online=False), at(6))
    for second in range(100, 5000, 100):
        cloud.tick(at(second))
    release = cloud.core.release.of(cohort)
    assert release.stable is not None
    assert release.current is not None
    assert release.current.stage is Stage.GATED
    assert min(release.stable.expires_s, release.current.expires_s) > at(5000).wall_s
    assert release.current.serial > release.stable.serial
    sent(cloud)
    cloud.deliver(*device.status(online=True, epoch=2), at(5001))
    waiting = sent(cloud).patches[cohort, "canary"]
    assert waiting is not None
    assert waiting.header.serial == release.current.serial


def test_patches_stored_without_their_expiry_are_not_issued_again_at_once(tmp_path: Path) -> None:
    cloud, device = local(folder=tmp_path), DeviceDouble("a")
    cohort, patch = first_patch(cloud, device)
    cloud.deliver(*device.outcome(cohort, patch, "confirmed"), at(3))
    (row,) = cloud.store.snapshot().patches
    cloud.core.release.restore([replace(row, expires_s=0.0)], [], at(4))
    sent(cloud)
    cloud.tick(at(5))
    assert not sent(cloud).patches
    cloud.close()


def test_the_canary_stays_one_in_an_answer_about_an_older_segment() -> None:
    cloud, device = local(), DeviceDouble("a")
    late = device.signature(segment=5)
    cloud.deliver(*device.signature(segment=6), at(1))
    feed(cloud, device, 8, at(2), segment=6)
    assert sent(cloud).assigns["a"].channel == "canary"
    cloud.deliver(*late, at(3))
    answer = sent(cloud).assigns["a"]
    assert (answer.channel, answer.segment) == ("canary", 5)
