"""Before the first session is built: what arrives meanwhile, and what runs when it cannot be built."""

from __future__ import annotations

import numpy as np

from edgeadapt.bundle import Bundle
from edgeadapt.digest import sha256_hex
from edgeadapt_device.core.adapt.trial import TrialState
from edgeadapt_device.core.effects import CommitState
from edgeadapt_device.core.events import GenerationFailed, GenerationReady
from tests.device import rig
from tests.device.bench import Bench
from tests.device.rig import Rig, sealed


def test_a_patch_that_cannot_be_built_at_the_start_gives_way_to_the_base(tiny: Bundle) -> None:
    device, envelope = Rig(tiny), sealed(tiny, rig.harmless(tiny))
    device.assign()
    device.publish(envelope)
    device.play(rig.frames(70))
    commit = device.device.core.commit()
    assert isinstance(commit, CommitState)
    assert commit.state.patch == sha256_hex(envelope)
    bench = Bench(tiny, commit)
    first = bench.token
    bench.handle(GenerationFailed(first, "no memory"))
    assert bench.token == first + 1
    assert not bench.core.ready
    bench.handle(GenerationReady(bench.token))
    assert bench.core.view(bench.now).generation == "base"
    last = bench.core.commit()
    assert isinstance(last, CommitState)
    assert last.state.patch == ""
    assert sha256_hex(envelope) in last.state.blocked


def update(bundle: Bundle, serial: int = 2) -> bytes:
    """Another harmless patch."""
    return sealed(bundle, {"norm2.bias": bundle.base_slots()["norm2.bias"] + np.float32(0.03)}, serial=serial)


def confirmed(bundle: Bundle) -> tuple[Bench, bytes]:
    """A device that confirmed its first patch."""
    bench, envelope = Bench(bundle), sealed(bundle, rig.harmless(bundle))
    bench.ready()
    bench.down(envelope)
    bench.ready()
    bench.play(200)
    assert bench.adaptation.patches.trial.state is TrialState.CONFIRMED
    return bench, envelope


def test_a_patch_that_comes_before_the_first_session_is_compared_with_it(tiny: Bundle) -> None:
    bench = Bench(tiny)
    first = bench.token
    bench.down(sealed(tiny, rig.harmless(tiny)))
    assert bench.token == first, "what would be compared with it is built first"
    bench.ready()
    assert bench.adaptation.patches.trial.running
    assert {bench.core.plan().previous for _ in range(100)} == {first}
    bench.play(200)
    assert [state for state, _ in bench.outcomes] == ["trial", "confirmed"]


def test_after_a_stop_in_mid_trial_the_trial_begins_again_though_the_answer_is_early(tiny: Bundle) -> None:
    before = Bench(tiny)
    before.ready()
    before.down(sealed(tiny, rig.harmless(tiny)))
    before.ready()
    before.play(10)
    assert before.adaptation.patches.trial.running
    again = Bench(tiny, before.stopped)
    again.assign()
    again.ready()
    again.play(200)
    assert [state for state, _ in again.outcomes] == ["trial", "confirmed"]


def test_what_waits_for_the_first_session_gives_way_to_the_clouds_newer_word(tiny: Bundle) -> None:
    bench = Bench(tiny)
    bench.down(sealed(tiny, rig.harmless(tiny)))
    bench.publish(sealed(tiny, {}, serial=2))
    bench.ready()
    assert {state for state, _ in bench.outcomes} == {"confirmed"}
    assert not bench.adaptation.switching.running.values


def test_an_update_at_the_start_goes_on_trial_against_what_ran_before(tiny: Bundle) -> None:
    before, first = confirmed(tiny)
    bench = Bench(tiny, before.stopped)
    bench.down(sealed(tiny, rig.harmful(tiny), serial=2))
    bench.ready()
    assert bench.adaptation.patches.trial.running
    assert bench.committed.state.trial is not None
    assert bench.committed.state.patch == sha256_hex(first)


def test_an_update_at_the_start_that_cannot_be_built_leaves_what_ran_before(tiny: Bundle) -> None:
    before, first = confirmed(tiny)
    bench = Bench(tiny, before.stopped)
    bench.down(update(tiny))
    bench.handle(GenerationReady(bench.token))
    bench.handle(GenerationFailed(bench.token, "no memory"))
    bench.ready()
    assert bench.core.view(bench.now).generation == sha256_hex(first)[:12]


def test_when_the_clouds_base_cannot_be_built_at_the_start_what_ran_before_is_next(tiny: Bundle) -> None:
    before, first = confirmed(tiny)
    bench = Bench(tiny, before.stopped)
    bench.down(sealed(tiny, {}, serial=2))
    bench.handle(GenerationReady(bench.token))
    assert not bench.core.ready, "the base was asked for meanwhile"
    bench.handle(GenerationFailed(bench.token, "no memory"))
    bench.ready()
    assert bench.core.view(bench.now).generation == sha256_hex(first)[:12]


def test_before_the_first_session_a_device_names_the_generation_that_it_comes_back_with(tiny: Bundle) -> None:
    before, envelope = confirmed(tiny)
    commit = before.core.commit()
    assert isinstance(commit, CommitState)
    after = Bench(tiny, commit)
    assert not after.core.ready
    assert after.core.view(after.now).generation == sha256_hex(envelope)[:12]
