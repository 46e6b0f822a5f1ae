"""Stages of a patch's rollout, as a table.

    gated ----> canary ----> confirmed ----> stable ----> retired
      ^-----------|  |                          |
                     `--------> halted <--------'

A patch that passed the gate waits (gated) until a device of its cohort can be the canary. Two rules:
every (stage, signal) pair that may happen is in `TRANSITIONS`, and any other raises.
Not here: who the canary is and what is published (`rollout.release`).
"""

from __future__ import annotations

from enum import Enum


class Stage(str, Enum):
    """Where a patch stands."""

    GATED = "gated"
    CANARY = "canary"
    CONFIRMED = "confirmed"
    STABLE = "stable"
    HALTED = "halted"
    RETIRED = "retired"
    # Its values were issued again under a newer serial, or it carried older values to a halted canary.
    REISSUED = "reissued"


class Signal(str, Enum):
    """What happened to it."""

    # A device of the cohort can try it.
    SENT = "sent"
    # The canary went offline or to another domain before its trial ended, or could not take the patch.
    LEFT = "left"
    # The canary's trial ended well, or ended badly, or it refused the patch's values.
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    # The canary said nothing in time.
    OVERDUE = "overdue"
    # No canary wanted: canaries are off, or an operator ordered it.
    UNTRIED = "untried"
    # It was put on the stable channel.
    PUBLISHED = "published"
    # Too many devices reverted it, or an operator ordered it back.
    WITHDRAWN = "withdrawn"
    # A newer patch took its place.
    SUPERSEDED = "superseded"
    # It goes only to the device that tried a halted patch, or a newer serial carries its values.
    RECALLED = "recalled"


TRANSITIONS: dict[tuple[Stage, Signal], Stage] = {
    (Stage.GATED, Signal.SENT): Stage.CANARY,
    (Stage.GATED, Signal.UNTRIED): Stage.CONFIRMED,
    # A canary that left may still judge the patch when its domain returns.
    (Stage.GATED, Signal.CONFIRMED): Stage.CONFIRMED,
    (Stage.GATED, Signal.REVERTED): Stage.HALTED,
    (Stage.GATED, Signal.WITHDRAWN): Stage.HALTED,
    (Stage.GATED, Signal.RECALLED): Stage.REISSUED,
    (Stage.CANARY, Signal.LEFT): Stage.GATED,
    (Stage.CANARY, Signal.CONFIRMED): Stage.CONFIRMED,
    (Stage.CANARY, Signal.REVERTED): Stage.HALTED,
    (Stage.CANARY, Signal.OVERDUE): Stage.HALTED,
    (Stage.CANARY, Signal.WITHDRAWN): Stage.HALTED,
    (Stage.CONFIRMED, Signal.PUBLISHED): Stage.STABLE,
    (Stage.STABLE, Signal.WITHDRAWN): Stage.HALTED,
    (Stage.STABLE, Signal.SUPERSEDED): Stage.RETIRED,
    (Stage.STABLE, Signal.RECALLED): Stage.REISSUED,
    (Stage.RETIRED, Signal.RECALLED): Stage.REISSUED,
}

UNSETTLED = frozenset({Stage.GATED, Stage.CANARY, Stage.CONFIRMED})
"""Stages in which a rollout is under way: the cohort starts no new job."""


class IllegalTransition(RuntimeError):
    """A signal that cannot happen in this stage: a defect in the caller, not in any input."""


def advance(stage: Stage, signal: Signal) -> Stage:
    """The next stage; raises IllegalTransition on a pair that is not in the table."""
    try:
        return TRANSITIONS[stage, signal]
    except KeyError:
        raise IllegalTransition(f"{signal.value!r} cannot happen to a patch that is {stage.value}") from None
