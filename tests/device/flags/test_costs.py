"""What `device explain` says that a sample has cost, whatever became of it. Every part is real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.wire import Lane, Sample
from edgeadapt_device.config import DeliverySection, PrivacySection
from edgeadapt_device.core.effects import StoreSample
from edgeadapt_device.core.events import Dropped, Tick
from edgeadapt_device.core.flagging.decision import Decision
from edgeadapt_device.flags.journal import FlagJournal, read_flags
from edgeadapt_device.flags.lines import RowLine, SampleLine
from edgeadapt_device.flags.story import stories, text
from tests.device import rig
from tests.device.flags.test_explain import unwrapped
from tests.sim.test_embeddings import NOISE


class Told:
    """A device that chose one frame, of noise: its picture takes 784 bytes and an envelope."""

    def __init__(
        self,
        bundle: Bundle,
        folder: Path,
        lane: Lane,
        price_bytes: int,
        privacy: PrivacySection | None = None,
    ) -> None:
        self._folder, self._journal = folder, FlagJournal(folder)
        settings = rig.config(
            delivery=DeliverySection(descriptor_pause_s=0.0, want_wait_s=60.0),
            privacy=privacy if privacy is not None else PrivacySection(),
        )
        self.rig = rig.Rig(bundle, settings, journal=self._journal)
        chosen = StoreSample(
            image=NOISE[0],
            segment=0,
            lane=lane,
            entropy=1.0,
            predicted=1,
            generation="base",
            captured_s=self.rig.now.wall_s,
            price_bytes=price_bytes,
            frame=7,
            verdict="unknown",
            descriptor=np.ones(bundle.calibration.prototypes.shape[1], np.float32),
            hold=lane == "ask",
            decision=Decision("unknown"),
        )
        performer = self.rig.device._performer
        assert performer._recorder is not None
        performer._recorder.saw(Tick(), [chosen], self.rig.now)
        performer.perform([chosen])
        performer.drain(self.rig.now)

    def story(self) -> str:
        self._journal.close()
        (found,) = stories(read_flags(self._folder))
        return unwrapped(text(found))

    @property
    def sequence(self) -> int:
        self._journal.flush_if_due(1e9)
        return next(line.sequence for line in read_flags(self._folder) if isinstance(line, SampleLine))


def test_a_picture_that_was_too_dear_is_said_to_be_not_affordable(tiny: Bundle, tmp_path: Path) -> None:
    said = Told(tiny, tmp_path, "adapt", 700).story()
    assert "lane adapt: not affordable: 1," in said
    assert "bytes in the smallest encoding, and 700 were paid for it" in said


def test_what_a_privacy_switch_kept_is_not_said_to_be_a_fault_of_the_disk(
    tiny: Bundle, tmp_path: Path
) -> None:
    privacy = PrivacySection(suppressed=(tiny.manifest.classes[1],))
    assert "kept here by a privacy switch" in Told(tiny, tmp_path, "audit", 5_000, privacy).story()


def test_an_embedding_in_the_place_of_a_picture_is_called_so(tiny: Bundle, tmp_path: Path) -> None:
    told = Told(tiny, tmp_path, "audit", 700)
    told.rig.sync()
    (sample,) = [m for m in told.rig.received if isinstance(m, Sample)]
    assert sample.codec == "none"
    assert "(its embedding alone, no picture)" in told.story()


def test_what_nobody_answered_is_sent_unasked_and_not_called_wanted(tiny: Bundle, tmp_path: Path) -> None:
    told = Told(tiny, tmp_path, "ask", 5_000)
    for _ in range(4):
        told.rig.wait(61.0)
        told.rig.sync()
    assert [m for m in told.rig.received if isinstance(m, Sample)]
    said = told.story()
    rows = [line for line in read_flags(tmp_path) if isinstance(line, RowLine)]
    fates = [line.fate for line in rows if told.sequence in line.sequences]
    assert fates == ["unasked", "acknowledged"]
    assert "to be sent unasked: the server never said whether it wants it" in said
    assert "wanted" not in said.replace("held until the server wants it", "")
    assert "on the link, 0.0" in said, "its picture has left"


@pytest.mark.parametrize("sent", [False, True])
def test_what_was_dropped_is_not_said_to_have_cost_a_sum(tiny: Bundle, tmp_path: Path, sent: bool) -> None:
    """Nobody knows here whether it was on its way."""
    told = Told(tiny, tmp_path, "audit", 5_000)
    if sent:
        told.rig.sync()
    else:
        told.rig.device._performer.handle(Dropped((told.sequence,), ""), told.rig.now)
    said = told.story()
    assert ("dropped: the outbox was full" in said) != sent
    assert ("each time that it is sent" in said) != sent
