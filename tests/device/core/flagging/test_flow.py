"""What becomes of strange frames in a device: adapt first, then ask; and whose thresholds hold meanwhile."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.patch import seal
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import Metric, Sample
from edgeadapt_device.config import FlaggingSection, OutputSection
from edgeadapt_device.core.effects import ScoreAgain
from edgeadapt_device.core.events import Rescored
from edgeadapt_device.core.flagging.flagging import Flagging
from edgeadapt_device.io.store import GenerationStore
from tests.device import rig
from tests.device.core.flagging.test_quarantine import frame
from tests.device.flags.test_explain import strange


def flagging(device: rig.Rig) -> Flagging:
    return device.device.core.flagging


def test_a_suspect_whose_session_is_gone_is_tried_again_and_then_let_go(tiny: Bundle) -> None:
    device = rig.Rig(tiny)
    device.play(rig.frames(150))
    room = flagging(device)
    room._suspects.offer(frame(1))
    effects, tries = room._score_again(), 0
    while effects:
        (effect,) = effects
        assert isinstance(effect, ScoreAgain)
        effects, tries = room.rescored(Rescored(effect.token)), tries + 1

    assert tries == 3
    assert room.suspects == 0
    assert room.rescored(Rescored(1)) == []


def test_what_stays_strange_is_asked_about_once_and_never_offered_to_learn_from(tiny: Bundle) -> None:
    device = rig.Rig(tiny, rig.config(flagging=FlaggingSection(audit_chance=0.0, min_drift=0.0)))
    device.play(rig.frames(300))
    mixed = rig.frames(600, seed=5)
    mixed[::8] = strange(75)
    answers = device.play(mixed)
    device.play(rig.frames(150, seed=6))
    samples = [m for m in device.received if isinstance(m, Sample)]
    odd = Counter(answer.verdict for answer in answers[::8])

    assert odd["unknown"] > 50
    assert all(sample.verdict != "unknown" for sample in samples if sample.lane == "adapt")
    clusters = Counter(record.members for record in flagging(device).quarantine.records)
    assert max(clusters) > 30  # the strange thing is one kind
    assert flagging(device).quarantine.questions <= len(flagging(device).quarantine)


def test_kinds_and_what_was_asked_survive_a_restart(tiny: Bundle, tmp_path: Path) -> None:
    settings = rig.config(output=OutputSection(commit_every_s=1.0))
    first = rig.Rig(tiny, settings, store=GenerationStore(tmp_path / "state"))
    first.play(rig.frames(200))
    mixed = rig.frames(400, seed=5)
    mixed[::8] = strange(50)
    first.play(mixed)
    first.wait(2.0)
    kept = flagging(first).quarantine.records
    assert kept
    second = rig.Rig(tiny, settings, store=GenerationStore(tmp_path / "state"))

    assert [(r.number, r.members) for r in flagging(second).quarantine.records] == [
        (r.number, r.members) for r in kept
    ]


@pytest.mark.parametrize("restart", [False, True])
def test_a_patchs_thresholds_hold_while_it_runs_and_after_a_restart(
    tiny: Bundle, tmp_path: Path, restart: bool
) -> None:
    """Knots above every score make each frame strange, so it shows which are in force."""
    high = np.linspace(2e38, 3e38, 64).astype(np.float32)
    settings = rig.config(output=OutputSection(commit_every_s=1.0))
    device = rig.Rig(tiny, settings, store=GenerationStore(tmp_path / "state"))
    device.play(rig.frames(100))
    own = dict.fromkeys(flagging(device).names, high)
    device.assign()
    before = [answer.verdict for answer in device.play(rig.frames(40, seed=2))]
    device.publish(_sealed(tiny, own))
    on_trial = [answer.verdict for answer in device.play(rig.frames(30, seed=3))]
    device.play(rig.frames(80, seed=4))
    assert [outcome.state for outcome in device.outcomes] == ["trial", "confirmed"]
    if restart:
        device.wait(2.0)
        device = rig.Rig(tiny, settings, store=GenerationStore(tmp_path / "state"), start_mono_s=1000.0)
    after = [answer.verdict for answer in device.play(rig.frames(30, seed=6))]

    assert before.count("unknown") < 8
    assert set(on_trial) == {"shifted"}
    assert set(after) == {"unknown"}


def _sealed(tiny: Bundle, thresholds: dict[str, FloatArray]) -> bytes:
    return seal(rig.header(tiny), rig.harmless(tiny), rig.NO_SIGNATURE, rig.KEY, thresholds)


def test_the_cloud_hears_how_many_frames_were_what(tiny: Bundle) -> None:
    device = rig.Rig(tiny, rig.config(output=OutputSection(metric_every_s=1.0)))
    device.play(rig.frames(60))
    metric = [m for m in device.received if isinstance(m, Metric)][-1]
    counts = metric.verdicts

    assert metric.frames == counts.familiar + counts.informative + counts.shifted + counts.unknown
    assert counts.familiar > 0
