"""Whose knots decide: the bundle's at home, the device's own in a domain that it is calibrated for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeadapt.bundle import Bundle
from edgeadapt.patch import seal
from edgeadapt_device.config import FlaggingSection
from edgeadapt_device.core.events import Image
from edgeadapt_device.flags.journal import FlagJournal, read_flags
from edgeadapt_device.flags.lines import FrameLine
from edgeadapt_device.flags.story import stories, text
from tests.device import rig
from tests.device.core.flagging.test_flow import flagging
from tests.device.flags.test_explain import strange

DUSK = 0.5


def dusk(count: int, seed: int) -> Image:
    return rig.frames(count, seed=seed, level=DUSK)


def calibrated(device: rig.Rig) -> bool:
    return flagging(device)._bases._domain.knots is not None


def verdicts(device: rig.Rig, frames: Image) -> list[str]:
    return [answer.verdict for answer in device.play(frames)]


def test_away_from_home_nothing_is_unknown_before_the_device_has_calibrated_itself(tiny: Bundle) -> None:
    device = rig.Rig(tiny)
    device.play(rig.frames(200))
    device.play(dusk(100, 8))
    assert flagging(device)._settled.drifted
    early = verdicts(device, np.concatenate([dusk(60, 9), strange(10)]))
    device.play(dusk(200, 10))
    late = verdicts(device, dusk(400, 11))
    odd = verdicts(device, strange(20))

    assert "unknown" not in early
    assert early[60:].count("shifted") > 5
    assert 0.0 < late.count("unknown") / 400 < 0.12
    assert odd.count("unknown") > 10


def test_what_a_suspect_is_scored_by_again_are_the_same_knots(tiny: Bundle) -> None:
    """By the base's most of them would be strange still: the device waits, and then most were usual."""
    device = rig.Rig(tiny, rig.config(flagging=FlaggingSection(clusters=0)))
    device.play(rig.frames(200))
    device.play(dusk(150, 8))
    room = flagging(device)
    waiting = room.suspects
    assert waiting > 20
    assert room.covariate == 0
    device.play(dusk(300, 9))

    assert room.suspects == 0
    assert room.covariate > 0.5 * waiting


def test_a_new_segment_and_another_patch_begin_a_record_of_their_own(tiny: Bundle) -> None:
    device = rig.Rig(tiny)
    device.play(rig.frames(200))
    device.play(dusk(400, 8))
    bases = flagging(device)._bases
    assert calibrated(device)
    device.assign(segment=bases._of[0])
    device.publish(seal(rig.header(tiny), rig.harmless(tiny), rig.NO_SIGNATURE, rig.KEY))
    device.play(dusk(30, 9))
    assert bases._domain.frames == 0  # on trial: it has not proved that it fits
    device.play(dusk(80, 10))
    assert [outcome.state for outcome in device.outcomes] == ["trial", "confirmed"]
    under_patch = bases._domain.frames
    assert 0 < under_patch < 128
    assert not calibrated(device)
    device.play(dusk(200, 11))
    assert calibrated(device)

    device.play(rig.frames(120, seed=12))
    device.play(dusk(100, 13))
    assert bases._of[0] == flagging(device)._segment > 1
    assert bases._domain.frames < 128


def test_explain_says_whose_knots_decided(tiny: Bundle, tmp_path: Path) -> None:
    journal = FlagJournal(tmp_path)
    device = rig.Rig(tiny, journal=journal)
    device.play(np.concatenate([rig.frames(200), strange(5), rig.frames(60, seed=3)]))
    device.play(dusk(300, 8))
    device.play(np.concatenate([strange(5), dusk(200, 9)]))
    journal.close()

    told = stories(read_flags(tmp_path))
    lines = [story.verdict for story in told if isinstance(story.verdict, FrameLine)]
    home = [line for line in lines if line.frame < 205]
    own = [line for line in lines if line.thresholds == "domain"]
    assert home
    assert {line.thresholds for line in home} == {"bundle"}
    assert own
    assert {line.calibrated for line in own} <= {128, 256, 512}
    words = "\n".join(text(story) for story in told)
    assert "the device's own, from 128 frames of its domain" in words
    assert "the bundle's, of the source's domain" in words
