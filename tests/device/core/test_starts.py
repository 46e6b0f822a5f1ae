"""Three starts that come to nothing, and the base runs: what ran before is not tried a fourth time."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.digest import sha256_hex
from edgeadapt_device.core.adapt.trial import TrialState
from edgeadapt_device.core.effects import BuildGeneration, CommitState, CountStarts, Effect, Log
from tests.device import rig
from tests.device.bench import Bench
from tests.device.rig import sealed


def counted(effects: list[Effect]) -> list[int]:
    return [effect.failed for effect in effects if isinstance(effect, CountStarts)]


def confirmed(bundle: Bundle) -> tuple[CommitState, bytes]:
    """What a device that confirmed a patch leaves on its disk, with statistics of its own."""
    bench, envelope = Bench(bundle), sealed(bundle, rig.harmless(bundle))
    bench.ready()
    bench.down(envelope)
    bench.ready()
    bench.play(200)
    assert bench.adaptation.patches.trial.state is TrialState.CONFIRMED
    moved = bundle.calibration.norm_mean + np.float32(0.1)
    bench.adaptation.statistics.restart(sha256_hex(envelope), moved, bundle.calibration.norm_var)
    commit = bench.core.commit()
    assert isinstance(commit, CommitState)
    assert commit.state.patch == sha256_hex(envelope)
    return commit, envelope


def test_a_start_is_counted_and_committed_before_its_session_is_built(tiny: Bundle) -> None:
    commit, envelope = confirmed(tiny)
    bench = Bench(tiny, commit, failed_starts=1)
    kinds = [type(effect) for effect in bench.effects]
    assert kinds.index(CountStarts) < kinds.index(CommitState) < kinds.index(BuildGeneration)
    assert kinds[-1] is BuildGeneration
    assert counted(bench.effects) == [2]
    assert bench.core.view(bench.now).generation == sha256_hex(envelope)[:12], "two do not prove it"
    assert bench.core.view(bench.now).recovered == ""


def test_frames_that_are_scored_prove_a_start_and_it_is_said_once(tiny: Bundle) -> None:
    bench = Bench(tiny)
    bench.ready()
    bench.play(49)
    assert counted(bench.effects) == [1]
    bench.play(200)
    assert counted(bench.effects) == [1, 0]


@pytest.mark.parametrize(("ready", "frames", "clean"), [(False, 0, True), (True, 3, True), (True, 0, False)])
def test_a_stop_on_purpose_is_no_failure_unless_no_frame_could_be_scored(
    tiny: Bundle, ready: bool, frames: int, clean: bool
) -> None:
    bench = Bench(tiny)
    if ready:
        bench.ready()
    bench.play(frames)
    assert counted(bench.core.stop()) == ([0] if clean else [])


def test_after_the_third_the_base_runs_without_own_statistics_and_the_cloud_is_told(tiny: Bundle) -> None:
    commit, envelope = confirmed(tiny)
    bench = Bench(tiny, commit, failed_starts=3)
    bench.ready()
    view = bench.core.view(bench.now)
    assert view.generation == "base"
    assert view.recovered == "3 starts in a row did not come to score frames"
    (build,) = [effect for effect in bench.effects if isinstance(effect, BuildGeneration)]
    source = tiny.base_slots()
    for name, value in build.values.items():
        np.testing.assert_allclose(value, source[name], rtol=1e-5)
    assert bench.outcomes == [("reverted", "3 starts in a row did not come to score frames")]
    assert any("without own statistics" in e.text for e in bench.effects if isinstance(e, Log))
    last = bench.token
    bench.down(envelope)
    bench.down(sealed(tiny, rig.harmless(tiny), serial=2))
    assert bench.token == last, "neither the patch nor its values are tried again"


def test_what_was_given_up_is_so_for_good(tiny: Bundle) -> None:
    commit, envelope = confirmed(tiny)
    bench = Bench(tiny, commit, failed_starts=3)
    again = Bench(tiny, bench.committed, failed_starts=4)
    assert again.outcomes == [], "it is reported once"
    well = Bench(tiny, bench.committed)
    well.ready()
    assert well.core.view(well.now).generation == "base"
    assert well.core.view(well.now).recovered == ""
    assert sha256_hex(envelope) in well.committed.state.blocked


def test_own_statistics_alone_are_given_up_as_well(tiny: Bundle) -> None:
    bench = Bench(tiny)
    bench.ready()
    moved = tiny.calibration.norm_mean + np.float32(0.1)
    bench.adaptation.statistics.restart("", moved, tiny.calibration.norm_var)
    commit = bench.core.commit()
    assert isinstance(commit, CommitState)
    for failed, expected in ((2, moved), (3, tiny.calibration.norm_mean)):
        again = Bench(tiny, commit, failed_starts=failed)
        again.ready()
        np.testing.assert_array_equal(again.adaptation.statistics.current[0], expected)
        assert again.outcomes == []


def test_other_patches_in_the_bank_stay(tiny: Bundle) -> None:
    commit, _ = confirmed(tiny)
    bench = Bench(tiny, commit)
    bench.ready()
    other = sealed(tiny, {"norm2.bias": tiny.base_slots()["norm2.bias"] + np.float32(0.03)}, cohort="c2")
    bench.adaptation.patches.bank.put(rig.opened(other), other)
    commit = bench.core.commit()  # type: ignore[assignment]
    again = Bench(tiny, commit, failed_starts=3)
    held = [entry.patch.header.cohort for entry in again.adaptation.patches.bank.entries()]
    assert held == ["c2"]
