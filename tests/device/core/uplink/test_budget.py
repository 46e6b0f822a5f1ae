"""The byte budget is never overdrawn by samples, and reports are paid for afterwards."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.wire import Sample, encode
from edgeadapt_device.config import BudgetSection, FlaggingSection
from edgeadapt_device.core.state import BudgetRecord
from edgeadapt_device.core.uplink.budget import OVERHEAD_BYTES, Budget
from edgeadapt_device.io.store import GenerationStore
from tests.device import rig
from tests.device.rig import Rig

CONFIG = BudgetSection(bytes_per_hour=36_000, burst_bytes=10_000, shift_reserve=0.5)


def at(mono_s: float) -> Instant:
    return Instant(mono_s, 0.0)


@given(
    st.lists(st.tuples(st.floats(0.0, 600.0), st.integers(0, 12_000), st.booleans()), min_size=1, max_size=40)
)
def test_samples_never_spend_more_than_the_burst_and_what_flowed_in(
    wishes: list[tuple[float, int, bool]],
) -> None:
    budget, mono_s, spent = Budget(CONFIG), 0.0, 0
    budget.left_bytes(at(0.0))
    for pause_s, size_bytes, early in wishes:
        mono_s += pause_s
        before = budget.left_bytes(at(mono_s))
        taken = budget.take(size_bytes, at(mono_s), early=early)
        left = budget.left_bytes(at(mono_s))
        spent += (size_bytes + OVERHEAD_BYTES) if taken else 0
        assert left >= 0
        assert taken or left == before
        assert not taken or early or left >= 5_000
        assert spent <= 10_000 + 10.0 * mono_s + 1e-6
        assert budget.spent_bytes == spent


def test_a_report_goes_below_zero_and_samples_wait_until_it_is_paid() -> None:
    budget = Budget(CONFIG)
    budget.charge(10_500, at(0.0))
    assert budget.left_bytes(at(0.0)) == -670
    assert not budget.take(100, at(60.0), early=True)
    assert budget.take(100, at(95.0), early=True)


def test_the_bucket_holds_no_more_than_the_burst_and_time_never_runs_back() -> None:
    budget = Budget(CONFIG)
    assert budget.left_bytes(at(1e6)) == 10_000
    assert budget.take(4_000, at(1e6), early=True)
    left = budget.left_bytes(at(1e6))
    assert budget.left_bytes(at(1.0)) == left


def test_the_clouds_rate_takes_the_place_of_the_configured_one() -> None:
    budget = Budget(CONFIG)
    budget.charge(10_000 - OVERHEAD_BYTES, at(0.0))
    budget.set_rate(3_600, at(10.0))
    assert budget.left_bytes(at(20.0)) == 110
    budget.set_rate(-5, at(20.0))
    assert budget.left_bytes(at(1e6)) == 110


@pytest.mark.parametrize("burst_bytes", [3_000, 20_000])
def test_a_devices_samples_stay_within_the_burst_end_to_end(tiny: Bundle, burst_bytes: int) -> None:
    settings = rig.config(
        budget=BudgetSection(bytes_per_hour=0, burst_bytes=burst_bytes, shift_reserve=0.0),
        flagging=FlaggingSection(entropy_low=0.0, entropy_high=1.0, redundancy_margin=1.0),
    )
    device = Rig(tiny, settings)
    answers = device.play(rig.frames(120, level=0.5))
    samples = [m for m in device.received if isinstance(m, Sample)]
    paid = sum(len(encode(s)) + OVERHEAD_BYTES for s in samples)
    assert samples
    assert paid <= burst_bytes
    assert len(samples) == sum(a.flagged for a in answers) < 120


def test_the_budget_outlives_a_restart_and_time_refills_it(tiny: Bundle, tmp_path: Path) -> None:
    settings = rig.config(
        budget=BudgetSection(bytes_per_hour=36_000, burst_bytes=20_000, shift_reserve=0.0),
        flagging=FlaggingSection(entropy_low=0.0, entropy_high=1.0, redundancy_margin=1.0),
    )
    device = Rig(tiny, settings, store=GenerationStore(tmp_path))
    device.play(rig.frames(100, level=0.5))
    device.device.stop()
    left = device.device.view(device.now).budget_left_bytes
    assert left < 2_000
    # The monotonic clock begins anew with the machine; the wall clock went on for a minute.
    store = GenerationStore(tmp_path)
    again = Rig(tiny, settings, store=store, start_mono_s=device.now.mono_s + 60.0)
    assert again.device.view(again.now).budget_left_bytes == pytest.approx(left + 600, abs=2)
    behind = Rig(tiny, settings, store=GenerationStore(tmp_path), start_mono_s=0.0)
    assert behind.device.view(behind.now).budget_left_bytes <= left + 600, "a clock set back adds nothing"


def test_a_state_from_before_budgets_were_kept_starts_with_a_full_burst(tiny: Bundle, tmp_path: Path) -> None:
    Rig(tiny, store=GenerationStore(tmp_path)).device.stop()
    store = GenerationStore(tmp_path)
    state, envelopes = store.load()
    assert state is not None
    store.commit(msgspec.structs.replace(state, budget=None), envelopes)
    again = Rig(tiny, store=GenerationStore(tmp_path))
    assert again.device.view(again.now).budget_left_bytes == BudgetSection().burst_bytes


@pytest.mark.parametrize("tokens", [float("nan"), float("inf"), 1e12])
def test_a_kept_budget_is_never_more_than_the_burst(tokens: float) -> None:
    budget = Budget(CONFIG)
    budget.restore(BudgetRecord(tokens, float("nan")), at(0.0))
    assert budget.left_bytes(at(0.0)) == 10_000


@given(st.integers(0, 10**7), st.booleans())
def test_a_price_is_what_a_full_bucket_can_pay(size_bytes: int, early: bool) -> None:
    budget = Budget(CONFIG)
    price = budget.price(size_bytes, early=early)
    assert price <= size_bytes
    assert budget.take(price, at(0.0), early=early)


def test_a_reserve_of_all_leaves_nothing_to_a_settled_segment() -> None:
    budget = Budget(BudgetSection(burst_bytes=10_000, shift_reserve=1.0))
    assert not budget.take(budget.price(100, early=False), at(0.0), early=False)


def test_what_is_sent_again_makes_no_debt_deeper_than_a_burst() -> None:
    budget = Budget(CONFIG)
    for _ in range(10):
        budget.charge(9_000, at(0.0), again=True)
    assert budget.left_bytes(at(0.0)) == -10_000
    assert budget.spent_bytes == 10 * (9_000 + OVERHEAD_BYTES)
    budget.charge(9_000, at(0.0))
    budget.charge(9_000, at(0.0), again=True)
    assert budget.left_bytes(at(0.0)) == -19_000 - OVERHEAD_BYTES, "nor does it forgive one"
