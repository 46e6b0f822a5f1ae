"""A wall clock that jumps ten years, forwards or back, while a device runs and between its starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.digest import sha256_hex
from edgeadapt.wire import Outcome, topics
from edgeadapt_device.config import BudgetSection, DeviceConfig, FlaggingSection, OutputSection, TrialSection
from edgeadapt_device.core import events as ev
from edgeadapt_device.core.effects import PublishNow, Subscribe
from edgeadapt_device.core.steps import ClockSteps
from edgeadapt_device.io.outbox import MemoryOutbox
from edgeadapt_device.io.store import GenerationStore
from tests.device import rig
from tests.device.rig import Rig, sealed

TEN_YEARS_S = 10 * 365.25 * 86_400.0
JUMPS = pytest.mark.parametrize("jump_s", [TEN_YEARS_S, -TEN_YEARS_S, 1e5 - rig.START_S])


class Jumping(Rig):
    """A rig whose wall clock can be set; its other clock never notices."""

    def __init__(
        self, bundle: Bundle, settings: DeviceConfig | None = None, *, ahead_s: float = 0.0, **named: Any
    ) -> None:
        self.ahead_s = ahead_s
        super().__init__(bundle, settings, **named)

    @property
    def now(self) -> Instant:
        moment = super().now
        return Instant(moment.mono_s, moment.wall_s + self.ahead_s)


def confirm(device: Rig) -> None:
    """Play until the patch on trial is kept."""
    while device.device.view(device.now).trial != "confirmed":
        device.play(rig.frames(50))


def refusals(device: Rig) -> list[Outcome]:
    return [outcome for outcome in device.outcomes if outcome.state == "refused"]


def test_a_patch_refused_by_a_wrong_clock_is_asked_for_again_when_it_is_set(tiny: Bundle) -> None:
    device = Jumping(tiny)
    device.assign()
    device.ahead_s = TEN_YEARS_S
    envelope = sealed(tiny, rig.harmless(tiny))
    device.publish(envelope)
    assert "expired" in refusals(device)[-1].reason
    device.play(rig.frames(10))
    assert device.generation == "base"
    device.ahead_s = 0.0
    effects = device.device.core.handle(ev.Tick(), device.now)
    topic = topics.patch(rig.FLEET, rig.COHORT, "stable")
    assert topic in [effect.topic for effect in effects if isinstance(effect, Subscribe)]
    device.publish(envelope)  # what a broker does for whoever subscribes
    confirm(device)
    assert device.generation == sha256_hex(envelope)[:12]


def test_a_patch_that_waited_and_expired_by_a_jump_is_tried_when_the_clock_is_right(tiny: Bundle) -> None:
    device = Jumping(tiny)
    envelope = sealed(tiny, rig.harmless(tiny))
    # It is kept for later: nothing says yet that the present segment is of its cohort.
    device.assign(segment=5)
    device.publish(envelope)
    device.ahead_s = TEN_YEARS_S
    device.assign()
    device.play(rig.frames(10))
    assert device.generation == "base"
    device.ahead_s = 0.0
    device.play(rig.frames(1))
    confirm(device)
    assert device.generation == sha256_hex(envelope)[:12]


@JUMPS
def test_a_confirmed_patch_goes_on_whatever_the_clock_says(
    tiny: Bundle, tmp_path: Path, jump_s: float
) -> None:
    device = Jumping(tiny, store=GenerationStore(tmp_path))
    device.assign()
    device.publish(sealed(tiny, rig.harmless(tiny)))
    confirm(device)
    name = device.generation
    device.ahead_s = jump_s
    device.play(rig.frames(50))
    assert device.generation == name
    device.device.stop()
    again = Jumping(tiny, store=GenerationStore(tmp_path), start_mono_s=1e3)
    assert again.generation == name


@JUMPS
def test_a_trial_is_neither_cut_short_nor_drawn_out(tiny: Bundle, jump_s: float) -> None:
    settings = rig.config(trial=TrialSection(frames=400, min_compared=16, deadline_s=60.0))
    device = Jumping(tiny, settings)
    device.assign()
    device.publish(sealed(tiny, rig.harmless(tiny)))
    device.play(rig.frames(5))
    assert device.device.view(device.now).trial in ("settling", "running")
    device.ahead_s = jump_s
    device.play(rig.frames(1))
    assert device.device.view(device.now).trial in ("settling", "running")
    deadline = device.device.core.next_deadline()
    assert deadline is not None
    assert deadline < device.now.mono_s + 60.0
    device.wait(61.0)
    assert device.device.view(device.now).trial in ("confirmed", "reverted")


@JUMPS
def test_timers_go_on_at_their_pace(tiny: Bundle, jump_s: float) -> None:
    device = Jumping(tiny, rig.config(output=OutputSection(metric_every_s=10.0)))
    device.play(rig.frames(5))
    device.ahead_s = jump_s
    metric = topics.up(rig.FLEET, rig.NAME, "metric")
    sent = 0
    for _ in range(10):
        device._mono_s += 10.0
        effects = device.device.core.handle(ev.Tick(), device.now)
        sent += sum(isinstance(effect, PublishNow) and effect.topic == metric for effect in effects)
    assert sent == 10


@JUMPS
def test_the_budget_of_a_restarted_device_is_neither_endless_nor_gone(
    tiny: Bundle, tmp_path: Path, jump_s: float
) -> None:
    budget = BudgetSection(bytes_per_hour=36_000, burst_bytes=10_000)
    settings = rig.config(budget=budget, flagging=FlaggingSection(audit_chance=0.9, min_drift=0.0))
    first = Jumping(tiny, settings, store=GenerationStore(tmp_path), outbox=MemoryOutbox())
    first.play(rig.frames(60))
    left = first.device.view(first.now).budget_left_bytes
    assert left < 10_000
    first.device.stop()
    again = Jumping(tiny, settings, ahead_s=jump_s, store=GenerationStore(tmp_path), outbox=MemoryOutbox())
    now_left = again.device.view(again.now).budget_left_bytes
    # No time went by, whatever the clock says; connecting costs, and so does what waits in the outbox.
    assert left - 4_000 < now_left < left
    again.wait(100.0)
    later = again.device.view(again.now).budget_left_bytes
    assert 0 < later <= now_left + 1000, "ten bytes a second flow in, and some go out"


def test_small_corrections_are_no_steps() -> None:
    steps = ClockSteps()
    for second in range(100):
        assert steps.step_s(Instant(float(second), 1e9 + 1.3 * second)) == 0.0
    assert steps.step_s(Instant(100.0, 5e8)) < -4e8
    assert steps.step_s(Instant(101.0, 5e8 + 1.0)) == 0.0


def test_a_step_is_told_once(tiny: Bundle) -> None:
    device = Jumping(tiny)
    device.play(rig.frames(3))
    device.ahead_s = TEN_YEARS_S
    device.play(rig.frames(20))
    assert [line for line in device.device.log if line.startswith("the clock was set")] == [
        f"the clock was set, by {TEN_YEARS_S:.0f} s"
    ]
