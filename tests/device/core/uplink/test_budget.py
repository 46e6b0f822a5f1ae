"""No hour and no day costs more than it may, whatever happens; the ledger says what for."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.wire import Lane, Sample, encode
from edgeadapt_device.config import BudgetSection, FlaggingSection
from edgeadapt_device.core.state import BudgetRecord
from edgeadapt_device.core.uplink.accounts import Accounts
from edgeadapt_device.core.uplink.budget import OVERHEAD_BYTES, Budget
from edgeadapt_device.core.uplink.ledger import PURPOSES, Purpose, purpose_of
from edgeadapt_device.core.uplink.windows import SlidingWindow
from edgeadapt_device.io.store import GenerationStore
from tests.device import rig
from tests.device.rig import Rig

CONFIG = BudgetSection(bytes_per_hour=36_000, bytes_per_day=200_000, burst_bytes=10_000, debt_bytes=5_000)
EVEN: dict[Lane, float] = {"adapt": 0.5, "ask": 0.25, "audit": 0.25}


def at(mono_s: float) -> Instant:
    return Instant(mono_s, 0.0)


class Step(NamedTuple):
    """One thing that happens, after a pause."""

    what: str
    purpose: Purpose
    size_bytes: int
    pause_s: float
    early: bool


_STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(("send", "send", "send", "restart", "crash", "reboot")),
        st.sampled_from(("adapt", "ask", "audit", "descriptor", "report")),
        st.integers(0, 12_000),
        st.one_of(st.floats(0.0, 600.0), st.floats(0.0, 20_000.0)),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)


def _within(spent: deque[tuple[float, int]], length_s: float, now_s: float) -> int:
    return sum(cost for at_s, cost in spent if at_s > now_s - length_s)


@given(_STEPS)
def test_no_hour_and_no_day_ever_costs_more_than_it_may(steps: list[Step]) -> None:
    """Over real time, with restarts, crashes that lose what was not committed, and reboots."""
    budget, real_s, boot_s = Budget(CONFIG), 0.0, 0.0
    budget.left_bytes(at(0.0))
    committed = budget.record()
    spent: deque[tuple[float, int]] = deque()
    for step in steps:
        real_s += step.pause_s
        now = at(real_s - boot_s)
        if step.what == "send":
            budget.early = step.early
            if budget.send(step.purpose, step.size_bytes, now):
                if budget.must_commit:
                    committed = budget.record()
                spent.append((real_s, step.size_bytes + OVERHEAD_BYTES))
                assert _within(spent, 3600.0, real_s) <= 36_000 + 5_000 * step.early
                assert _within(spent, 86_400.0, real_s) <= 200_000
            continue
        if step.what == "restart":
            budget.left_bytes(now)
            budget.close()
            committed = budget.record()
        if step.what == "reboot":
            boot_s = real_s - step.pause_s / 2
        assert committed is not None
        budget = Budget(CONFIG)
        budget.restore(committed, at(real_s - boot_s))
        committed = budget.record()


@given(st.lists(st.tuples(st.floats(0.0, 5000.0), st.integers(0, 1000)), max_size=60))
def test_a_window_counts_all_of_its_length_and_at_most_a_slice_more(steps: list[tuple[float, int]]) -> None:
    window, clock_s = SlidingWindow(3600.0), 0.0
    spent: list[tuple[float, int]] = []
    for pause_s, cost in steps:
        clock_s += pause_s
        window.add(cost, clock_s)
        spent.append((clock_s, cost))
        used = window.used_bytes(clock_s)
        assert used >= sum(c for s, c in spent if s > clock_s - 3600.0)
        assert used <= sum(c for s, c in spent if s >= clock_s - 3600.0 - 60.0 - 1e-6)
        wait_s = window.wait_s(used // 2, clock_s)
        copy = SlidingWindow(3600.0)
        copy.restore(window.record())
        assert copy.used_bytes(clock_s + wait_s + 1e-3) <= used // 2


@given(
    st.lists(
        st.tuples(st.sampled_from(("adapt", "ask", "audit")), st.integers(1, 4000), st.floats(0.0, 500.0)),
        max_size=60,
    )
)
def test_no_lane_can_take_what_another_has_saved(steps: list[tuple[Lane, int, float]]) -> None:
    accounts = Accounts(EVEN, 10_000, 0)
    income = 0.0
    taken = dict.fromkeys(EVEN, 0)
    for lane, cost, flow in steps:
        accounts.fill(flow)
        income += flow
        before = {name: accounts.left_bytes(name) for name in EVEN}
        if accounts.take(lane, cost, early=False):
            taken[lane] += cost
        for name in EVEN:
            if name != lane:
                assert accounts.left_bytes(name) == before[name]
            assert 0.0 <= accounts.left_bytes(name) <= accounts.full_bytes(name)
    assert sum(taken.values()) <= 10_000 + income + 1e-6


@given(_STEPS)
def test_it_comes_to_the_same_whether_somebody_asks_at_every_moment_or_seldom(steps: list[Step]) -> None:
    """Income is credited when a question is asked; a budget that is asked all the time has the same."""
    lazy, eager, real_s = Budget(CONFIG, EVEN), Budget(CONFIG, EVEN), 0.0
    assert lazy.left_bytes(at(0.0)) == eager.left_bytes(at(0.0))
    for step in steps:
        for part in range(1, 8):
            eager.left_bytes(at(real_s + step.pause_s * part / 8))
        real_s += step.pause_s
        now = at(real_s)
        for budget in (lazy, eager):
            budget.note(now)
            budget.early = step.early
        paid = [_pays(budget, step, now) for budget in (eager, lazy)]
        # An amount that is affordable to the last byte may fall on either side of it.
        assume(paid[0] == paid[1])
    for lane in EVEN:
        assert lazy.choosable_bytes(lane, at(real_s)) == pytest.approx(
            eager.choosable_bytes(lane, at(real_s)), abs=1e-3
        )
    records = lazy.record(), eager.record()
    assert records[0] is not None
    assert records[1] is not None
    assert records[0].tokens == pytest.approx(records[1].tokens, abs=1e-3)
    assert records[0].clock_s == pytest.approx(records[1].clock_s)
    assert sum(cost for _, cost in records[0].hour) == sum(cost for _, cost in records[1].hour)


def _pays(budget: Budget, step: Step, now: Instant) -> bool:
    lane = step.purpose
    if step.what == "send" or (lane != "adapt" and lane != "ask" and lane != "audit"):
        return budget.send(step.purpose, step.size_bytes, now)
    if not budget.take(lane, step.size_bytes, now):
        return False
    # Some of it is smaller than was paid for, and some never goes; neither call says when it is.
    if step.what == "restart":
        budget.settle(lane, step.size_bytes, step.size_bytes // 2)
    elif step.what == "crash":
        budget.refund(lane, step.size_bytes)
    return True


def test_what_comes_back_finds_the_account_as_it_is_by_then() -> None:
    """A refund to a lane that has filled up meanwhile is lost, and does not push its income to others."""
    lazy, eager = Budget(CONFIG, EVEN), Budget(CONFIG, EVEN)
    for budget in (lazy, eager):
        assert budget.take("audit", 1_000, at(0.0))
        assert budget.take("adapt", 4_000, at(0.0))
    full_s = (1_000 + OVERHEAD_BYTES) / (36_000 / 3600.0 * 0.25)
    eager.left_bytes(at(full_s))
    lazy.note(at(full_s))
    for budget in (lazy, eager):
        budget.refund("audit", 1_000)
    wanted = eager.choosable_bytes("adapt", at(full_s))
    assert lazy.choosable_bytes("adapt", at(full_s)) == pytest.approx(wanted)


def test_what_a_lane_leaves_the_others_get() -> None:
    accounts = Accounts(EVEN, 10_000, 0)
    assert accounts.take("adapt", 5_000, early=False)
    assert accounts.take("audit", 2_500, early=False)
    accounts.fill(1_500.0)
    # The ask lane is full: its quarter goes to the others, two to one.
    assert accounts.left_bytes("adapt") == pytest.approx(1_000.0)
    assert accounts.left_bytes("audit") == pytest.approx(500.0)
    accounts.fill(1e9)
    assert [accounts.left_bytes(lane) for lane in EVEN] == [5_000.0, 2_500.0, 2_500.0]


def test_a_lane_without_a_share_has_nothing_and_the_audit_never_borrows() -> None:
    accounts = Accounts({"adapt": 1.0, "ask": 0.0, "audit": 1.0}, 10_000, 6_000)
    assert not accounts.take("ask", 1, early=True)
    assert accounts.left_bytes("adapt", early=True) == 5_000 + 3_000
    assert accounts.left_bytes("audit", early=True) == 5_000
    assert accounts.take("adapt", 7_000, early=True)
    assert not accounts.take("adapt", 1, early=False)


def test_adapt_and_ask_leave_the_audit_lanes_share_of_the_hour() -> None:
    config = BudgetSection(bytes_per_hour=40_000, burst_bytes=1_000_000, debt_bytes=0)
    budget, sent = Budget(config, EVEN), 0
    while budget.send("adapt", 830, at(0.0)):
        sent += 1_000
    assert 25_000 <= sent <= 30_000
    assert budget.send("audit", 830, at(0.0))
    while budget.send("audit", 830, at(0.0)):
        pass
    assert budget.send("report", 830, at(0.0)), "and both leave something for reports"


def test_a_young_segment_borrows_and_pays_back_before_anything_else_is_sent() -> None:
    config = BudgetSection(bytes_per_hour=36_000, burst_bytes=10_000, debt_bytes=10_000)
    budget = Budget(config)
    budget.early = True
    while budget.send("adapt", 830, at(0.0)):
        pass
    assert -10_000 <= budget.left_bytes(at(0.0)) <= -9_000
    budget.early = False
    assert not budget.send("adapt", 830, at(900.0)), "10 bytes a second: not before the debt is paid"
    wait_s = budget.wait_s("adapt", 830, at(900.0))
    assert wait_s == pytest.approx(200.0, abs=101.0)
    assert budget.send("adapt", 830, at(900.0 + wait_s + 0.1))


def test_the_bucket_holds_no_more_than_the_burst_and_time_never_runs_back() -> None:
    budget = Budget(CONFIG)
    assert budget.left_bytes(at(1e6)) == 10_000
    assert budget.send("audit", 4_000, at(1e6))
    left = budget.left_bytes(at(1e6))
    assert budget.left_bytes(at(1.0)) == left
    assert budget.left_bytes(at(1e6)) == left


def test_a_spent_budget_lets_only_control_and_outcomes_through_and_counts_them() -> None:
    budget = Budget(CONFIG)
    budget.receive("patch", 40_000, at(0.0))
    for purpose in ("adapt", "ask", "audit", "descriptor", "report"):
        assert not budget.send(purpose, 1, at(0.0))
        assert 0.0 < budget.wait_s(purpose, 1, at(0.0)) <= 3600.0
    budget.control(500, 0, at(0.0))
    assert budget.send("report", 300, at(0.0), urgent=True)
    assert budget.left_bytes(at(0.0)) < 0
    lines = {line.purpose: line for line in budget.ledger.lines()}
    assert tuple(lines) == PURPOSES
    assert lines["patch"].bytes_down == 40_000 + OVERHEAD_BYTES
    assert lines["control"].bytes_up == 500
    assert lines["report"].bytes_up == 300 + OVERHEAD_BYTES
    assert budget.send("report", 1, at(3700.0)), "an hour later it is forgotten"


def test_noise_takes_a_share_of_the_hour_and_of_the_day_at_most_and_the_ledger_has_all_of_it() -> None:
    budget = Budget(CONFIG)
    for _ in range(100):
        budget.receive("patch", 4 << 20, at(0.0), noise=True)
    assert budget.left_bytes(at(0.0)) == 10_000 - 36_000 // 8
    assert budget.ledger.down_bytes == 100 * ((4 << 20) + OVERHEAD_BYTES)
    assert budget.send("report", 1_000, at(0.0))
    for hour in range(1, 20):
        budget.receive("patch", 4 << 20, at(3700.0 * hour), noise=True)
    lost = sum(spent for _, spent in (budget.record() or BudgetRecord(0.0, 0.0)).day)
    assert lost == 200_000 // 8 + 1_000 + OVERHEAD_BYTES, "nor can it use up the day, hour by hour"
    budget.receive("patch", 40_000, at(80_000.0))
    assert not budget.send("report", 1, at(80_000.0)), "what the device believes counts in full"


def test_the_clouds_limits_take_the_place_of_the_configured_ones() -> None:
    budget = Budget(CONFIG)
    budget.assign(3_600, None, at(0.0))
    assert budget.left_bytes(at(0.0)) == 3_600
    budget.assign(None, 1_000, at(0.0))
    assert budget.left_bytes(at(0.0)) == 1_000
    budget.assign(-5, 100_000, at(0.0))
    assert budget.left_bytes(at(1e6)) == 0
    assert not budget.send("report", 1, at(1e6))
    assert budget.choosable_bytes("adapt", at(1e6)) <= 0


@pytest.mark.parametrize("burst_bytes", [8_000, 20_000])
def test_a_devices_samples_stay_within_the_hour_end_to_end(tiny: Bundle, burst_bytes: int) -> None:
    settings = rig.config(
        budget=BudgetSection(bytes_per_hour=20_000, burst_bytes=burst_bytes, debt_bytes=0, segment_share=1.0),
        flagging=FlaggingSection(
            policy="entropy-band", entropy_low=0.0, entropy_high=1.0, redundancy_margin=1.0, clusters=0
        ),
    )
    device = Rig(tiny, settings)
    answers = device.play(rig.frames(200, level=0.5))
    samples = [m for m in device.received if isinstance(m, Sample)]
    assert samples
    assert len(samples) + len(device.outbox) >= sum(a.flagged for a in answers) > 0
    view = device.device.view(device.now)
    sample_lines = [line for line in view.ledger if line.purpose in ("adapt", "ask", "audit")]
    assert sum(line.bytes_up for line in sample_lines) == sum(
        len(encode(s)) + OVERHEAD_BYTES for s in samples
    )
    assert sum(line.messages for line in sample_lines) == len(samples)
    control = next(line for line in view.ledger if line.purpose == "control")
    assert view.bytes_up + view.bytes_down <= 20_000 + control.bytes_up + control.bytes_down


def test_the_budget_outlives_a_restart_and_time_refills_it(tiny: Bundle, tmp_path: Path) -> None:
    settings = rig.config(
        budget=BudgetSection(bytes_per_hour=36_000, burst_bytes=20_000, debt_bytes=0),
        flagging=FlaggingSection(
            policy="entropy-band", entropy_low=0.0, entropy_high=1.0, redundancy_margin=1.0
        ),
    )
    device = Rig(tiny, settings, store=GenerationStore(tmp_path))
    device.play(rig.frames(100, level=0.5))
    device.device.stop()
    state, _ = GenerationStore(tmp_path).load()
    assert state is not None
    assert state.budget is not None
    left = device.device.view(device.now).budget_left_bytes
    later = Budget(settings.budget)
    later.restore(state.budget, at(device.now.mono_s + 60.0))
    assert later.left_bytes(at(device.now.mono_s + 60.0)) == pytest.approx(left + 600, abs=2)
    behind = Budget(settings.budget)
    behind.restore(state.budget, at(0.0))
    assert behind.left_bytes(at(0.0)) == left, "a machine that has just started says nothing of the time"


def test_an_unclean_end_counts_what_may_have_been_spent_since_the_last_commit() -> None:
    budget = Budget(CONFIG)
    budget.left_bytes(at(0.0))
    unclean = budget.record()
    assert unclean is not None
    assert budget.send("adapt", unclean.ahead_bytes - OVERHEAD_BYTES, at(1.0))
    due = [budget.must_commit]
    assert budget.send("adapt", 1, at(1.0))
    due.append(budget.must_commit)
    assert due == [False, True], "before what goes beyond it leaves, the record must be renewed"
    again = Budget(CONFIG)
    again.restore(unclean, at(1.0))
    assert again.left_bytes(at(1.0)) <= 10_000 - unclean.ahead_bytes + 10


def test_a_record_of_an_older_release_still_loads(tiny: Bundle, tmp_path: Path) -> None:
    Rig(tiny, store=GenerationStore(tmp_path)).device.stop()
    store = GenerationStore(tmp_path)
    state, envelopes = store.load()
    assert state is not None
    for record in (None, BudgetRecord(tokens=1_234_567.0, wall_s=5.0), BudgetRecord(-70.0, 5.0)):
        store.commit(msgspec.structs.replace(state, budget=record), envelopes)
        again = Rig(tiny, store=GenerationStore(tmp_path))
        left = again.device.view(again.now).budget_left_bytes
        full = min(record.tokens, 1_000_000) if record is not None else 1_000_000
        assert full - 4_000 < left <= full
    assert msgspec.convert({"tokens": 1.0, "wall_s": 2.0}, BudgetRecord) == BudgetRecord(1.0, 2.0)


@pytest.mark.parametrize("tokens", [float("nan"), float("inf"), 1e12])
def test_a_kept_budget_is_never_more_than_the_burst(tokens: float) -> None:
    budget = Budget(CONFIG)
    budget.restore(BudgetRecord(tokens, float("nan"), lanes=(1e9, float("nan"), 3.0)), at(0.0))
    assert budget.left_bytes(at(0.0)) == 10_000
    assert budget.choosable_bytes("adapt", at(0.0)) <= 7_000


def test_every_kind_of_message_has_a_purpose() -> None:
    assert [purpose_of("sample", lane) for lane in ("adapt", "ask", "audit", "")] == [
        "adapt",
        "ask",
        "audit",
        "adapt",
    ]
    found = [purpose_of(kind) for kind in ("descriptor", "signature", "outcome", "metric", "patch", "ack")]
    assert found == ["descriptor", "report", "report", "report", "patch", "control"]
