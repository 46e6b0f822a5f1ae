"""A patch on trial: kept when harmless, thrown out at once when harmful, reverted when cut off."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.digest import sha256_hex
from edgeadapt.normstats import StatisticsConfig
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import OutputSection, ProbeSection, TrialSection
from edgeadapt_device.core.adapt.trial import TABLE, Candidate, Seen, Trial, TrialEvent, TrialState
from edgeadapt_device.core.effects import BuildGeneration
from edgeadapt_device.core.events import GenerationFailed, GenerationReady
from edgeadapt_device.io.outbox import MemoryOutbox
from edgeadapt_device.io.store import GenerationStore
from tests.device import rig
from tests.device.bench import Bench
from tests.device.rig import COHORT, Rig, sealed

FROZEN = rig.config(statistics=StatisticsConfig(enabled=False))


def _collapse(bundle: Bundle) -> dict[str, FloatArray]:
    """In bounds, and every frame becomes the same class."""
    base = rig.norm_values(bundle)
    return {name: value + np.float32(3.0) for name, value in base.items() if name.endswith(".bias")}


@pytest.mark.parametrize("make", [rig.harmful, _collapse])
def test_a_harmful_patch_is_reverted_and_what_ran_before_is_back_at_once(
    tiny: Bundle, make: Callable[[Bundle], dict[str, FloatArray]]
) -> None:
    device, quiet = Rig(tiny, FROZEN), Rig(tiny, FROZEN)
    device.assign()
    before = device.token
    envelope = sealed(tiny, make(tiny))
    device.publish(envelope)
    assert device.generation == sha256_hex(envelope)[:12]
    images = rig.frames(120)
    played = 0
    while device.device.view(device.now).trial == "running":
        device.play(images[played : played + 1])
        played += 1
    assert played < 60, "gross harm ends a trial before its time"
    assert device.token == before, "the sessions were kept warm: nothing is built to go back"
    assert device.generation == "base"
    quiet.play(images[:played])
    for one, other in zip(device.play(images[played:]), quiet.play(images[played:]), strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_the_reverted_outcome_carries_the_evidence_and_the_patch_is_never_taken_again(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.assign()
    envelope = sealed(tiny, rig.harmful(tiny))
    device.publish(envelope)
    device.play(rig.frames(61))
    trial, reverted = device.outcomes
    assert (trial.state, reverted.state) == ("trial", "reverted")
    assert reverted.patch == sha256_hex(envelope)
    assert reverted.frames >= 16
    assert reverted.agreement < 0.35
    assert "agree" in reverted.reason
    device.publish(envelope)
    device.assign()
    device.play(rig.frames(10))
    assert len(device.outcomes) == 2
    assert device.generation == "base"


def test_a_harmless_patch_is_confirmed_after_its_frames(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.assign()
    envelope = sealed(tiny, rig.harmless(tiny))
    device.publish(envelope)
    device.play(rig.frames(59))
    assert [o.state for o in device.outcomes] == ["trial"]
    device.play(rig.frames(2, seed=2))
    assert [o.state for o in device.outcomes] == ["trial", "confirmed"]
    assert device.outcomes[-1].agreement > 0.9
    assert device.generation == sha256_hex(envelope)[:12]
    assert device.device.core.plan().previous is None


def test_a_harmful_update_goes_back_to_the_confirmed_patch_which_stays_remembered(tiny: Bundle) -> None:
    device = Rig(tiny, rig.config(trial=TrialSection(share=1.0, settle_frames=0)))
    device.assign()
    good = sealed(tiny, rig.harmless(tiny))
    device.publish(good)
    device.play(rig.frames(200))
    device.publish(sealed(tiny, rig.harmful(tiny), serial=2))
    device.play(rig.frames(200, seed=2))
    assert [o.state for o in device.outcomes] == ["trial", "confirmed", "trial", "reverted"]
    assert device.generation == sha256_hex(good)[:12]
    entry = device.device.core.adaptation.patches.bank.get(COHORT)
    assert entry is not None
    assert (entry.patch.digest, entry.confirmed) == (sha256_hex(good), True)


def test_a_device_cut_off_in_mid_trial_starts_as_before_and_reports(tiny: Bundle, tmp_path: Path) -> None:
    store, outbox = GenerationStore(tmp_path), MemoryOutbox()
    device = Rig(tiny, store=store, outbox=outbox)
    device.assign()
    envelope = sealed(tiny, rig.harmless(tiny))
    device.publish(envelope)
    device.play(rig.frames(10))
    assert device.device.view(device.now).trial == "running"

    again = Rig(tiny, store=GenerationStore(tmp_path), outbox=outbox, start_mono_s=500.0)
    again.play(rig.frames(5))
    assert again.generation == "base"
    (outcome,) = again.outcomes
    assert (outcome.state, outcome.patch) == ("reverted", sha256_hex(envelope))
    assert "restart" in outcome.reason
    again.publish(envelope)
    again.play(rig.frames(5))
    assert len(again.outcomes) == 1
    assert again.generation == "base"

    third = Rig(tiny, store=GenerationStore(tmp_path), outbox=outbox, start_mono_s=900.0)
    third.play(rig.frames(5))
    assert third.outcomes == [], "a cut-off trial is reported once"


def test_a_clean_stop_in_mid_trial_proves_nothing_and_the_trial_begins_again(
    tiny: Bundle, tmp_path: Path
) -> None:
    outbox = MemoryOutbox()
    device = Rig(tiny, store=GenerationStore(tmp_path), outbox=outbox)
    device.assign()
    envelope = sealed(tiny, rig.harmless(tiny))
    device.publish(envelope)
    device.play(rig.frames(10))
    assert device.device.view(device.now).trial == "running"
    device.device.stop()

    again = Rig(tiny, store=GenerationStore(tmp_path), outbox=outbox, start_mono_s=500.0)
    again.sync()
    assert (again.generation, again.outcomes) == ("base", [])
    again.assign()
    again.play(rig.frames(70))
    assert [o.state for o in again.outcomes] == ["trial", "confirmed"]
    assert again.generation == sha256_hex(envelope)[:12]


def test_an_update_cut_off_in_mid_trial_goes_back_to_the_confirmed_patch(
    tiny: Bundle, tmp_path: Path
) -> None:
    device = Rig(tiny, store=GenerationStore(tmp_path))
    device.assign()
    good = sealed(tiny, rig.harmless(tiny))
    device.publish(good)
    device.play(rig.frames(70))
    device.publish(sealed(tiny, rig.harmful(tiny), serial=2))
    device.play(rig.frames(3))
    assert device.device.view(device.now).trial == "running"
    again = Rig(tiny, store=GenerationStore(tmp_path), start_mono_s=500.0)
    again.play(rig.frames(3))
    assert again.generation == sha256_hex(good)[:12]
    entry = again.device.core.adaptation.patches.bank.get(COHORT)
    assert entry is not None
    assert entry.confirmed


def test_a_device_restarted_after_the_verdict_goes_on_with_the_patch(tiny: Bundle, tmp_path: Path) -> None:
    device = Rig(tiny, FROZEN, store=GenerationStore(tmp_path))
    device.assign()
    device.publish(sealed(tiny, rig.harmless(tiny)))
    device.play(rig.frames(70))
    images = rig.frames(5, seed=4)
    expected = device.play(images)
    again = Rig(tiny, FROZEN, store=GenerationStore(tmp_path), start_mono_s=500.0)
    for one, other in zip(again.play(images), expected, strict=True):
        assert one.generation == other.generation != "base"
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert [o.state for o in again.outcomes] == ["reapplied"]


def test_a_trial_without_comparisons_is_reverted_at_its_deadline(tiny: Bundle) -> None:
    settings = rig.config(trial=TrialSection(settle_frames=0, deadline_s=30.0))
    device = Rig(tiny, settings)
    device.assign()
    device.publish(sealed(tiny, rig.harmless(tiny)))
    device.wait(29.0)
    assert device.device.view(device.now).trial == "running"
    device.wait(1.5)
    device.sync()
    assert device.outcomes[-1].state == "reverted"
    assert "too few" in device.outcomes[-1].reason


@pytest.mark.parametrize(("state", "event"), list(itertools.product(TrialState, TrialEvent)))
def test_the_table_is_all_that_may_happen(state: TrialState, event: TrialEvent) -> None:
    trial = Trial(TrialSection(), 10)
    trial.state = state
    if (state, event) in TABLE:
        trial.move(event)
        assert trial.state is TABLE[state, event]
    else:
        with pytest.raises(RuntimeError, match=f"{event.value} in state {state.value}"):
            trial.move(event)
        assert trial.state is state


def test_the_table_ends_trials_only_from_a_running_one() -> None:
    into = {event: {s for (s, e) in TABLE if e is event} for event in TrialEvent}
    assert into[TrialEvent.PASS] == {TrialState.RUNNING}
    assert into[TrialEvent.FAIL] == {TrialState.SETTLING, TrialState.RUNNING}
    assert into[TrialEvent.START] == {TrialState.IDLE, TrialState.CONFIRMED, TrialState.REVERTED}
    assert into[TrialEvent.ABANDON] == {TrialState.BUILDING, TrialState.SETTLING, TrialState.RUNNING}


def test_a_second_trial_starts_with_no_evidence_of_the_first() -> None:
    trial, now = Trial(TrialSection(), 3), Instant(0.0, 0.0)
    trial.start(Candidate("c", 1, "d1", ""), now, settles=False)
    trial.ready()
    trial.observe(Seen(np.array([9, 0, 0], np.float32)), Seen(np.array([0, 9, 0], np.float32)))
    assert (trial.evidence.frames, trial.evidence.agreement) == (1, 0.0)
    trial.move(TrialEvent.FAIL)
    trial.start(Candidate("c", 2, "d2", ""), now, settles=False)
    assert trial.evidence.frames == 0


def test_frames_that_settle_the_statistics_are_all_probed_and_count_for_nothing(tiny: Bundle) -> None:
    settings = rig.config(
        probe=ProbeSection(share=0.01, young_frames=10),
        trial=TrialSection(frames=60, share=1.0, min_compared=16, settle_frames=40),
    )
    device = Rig(tiny, settings)
    device.assign()
    device.play(rig.frames(50))
    device.publish(sealed(tiny, rig.harmless(tiny)))
    images, core = rig.frames(200, seed=2), device.device.core
    before = core.adaptation.statistics.updates
    for number in range(40):
        assert (core.adaptation.patches.trial.state, core.plan().previous) == (TrialState.SETTLING, None)
        assert core.plan().probe
        device.play(images[number : number + 1])
    trial = core.adaptation.patches.trial
    assert (trial.state, trial.frames, trial.evidence.frames) == (TrialState.RUNNING, 0, 0)
    assert core.adaptation.statistics.updates - before >= 4
    device.play(images[40:101])
    assert [o.state for o in device.outcomes] == ["trial", "confirmed"]


def test_a_model_whose_statistics_stay_has_nothing_to_settle(tiny: Bundle) -> None:
    settings = rig.config(
        statistics=StatisticsConfig(enabled=False), trial=TrialSection(share=1.0, settle_frames=40)
    )
    device = Rig(tiny, settings)
    device.assign()
    device.publish(sealed(tiny, rig.harmless(tiny)))
    device.play(rig.frames(5))
    assert device.device.core.adaptation.patches.trial.evidence.frames == 5


@pytest.mark.parametrize("end", ["deadline", "shift", "stop", "rollback"])
def test_a_trial_may_end_while_its_statistics_settle(tiny: Bundle, end: str) -> None:
    device = Rig(tiny, rig.config(trial=TrialSection(settle_frames=1000, deadline_s=30.0)))
    device.assign()
    device.play(rig.frames(60))
    device.publish(sealed(tiny, rig.harmless(tiny)))
    device.play(rig.frames(10, seed=2))
    adaptation = device.device.core.adaptation
    assert adaptation.patches.trial.state is TrialState.SETTLING
    if end == "deadline":
        device.wait(31.0)
        device.sync()
        assert device.outcomes[-1].state == "reverted"
    elif end == "shift":
        device.play(rig.frames(60, seed=3, level=0.5))
    elif end == "stop":
        device.device.stop()
    else:
        adaptation.patches.to_base("told to")
    assert not adaptation.patches.trial.active
    assert adaptation.patches.known_good.digest == ""


def test_what_a_shift_takes_off_trial_is_not_what_a_restart_runs(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.assign()
    device.publish(sealed(tiny, rig.harmless(tiny)))
    device.play(rig.frames(10))
    adaptation = device.device.core.adaptation
    assert adaptation.patches.trial.running
    # The shift's first step; the base is still to be built when the state is committed.
    adaptation.patches.abandon_trial()
    assert adaptation.patches.known_good.digest == ""


def test_the_end_of_a_trials_time_is_a_deadline_of_the_core(tiny: Bundle) -> None:
    quiet = OutputSection(metric_every_s=1e6, commit_every_s=1e6)
    device = Rig(tiny, rig.config(trial=TrialSection(deadline_s=30.0), output=quiet))
    device.assign()
    assert device.device.core.next_deadline() == 1e6
    device.publish(sealed(tiny, rig.harmless(tiny)))
    assert device.device.core.next_deadline() == device.now.mono_s + 30.0


def test_a_patch_that_cannot_be_built_is_reported_and_blocked(tiny: Bundle) -> None:
    bench, envelope = Bench(tiny), sealed(tiny, rig.harmless(tiny))
    bench.handle(GenerationReady(bench.token))
    before = bench.token
    bench.down(envelope)
    assert bench.token > before
    bench.handle(GenerationFailed(bench.token, "no memory"))
    assert bench.outcomes == [("reverted", "could not be built: no memory")]
    assert bench.core.plan().token == before, "what ran goes on running"
    failed = bench.token
    bench.down(envelope)
    assert bench.token == failed, "it is not tried again"


def test_a_patch_whose_build_ends_the_process_is_not_built_again(tiny: Bundle) -> None:
    bench, envelope = Bench(tiny), sealed(tiny, rig.harmless(tiny))
    bench.ready()
    bench.down(envelope)
    assert bench.adaptation.patches.trial.state is TrialState.BUILDING
    assert isinstance(bench.effects[-1], BuildGeneration), "it begins when all else is durable"
    again = Bench(tiny, bench.committed)
    again.ready()
    assert [state for state, _ in again.outcomes] == ["reverted"]
    last = again.token
    again.down(envelope)
    assert again.token == last
    third = Bench(tiny, again.committed)
    assert third.outcomes == [], "it is reported once"


def test_a_known_patch_that_is_assigned_once_more_is_recorded_too_before_it_is_built(tiny: Bundle) -> None:
    bench, envelope = Bench(tiny), sealed(tiny, rig.harmless(tiny))
    bench.ready()
    bench.assign()
    bench.publish(envelope)
    bench.adaptation.stop()
    bench.handle(GenerationReady(bench.token))
    before = bench.committed
    bench.assign()
    assert bench.adaptation.patches.trial.state is TrialState.BUILDING
    assert bench.committed is not before
    assert bench.committed.state.trial is not None


def test_a_clean_stop_while_a_patch_is_built_for_trial_blocks_nothing(tiny: Bundle) -> None:
    bench, envelope = Bench(tiny), sealed(tiny, rig.harmless(tiny))
    bench.ready()
    bench.down(envelope)
    again = Bench(tiny, bench.stopped)
    again.assign()
    again.ready()
    assert [state for state, _ in again.outcomes] == ["trial"]
