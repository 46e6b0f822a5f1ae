"""Which frames go up, what they cost, and what happens to those that cannot be kept."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.errors import TransportError
from edgeadapt.normstats import StatisticsConfig
from edgeadapt.wire import MAX_MESSAGE_BYTES, Outcome, Sample, encode
from edgeadapt_device.config import BudgetSection, FlaggingSection, MqttSection
from edgeadapt_device.core.effects import StoreMessage, StoreSample
from edgeadapt_device.core.events import NotStored, Stored
from edgeadapt_device.core.flagging import Decision
from edgeadapt_device.core.uplink.budget import OVERHEAD_BYTES
from edgeadapt_device.core.uplink.candidate import Candidate
from edgeadapt_device.core.uplink.rows import Waiting
from edgeadapt_device.core.uplink.uploads import Uploads
from edgeadapt_device.io.outbox import MemoryOutbox, Storable, StoredRow
from edgeadapt_device.local import LocalDevice
from tests.device import rig
from tests.device.rig import Rig, sealed

ALL = FlaggingSection(entropy_low=0.0, entropy_high=1.0, redundancy_margin=1.0, min_drift=0.0)
NOW = Instant(0.0, 0.0)
FLAT = np.full(10, 0.1, np.float32)


def uploads(frame_bytes: int, budget: BudgetSection | None = None) -> Uploads:
    settings = rig.config(flagging=ALL, budget=budget if budget is not None else BudgetSection())
    rng = np.random.default_rng(1)
    return Uploads(settings, 10, frame_bytes, rng=rng, outbox="o", pending=())


def offer(taken: Uploads, now: Instant, *, early: bool) -> StoreSample | None:
    """What comes of a frame whose prediction is wholly unsure."""
    frame = Candidate(
        index=0,
        image=np.zeros((4, 4, 1), np.uint8),
        probabilities=FLAT,
        predicted=0,
        entropy=1.0,
        embedding=None,
        decision=Decision("informative"),
        segment=0,
        generation="base",
        captured_s=0.0,
        at_home=False,
        early=early,
    )
    stores = [effect for effect in taken.offer(frame, now) if isinstance(effect, StoreSample)]
    return stores[0] if stores else None


class FailingOutbox(MemoryOutbox):
    """A disk that is full while `full` is set."""

    full = True

    def store(self, message: Storable, *, waiting: Waiting | None = None, age_s: float = 0.0) -> StoredRow:
        if self.full:
            raise TransportError("database or disk is full")
        return super().store(message, waiting=waiting, age_s=age_s)


def test_a_sample_that_could_not_be_stored_costs_nothing_and_the_next_pays_its_own_price(
    tiny: Bundle,
) -> None:
    budget = BudgetSection(bytes_per_hour=0, burst_bytes=50_000, shift_reserve=0.0)
    settings = rig.config(flagging=ALL, budget=budget, statistics=StatisticsConfig(enabled=False))
    outbox = FailingOutbox()
    device = Rig(tiny, settings, outbox=outbox)
    device.play(rig.frames(200, level=0.5))
    view = device.device.view(device.now)
    assert view.flagged > 40
    assert (view.budget_left_bytes, view.bytes_up) == (50_000, 0)
    outbox.full = False
    device.play(rig.frames(20, level=0.5))
    rows = [m for m in device.received if isinstance(m, Sample)]
    assert len(rows) >= 10
    paid = sum(len(encode(m)) + OVERHEAD_BYTES for m in rows)
    assert device.device.view(device.now).bytes_up == paid


def test_a_message_larger_than_the_wire_allows_is_not_stored_and_said_once(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.sync()
    outcome = Outcome(
        outbox="", sequence=0, cohort="c", serial=1, patch="p", state="trial", reason="x" * MAX_MESSAGE_BYTES
    )
    rows = len(device.outbox)
    for _ in range(5):
        device.device._performer.perform([StoreMessage(outcome)])
    device.device._performer.drain(device.now)
    assert len(device.outbox) == rows
    assert device.device._performer.too_large == 5
    assert sum("too large" in line for line in device.device.log) == 1
    fits = msgspec.structs.replace(outcome, reason="x" * (MAX_MESSAGE_BYTES - 300))
    device.device._performer.perform([StoreMessage(fits)])
    device.device._performer.drain(device.now)
    device.sync()
    assert isinstance(device.received[-1], Outcome), "the largest that fits arrives"


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("shape", [(480, 640, 3), (640, 640, 3), (720, 1280, 3)])
def test_large_frames_can_be_uploaded_with_the_default_budget(
    shape: tuple[int, int, int], early: bool
) -> None:
    large = uploads(int(np.prod(shape)))
    chosen = offer(large, NOW, early=early)
    assert chosen is not None
    large.stored(Stored(1, "sample", 700_000, chosen.price_bytes), NOW)
    assert large.budget.left_bytes(NOW) == BudgetSection().burst_bytes - 700_000 - OVERHEAD_BYTES
    # From now on its real size is known, and a full bucket still lets one through.
    large.new_segment()
    assert offer(large, NOW, early=True) is None
    large.new_segment()
    later = Instant(3600.0, 0.0)
    assert offer(large, later, early=early) is not None


def test_the_first_large_frame_needs_no_full_bucket() -> None:
    large = uploads(720 * 1280 * 3)
    large.budget.charge(300_000, NOW)
    assert offer(large, NOW, early=True) is not None


def test_an_estimate_is_settled_once_the_real_size_is_known() -> None:
    small = uploads(1_000)
    chosen = offer(small, NOW, early=True)
    assert chosen is not None
    small.stored(Stored(1, "sample", 300, chosen.price_bytes), NOW)
    assert small.budget.left_bytes(NOW) == BudgetSection().burst_bytes - 300 - OVERHEAD_BYTES
    assert small.budget.spent_bytes == 300 + OVERHEAD_BYTES


def test_a_sample_too_large_to_be_sent_teaches_its_size_and_is_not_paid_for() -> None:
    large = uploads(3_000_000)
    chosen = offer(large, NOW, early=True)
    assert chosen is not None
    effects = large.not_stored(NotStored("sample", 2_000_000, chosen.price_bytes, True), NOW)
    assert len(effects) == 1
    assert large.budget.left_bytes(NOW) == BudgetSection().burst_bytes
    large.new_segment()
    again = offer(large, NOW, early=True)
    assert again is not None
    assert again.price_bytes > 900_000


def test_uploads_hold_a_uniform_share_and_at_home_nothing_else(tiny: Bundle) -> None:
    away = Rig(tiny, rig.config(flagging=ALL))
    away.play(rig.frames(400, level=0.5))
    lanes = [m.lane for m in away.received if isinstance(m, Sample)]
    assert 0.1 < lanes.count("audit") / len(lanes) < 0.3
    home = Rig(
        tiny, rig.config(flagging=msgspec.structs.replace(ALL, min_drift=10.0, uniform_per_frame=0.05))
    )
    home.play(rig.frames(400, level=0.5))
    at_home = [m.lane for m in home.received if isinstance(m, Sample)]
    assert 10 <= len(at_home) <= 24
    assert set(at_home) == {"audit"}


def test_what_was_kept_in_one_segment_is_new_again_in_the_next(tiny: Bundle) -> None:
    # Nothing but the first frame of all is unlike what was kept.
    picky = msgspec.structs.replace(ALL, redundancy_margin=0.0, uniform_per_frame=0.0, uniform_share=0.0)
    device = Rig(tiny, rig.config(flagging=picky))
    device.play(rig.frames(200))
    device.play(rig.frames(200, seed=2, level=0.5))
    assert [m.segment for m in device.received if isinstance(m, Sample)] == [0, 1]


def test_the_frame_that_ends_a_trial_names_the_generation_that_scored_it(tiny: Bundle) -> None:
    device = Rig(tiny, rig.config(flagging=ALL, statistics=StatisticsConfig(enabled=False)))
    device.assign()
    device.publish(sealed(tiny, rig.harmful(tiny)))
    for image in rig.frames(60):
        scored_by = device.generation
        (answer,) = device.play(image[None])
        assert answer.generation == scored_by
        if device.generation != scored_by:
            break
    else:
        pytest.fail("the trial did not end")
    last = [m for m in device.received if isinstance(m, Sample)][-1]
    assert last.generation in (scored_by, "base")


@pytest.mark.parametrize("enabled", [True, False])
def test_a_device_without_a_cloud_keeps_nothing_for_one(tiny: Bundle, enabled: bool) -> None:
    settings = rig.config(mqtt=MqttSection(enabled=enabled), flagging=ALL)
    device = LocalDevice(tiny, settings, rng=np.random.default_rng(3), now=NOW)
    for index, image in enumerate(rig.frames(300)):
        device.step(image, Instant(0.1 * index, 0.1 * index))
    assert (device.view(Instant(30.0, 30.0)).outbox_rows > 0) == enabled
