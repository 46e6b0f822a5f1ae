"""The whole service inline: messages in as bytes, acknowledgements, assignments and patches out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeadapt.errors import ConfigError
from edgeadapt.patch import check_fit, check_fresh
from edgeadapt_cloud.core.rollout.stages import Stage
from edgeadapt_cloud.core.rows import JobRow, PatchRow
from edgeadapt_cloud.local import LocalCloud
from tests.cloud.fleet import (
    BUNDLE,
    FOG,
    GOOD,
    NOISE,
    REFUSED,
    DeviceDouble,
    FixedAdapter,
    at,
    config,
    feed,
    first_patch,
    local,
    sent,
)


def patches(cloud: LocalCloud) -> dict[int, PatchRow]:
    """Stored patches by serial (of a service with one cohort)."""
    return {row.serial: row for row in cloud.store.snapshot().patches}


def jobs(cloud: LocalCloud) -> list[JobRow]:
    """Stored jobs."""
    return list(cloud.store.snapshot().jobs)


def test_loop_from_samples_to_a_stable_patch() -> None:
    adapter = FixedAdapter()
    cloud, one, two = local(adapter), DeviceDouble("one"), DeviceDouble("two")
    cloud.deliver(*one.signature(), at(1))
    cloud.deliver(*two.signature(), at(1))
    cohort = sent(cloud).assigns["one"].cohort
    assert cohort == f"c-{BUNDLE.digest[:8]}-1"
    feed(cloud, one, 4, at(2))
    assert not adapter.requests
    feed(cloud, two, 4, at(3))
    tried = sent(cloud)
    assert tried.assigns["one"].channel == "canary"
    assert "two" not in tried.assigns
    patch = tried.patches[cohort, "canary"]
    assert patch is not None
    check_fit(patch, BUNDLE)
    check_fresh(patch, cohort=cohort, last_serial=0, wall_s=at(3).wall_s)
    assert np.array_equal(patch.values["bn.weight"], GOOD["bn.weight"])
    assert (cohort, "stable") not in tried.patches

    cloud.deliver(*one.outcome(cohort, patch, "confirmed"), at(4))
    widened = sent(cloud).patches
    stable = widened[cohort, "stable"]
    assert stable is not None
    assert stable.digest == patch.digest
    assert widened[cohort, "canary"] is None
    assert patches(cloud)[1].stage is Stage.STABLE


def test_job_gets_samples_in_order_of_arrival_pooled_statistics_and_images() -> None:
    adapter = FixedAdapter()
    cloud, one, two = local(adapter), DeviceDouble("one"), DeviceDouble("two")
    feed(cloud, one, 4, at(1))  # before its domain is known: they wait
    cloud.deliver(*one.signature(frames=100), at(1))
    cloud.deliver(*two.signature(frames=300, mean=np.array([6.0, 4.0], "<f4").tobytes()), at(1))
    feed(cloud, two, 4, at(2))
    (request,) = adapter.requests
    stored = [sample.sha256 for sample in cloud.store.snapshot().samples]
    assert list(request.sample_ids) == stored
    assert np.allclose(request.mean, [5.0, 3.0])
    between = 0.25 * 0.75 * 16  # variance between the two devices' means
    assert np.allclose(request.var, [1.0 + between, 3.0 + between])
    assert request.frames == 400
    assert request.serial == 1
    assert adapter.images[0].shape == (8, 8, 8, 1)
    assert adapter.images[0].dtype == np.uint8
    assert adapter.lanes[0] == ["adapt"] * 8


def test_what_stays_strange_is_no_lesson_but_jobs_know_of_it(tmp_path: Path) -> None:
    """Also after a restart, which has only what is stored."""
    adapter = FixedAdapter()
    cloud, device = local(adapter, tmp_path), DeviceDouble("one")
    cloud.deliver(*device.signature(), at(1))
    for changes in (
        {"lane": "audit", "chance": 0.125, "verdict": "unknown"},
        {"lane": "audit", "chance": 0.25, "verdict": "familiar"},
        {"lane": "adapt", "verdict": "unknown"},
        {"lane": "ask", "verdict": "unknown"},
    ):
        cloud.deliver(*device.sample(**changes), at(2))
    cloud.close()
    cloud = local(adapter, tmp_path)
    feed(cloud, device, 6, at(3))
    assert not adapter.requests, "seven to learn from"
    feed(cloud, device, 1, at(4))
    assert adapter.lanes[0] == ["strange", "audit"] + ["adapt"] * 7
    strange, known = adapter.requests[0].draws
    assert (strange.chance, strange.strange, strange.predicted, strange.generation) == (
        0.125,
        True,
        1,
        "base",
    )
    assert (known.chance, known.strange) == (0.25, False)
    assert known.sha256 == adapter.requests[0].sample_ids[1]
    cloud.close()


def test_jobs_know_which_pictures_were_changed_for_privacy(tmp_path: Path) -> None:
    """Also after a restart, and when one before them cannot be read."""
    adapter = FixedAdapter()
    cloud, device = local(adapter, tmp_path), DeviceDouble("one")
    cloud.deliver(*device.signature(), at(1))
    feed(cloud, device, 3, at(2))
    cloud.deliver(*device.sample(altered=True), at(3))
    first = cloud.store.snapshot().samples[0].sha256
    cloud.close()
    (tmp_path / "blobs" / first[:2] / first).unlink()
    cloud = local(adapter, tmp_path)
    feed(cloud, device, 4, at(4))
    (request,) = adapter.requests
    assert len(request.sample_ids) == 7
    assert request.altered == {2}
    cloud.close()


def test_next_job_waits_for_growth_and_gets_state_and_served_values() -> None:
    adapter = FixedAdapter()
    cloud, device = local(adapter), DeviceDouble("one")
    cohort, patch = first_patch(cloud, device)
    feed(cloud, device, 8, at(3))
    assert len(adapter.requests) == 1, "no job while a rollout is under way"
    cloud.deliver(*device.outcome(cohort, patch, "confirmed"), at(4))
    assert len(adapter.requests) == 2
    second = adapter.requests[1]
    assert (second.job, second.serial, second.state) == (2, 2, b"x")
    assert np.array_equal(second.serving["bn.bias"], GOOD["bn.bias"])
    assert len(second.sample_ids) == 16


def test_refused_gate_publishes_nothing_and_keeps_its_reasons() -> None:
    cloud, device = local(FixedAdapter(verdict=REFUSED)), DeviceDouble("one")
    cloud.deliver(*device.signature(), at(1))
    feed(cloud, device, 8, at(2))
    assert not sent(cloud).patches
    (job,) = jobs(cloud)
    assert job.state == "refused"
    assert job.evidence == REFUSED.evidence
    assert not patches(cloud)


def test_values_that_devices_would_refuse_are_never_signed() -> None:
    adapter = FixedAdapter(values={"bn.weight": np.full(2, 99.0, np.float32)})
    cloud, device = local(adapter), DeviceDouble("one")
    cloud.deliver(*device.signature(), at(1))
    feed(cloud, device, 8, at(2))
    assert not sent(cloud).patches
    (job,) = jobs(cloud)
    assert job.state == "failed"
    assert "out-of-bounds" in job.note


def test_job_that_cannot_run_is_kept_with_its_reason_and_not_tried_at_once() -> None:
    adapter = FixedAdapter(error=ConfigError("no such teacher"))
    cloud, device = local(adapter), DeviceDouble("one")
    cloud.deliver(*device.signature(), at(1))
    feed(cloud, device, 8, at(2))
    feed(cloud, device, 1, at(3))
    (job,) = jobs(cloud)
    assert job.state == "failed"
    assert "no such teacher" in job.note
    adapter.error = None
    feed(cloud, device, 8, at(4))
    assert [job.state for job in jobs(cloud)] == ["failed", "published"]


def test_two_domains_are_two_cohorts_with_their_own_serials() -> None:
    adapter = FixedAdapter()
    cloud, one, two = local(adapter), DeviceDouble("one"), DeviceDouble("two")
    cloud.deliver(*one.signature(FOG), at(1))
    cloud.deliver(*two.signature(NOISE), at(1))
    assigned = sent(cloud).assigns
    assert assigned["one"].cohort != assigned["two"].cohort
    feed(cloud, one, 8, at(2))
    feed(cloud, two, 8, at(2))
    assert [request.serial for request in adapter.requests] == [1, 1]
    assert {request.cohort for request in adapter.requests} == {row.cohort for row in assigned.values()}


def test_clean_domain_gets_no_job() -> None:
    adapter = FixedAdapter()
    cloud, device = local(adapter), DeviceDouble("one")
    cloud.deliver(*device.signature((0.0, 0.0, 0.0, 0.0)), at(1))
    feed(cloud, device, 20, at(2))
    assert not adapter.requests


def test_reverting_canary_halts_and_is_brought_back_under_a_new_serial() -> None:
    cloud, device = local(), DeviceDouble("one")
    cohort, patch = first_patch(cloud, device)
    cloud.deliver(*device.outcome(cohort, patch, "reverted", "entropy rose"), at(3))
    after = sent(cloud).patches
    back = after[cohort, "canary"]
    assert back is not None
    assert (back.header.serial, dict(back.values)) == (2, {})
    assert (cohort, "stable") not in after
    halted = patches(cloud)[1]
    assert halted.stage is Stage.HALTED
    assert "entropy rose" in halted.note


def test_halted_second_patch_goes_back_to_the_values_of_the_first() -> None:
    adapter = FixedAdapter()
    cloud, device = local(adapter), DeviceDouble("one")
    cohort, first = first_patch(cloud, device)
    cloud.deliver(*device.outcome(cohort, first, "confirmed"), at(3))
    adapter.values = {"bn.weight": np.full(2, 3.0, np.float32)}
    feed(cloud, device, 8, at(4))
    second = sent(cloud).patches[cohort, "canary"]
    assert second is not None
    cloud.deliver(*device.outcome(cohort, second, "reverted"), at(5))
    back = sent(cloud).patches[cohort, "canary"]
    assert back is not None
    assert back.header.serial == 3
    assert np.array_equal(back.values["bn.weight"], GOOD["bn.weight"])
    assert np.array_equal(cloud.core.release.serving(cohort)["bn.weight"], GOOD["bn.weight"])


def test_silent_canary_is_halted_at_its_deadline() -> None:
    cloud, device = local(), DeviceDouble("one")
    cohort, _ = first_patch(cloud, device)
    due = cloud.core.next_deadline()
    assert due == 102.0
    cloud.tick(at(101.9))
    assert patches(cloud)[1].stage is Stage.CANARY
    cloud.tick(at(102.0))
    assert patches(cloud)[1].stage is Stage.HALTED
    assert sent(cloud).patches[cohort, "canary"] is not None


def test_canary_that_moves_on_hands_the_trial_to_another_device() -> None:
    cloud, one, two = local(), DeviceDouble("one"), DeviceDouble("two")
    cloud.deliver(*two.signature(), at(1))
    cloud.deliver(*two.status(online=False), at(1))
    cohort, patch = first_patch(cloud, one)
    cloud.deliver(*one.signature(NOISE, segment=2), at(3))
    assert patches(cloud)[1].stage is Stage.GATED
    sent(cloud)
    cloud.deliver(*two.status(online=True, epoch=2), at(4))
    now = sent(cloud)
    assert now.assigns["two"].channel == "canary"
    again = now.patches[cohort, "canary"]
    assert again is not None
    assert again.digest == patch.digest
    # The first canary's domain returned meanwhile and its late verdict still counts.
    cloud.deliver(*one.outcome(cohort, patch, "confirmed"), at(5))
    assert patches(cloud)[1].stage is Stage.STABLE


def test_offline_canary_is_not_blamed_for_its_silence() -> None:
    cloud, device = local(), DeviceDouble("one")
    cohort, patch = first_patch(cloud, device)
    cloud.deliver(*device.status(online=False), at(3))
    cloud.tick(at(500))
    assert patches(cloud)[1].stage is Stage.GATED
    sent(cloud)
    cloud.deliver(*device.status(online=True, epoch=2), at(501))
    back = sent(cloud).patches[cohort, "canary"]
    assert back is not None
    assert back.digest == patch.digest


def test_canary_that_goes_offline_hands_the_trial_to_another_device_at_once() -> None:
    cloud, one, two = local(), DeviceDouble("one"), DeviceDouble("two")
    cloud.deliver(*two.signature(), at(1))
    cohort, patch = first_patch(cloud, one)
    cloud.deliver(*one.status(online=False), at(3))
    told = sent(cloud)
    assert told.assigns["two"].channel == "canary"
    again = told.patches[cohort, "canary"]
    assert again is not None
    assert again.digest == patch.digest
    assert patches(cloud)[1].canary == "two"
    assert cloud.core.next_deadline() == 103.0


def test_wide_reverts_withdraw_a_stable_patch() -> None:
    cloud = local()
    devices = [DeviceDouble(name) for name in ("a", "b", "c")]
    for device in devices[1:]:
        cloud.deliver(*device.signature(), at(1))
    cohort, patch = first_patch(cloud, devices[0])
    cloud.deliver(*devices[0].outcome(cohort, patch, "confirmed"), at(3))
    sent(cloud)
    cloud.deliver(*devices[1].outcome(cohort, patch, "reverted"), at(4))
    assert not sent(cloud).patches, "one of two is not many"
    cloud.deliver(*devices[2].outcome(cohort, patch, "reverted"), at(4))
    back = sent(cloud).patches[cohort, "stable"]
    assert back is not None
    assert (back.header.serial, dict(back.values)) == (2, {})
    assert patches(cloud)[1].stage is Stage.HALTED


def test_operator_rolls_back_to_the_previous_patch_and_to_the_base() -> None:
    adapter = FixedAdapter()
    cloud, device = local(adapter), DeviceDouble("one")
    cohort, first = first_patch(cloud, device)
    cloud.deliver(*device.outcome(cohort, first, "confirmed"), at(3))
    adapter.values = {"bn.weight": np.full(2, 3.0, np.float32)}
    feed(cloud, device, 8, at(4))
    second = sent(cloud).patches[cohort, "canary"]
    assert second is not None
    cloud.deliver(*device.outcome(cohort, second, "confirmed"), at(5))
    sent(cloud)
    cloud.rollback(cohort, at(6))
    back = sent(cloud).patches[cohort, "stable"]
    assert back is not None
    assert back.header.serial == 3
    assert np.array_equal(back.values["bn.weight"], GOOD["bn.weight"])
    cloud.rollback(cohort, at(7), to_base=True)
    base = sent(cloud).patches[cohort, "stable"]
    assert base is not None
    assert (base.header.serial, dict(base.values)) == (4, {})


def test_without_canaries_a_patch_goes_to_all_at_once() -> None:
    settings = config(rollout=config().rollout.__class__(canary=False))
    cloud, device = local(settings=settings), DeviceDouble("one")
    cloud.deliver(*device.signature(), at(1))
    feed(cloud, device, 8, at(2))
    published = sent(cloud)
    assert [channel for _, channel in published.patches if published.patches[_, channel]] == ["stable"]
    assert published.assigns["one"].channel == "stable"


def test_restart_goes_on_with_the_same_decisions(tmp_path: Path) -> None:
    adapter = FixedAdapter()
    cloud, device = local(adapter, tmp_path), DeviceDouble("one")
    cohort, patch = first_patch(cloud, device)
    cloud.close()

    cloud = local(adapter, tmp_path)
    cloud.connected(at(10))
    again = sent(cloud)
    held = again.patches[cohort, "canary"]
    assert held is not None
    assert held.digest == patch.digest
    assert again.assigns["one"].channel == "canary"
    cloud.deliver(*device.outcome(cohort, patch, "confirmed"), at(11))
    stable = sent(cloud).patches[cohort, "stable"]
    assert stable is not None
    assert stable.digest == patch.digest
    cloud.close()

    cloud = local(adapter, tmp_path)
    feed(cloud, device, 8, at(20))
    assert (adapter.requests[-1].job, adapter.requests[-1].serial) == (2, 2)
    assert adapter.requests[-1].state == b"x"
    cloud.deliver(*DeviceDouble("new").signature(NOISE), at(21))
    assert sent(cloud).assigns["new"].cohort == f"c-{BUNDLE.digest[:8]}-2"
    cloud.close()
