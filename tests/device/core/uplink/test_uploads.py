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

ALL = FlaggingSection(
    policy="entropy-band", entropy_low=0.0, entropy_high=1.0, redundancy_margin=1.0, min_drift=0.0, clusters=0
)
NOW = Instant(0.0, 0.0)
FLAT = np.full(10, 0.1, np.float32)


def uploads(frame_bytes: int, budget: BudgetSection | None = None) -> Uploads:
    settings = rig.config(
        flagging=ALL, budget=budget if budget is not None else BudgetSection(segment_share=1.0)
    )
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
    stores = [effect for effect in taken.offer(frame, now)[0] if isinstance(effect, StoreSample)]
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
    budget = BudgetSection(bytes_per_hour=100_000, burst_bytes=50_000, debt_bytes=0, segment_share=1.0)
    settings = rig.config(flagging=ALL, budget=budget, statistics=StatisticsConfig(enabled=False))
    outbox = FailingOutbox()
    device = Rig(tiny, settings, outbox=outbox)
    device.play(rig.frames(200, level=0.5))
    view = device.device.view(device.now)
    assert view.flagged > 40
    assert lane_bytes(device) == 0
    assert device.device.core._uploads.budget.accounts.left_bytes("adapt") > 33_000
    outbox.full = False
    device.play(rig.frames(20, level=0.5))
    rows = [m for m in device.received if isinstance(m, Sample)]
    assert len(rows) >= 10
    assert lane_bytes(device) == sum(len(encode(m)) + OVERHEAD_BYTES for m in rows)


def lane_bytes(device: Rig) -> int:
    """What samples have cost on the link."""
    ledger = device.device.view(device.now).ledger
    return sum(line.bytes_up for line in ledger if line.purpose in ("adapt", "ask", "audit"))


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
    assert chosen.price_bytes <= BudgetSection().burst_bytes / 2, "it must be encoded for no more than this"
    before = large.budget.accounts.left_bytes("adapt")
    large.stored(Stored(1, "sample", 300_000, chosen.price_bytes, "adapt"), NOW)
    assert large.budget.accounts.left_bytes("adapt") == before + chosen.price_bytes - 300_000
    # From now on its real size is known, and a full account still lets one through.
    large.new_segment(NOW)
    assert offer(large, Instant(3600.0, 0.0), early=early) is not None


def question() -> Candidate:
    """What stays strange, three times."""
    return Candidate(
        index=0,
        image=np.zeros((4, 4, 1), np.uint8),
        probabilities=FLAT,
        predicted=0,
        entropy=1.0,
        embedding=np.ones(8, np.float32),
        decision=Decision("unknown"),
        segment=0,
        generation="base",
        captured_s=0.0,
        at_home=False,
        early=False,
        cluster=1,
        members=3,
    )


def test_a_question_is_paid_for_where_its_picture_is_larger_than_all_that_can_be_saved_up() -> None:
    """The encoder then leaves the picture out; a lane that teaches has no use for such a frame."""
    small = uploads(300_000, BudgetSection(burst_bytes=100_000, debt_bytes=0, segment_share=1.0))
    small.not_stored(NotStored("sample", 250_000, 0, False, "adapt"), NOW)
    assert small.ask([question()], NOW) == [], "the account has yet to be filled"
    saved = Instant(3600.0, 0.0)
    (asked,) = small.ask([question()], saved)
    assert 50_000 <= asked.price_bytes <= 100_000
    assert small.ask([question()], saved) == [], "the account is spent"
    assert offer(small, saved, early=False) is None


@pytest.mark.parametrize("assigned", [False, True])
@pytest.mark.parametrize("limit", ["bytes_per_hour", "bytes_per_day"])
def test_an_hour_that_is_smaller_than_a_raw_frame_does_not_silence_a_device(
    limit: str, assigned: bool
) -> None:
    """Nobody knows what pictures cost before the first was encoded, and raw ones would never fit."""
    configured = BudgetSection() if assigned else msgspec.structs.replace(BudgetSection(), **{limit: 200_000})
    thin = uploads(480 * 640 * 3, configured)
    if assigned:
        thin.budget.assign(
            200_000 if limit == "bytes_per_hour" else None,
            200_000 if limit == "bytes_per_day" else None,
            NOW,
        )
    assert thin.budget.spendable_bytes < 200_000
    chosen = offer(thin, NOW, early=False)
    assert chosen is not None
    assert 80_000 < chosen.price_bytes < 200_000
    thin.stored(Stored(1, "sample", 30_000, chosen.price_bytes, "adapt"), NOW)
    thin.new_segment(NOW)
    again = offer(thin, NOW, early=False)
    assert again is not None
    assert again.price_bytes < 50_000, "from now on the real size is known"
    assert thin.ask([question()], NOW)


def test_an_estimate_is_settled_once_the_real_size_is_known() -> None:
    small = uploads(1_000)
    chosen = offer(small, NOW, early=True)
    assert chosen is not None
    small.stored(Stored(1, "sample", 300, chosen.price_bytes, "adapt"), NOW)
    full = small.budget.accounts.full_bytes("adapt")
    assert small.budget.accounts.left_bytes("adapt") == full - 300 - OVERHEAD_BYTES
    assert small.budget.ledger.up_bytes == 0, "nothing was sent yet"


def test_a_sample_that_is_larger_than_its_price_is_not_kept_and_the_next_may_cost_more() -> None:
    small = uploads(100_000)
    for number in range(20):
        small.stored(Stored(number, "sample", 2_000, 2_000, "adapt"), NOW)
    chosen = offer(small, NOW, early=True)
    assert chosen is not None
    assert chosen.price_bytes < 50_000
    small.not_stored(NotStored("sample", 60_000, chosen.price_bytes, False, "adapt"), NOW)
    assert small.budget.accounts.left_bytes("adapt") == small.budget.accounts.full_bytes("adapt")
    small.new_segment(NOW)
    again = offer(small, NOW, early=True)
    assert again is not None
    assert again.price_bytes > chosen.price_bytes


def test_the_audit_lane_draws_at_its_chance_and_at_home_it_is_the_only_one(tiny: Bundle) -> None:
    away = Rig(tiny, rig.config(flagging=msgspec.structs.replace(ALL, audit_chance=0.1)))
    away.play(rig.frames(400, level=0.5))
    samples = [m for m in away.received if isinstance(m, Sample)]
    audits = [m for m in samples if m.lane == "audit"]
    assert 20 <= len(audits) <= 62, "40 expected, of standard deviation 6"
    assert all(0.0 < m.chance <= 0.1 for m in audits)
    assert all(m.chance == 0.0 for m in samples if m.lane != "audit")
    home = Rig(tiny, rig.config(flagging=msgspec.structs.replace(ALL, min_drift=10.0, audit_chance=0.05)))
    home.play(rig.frames(400, level=0.5))
    at_home = [m.lane for m in home.received if isinstance(m, Sample)]
    assert 8 <= len(at_home) <= 36
    assert set(at_home) == {"audit"}


def test_a_window_is_chosen_from_when_it_ends_when_its_segment_does_and_at_the_stop(tiny: Bundle) -> None:
    flagging = FlaggingSection(window_frames=50, min_drift=0.0, audit_chance=0.0, clusters=0)
    device = Rig(
        tiny,
        rig.config(
            flagging=flagging, budget=BudgetSection(burst_bytes=20_000, debt_bytes=0, segment_share=1.0)
        ),
    )
    device.play(rig.frames(49, level=0.5))
    assert not [m for m in device.received if isinstance(m, Sample)]
    device.play(rig.frames(1, seed=2, level=0.5))
    first = [m for m in device.received if isinstance(m, Sample)]
    assert 5 < len(first) < 50
    device.play(rig.frames(30, seed=3, level=0.5))
    device.device.stop()
    assert len(device.outbox) > 0, "what was held at the end is not lost"


def test_what_was_kept_in_one_segment_is_new_again_in_the_next(tiny: Bundle) -> None:
    # Nothing but the first frame of all is unlike what was kept.
    picky = msgspec.structs.replace(ALL, redundancy_margin=0.0, audit_chance=0.0)
    device = Rig(tiny, rig.config(flagging=picky))
    device.play(rig.frames(200, level=0.75))
    device.play(rig.frames(200, seed=2, level=0.4))
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


def test_a_segment_leaves_something_for_the_next_ones(tiny: Bundle) -> None:
    """Three shifts within seconds: each may take a third of what there still is."""
    budget = BudgetSection(bytes_per_hour=200_000, burst_bytes=60_000, debt_bytes=0)
    device = Rig(tiny, rig.config(flagging=ALL, budget=budget))
    taken = []
    for level in (0.5, 0.2, 0.5):
        before = len([m for m in device.received if isinstance(m, Sample) and m.lane == "adapt"])
        device.play(rig.frames(400, level=level))
        device.device.core._uploads.new_segment(device.now)
        taken.append(
            len([m for m in device.received if isinstance(m, Sample) and m.lane == "adapt"]) - before
        )
    assert min(taken) >= 5
    assert taken[0] >= taken[1] >= taken[2], taken
    assert taken[0] > taken[2], taken
