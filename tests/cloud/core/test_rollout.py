"""The table of rollout stages, exhaustively."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeadapt_cloud.core.rollout.stages import (
    TRANSITIONS,
    UNSETTLED,
    IllegalTransition,
    Signal,
    Stage,
    advance,
)

PAIRS = [(stage, signal) for stage in Stage for signal in Signal]
# Every pair that may happen, written a second time so that an edit of the table has to be meant.
EXPECTED = {
    "gated": {
        "sent": "canary",
        "untried": "confirmed",
        "confirmed": "confirmed",
        "reverted": "halted",
        "withdrawn": "halted",
        "recalled": "reissued",
    },
    "canary": {
        "left": "gated",
        "confirmed": "confirmed",
        "reverted": "halted",
        "overdue": "halted",
        "withdrawn": "halted",
    },
    "confirmed": {"published": "stable"},
    "stable": {"withdrawn": "halted", "superseded": "retired", "recalled": "reissued"},
    "halted": {},
    "retired": {"recalled": "reissued"},
    "reissued": {},
}


@pytest.mark.parametrize(("stage", "signal"), PAIRS)
def test_every_pair(stage: Stage, signal: Signal) -> None:
    expected = EXPECTED[stage.value].get(signal.value)
    if expected is None:
        with pytest.raises(IllegalTransition, match=stage.value):
            advance(stage, signal)
    else:
        assert advance(stage, signal) is Stage(expected)


def test_every_stage_is_reached_and_every_signal_used() -> None:
    assert set(TRANSITIONS.values()) | {Stage.GATED} == set(Stage)
    assert {signal for _, signal in TRANSITIONS} == set(Signal)


@given(st.lists(st.sampled_from(list(Signal)), max_size=30))
def test_a_halted_patch_stays_halted_and_only_a_confirmed_one_becomes_stable(signals: list[Signal]) -> None:
    stage, seen = Stage.GATED, [Stage.GATED]
    for signal in signals:
        if (stage, signal) in TRANSITIONS:
            stage = advance(stage, signal)
            seen.append(stage)
    if Stage.STABLE in seen:
        assert Stage.CONFIRMED in seen[: seen.index(Stage.STABLE)]
    if Stage.HALTED in seen:
        assert seen[-1] is Stage.HALTED
    assert Stage.STABLE not in UNSETTLED
