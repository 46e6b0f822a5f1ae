"""Clauses about the way back: by a new serial, as a cloud does it, and by a command, as an operator does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeadapt.patch import seal
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import Command, Metric
from edgeadapt_sim.conformance.clause import Clause, Trial, Verdict, failed, not_shown, passed
from edgeadapt_sim.conformance.patches import assign, header, offer, outcomes, values
from edgeadapt_sim.conformance.stand import replies

_NOTHING = np.zeros(0, np.float32)
_SERIAL = 10
_TAKEN = ("trial", "confirmed", "reapplied")


@dataclass(frozen=True, slots=True)
class _Offered:
    """A patch that the device has taken."""

    cohort: str
    digest: str
    envelope: bytes
    values: dict[str, FloatArray]


def _give(trial: Trial) -> _Offered | Verdict:
    """Have the device take a patch, on trial or at once; a verdict when it does not come to that."""
    if trial.key is None or trial.bundle is None:
        return not_shown("no key or no bundle was given")
    cohort = assign(trial)
    if cohort is None:
        return not_shown("it does not say which segment it is in")
    moved = values(trial)
    envelope = seal(header(trial, cohort, serial=_SERIAL), moved, _NOTHING, trial.key)
    digest = offer(trial, cohort, envelope)
    trial.stand.until(lambda: bool(outcomes(trial, digest)), trial.patience.answer_s)
    states = [outcome.state for outcome in outcomes(trial, digest)]
    if not states or states[0] not in _TAKEN:
        return not_shown(f"it did not take the patch: {states[0] if states else 'no outcome came'}")
    return _Offered(cohort, digest, envelope, moved)


def by_serial(trial: Trial) -> Verdict:
    """A new serial without values is the base; the patch before it does not come back."""
    given = _give(trial)
    if isinstance(given, Verdict):
        return given
    assert trial.key is not None
    base = offer(
        trial,
        given.cohort,
        seal(header(trial, given.cohort, serial=_SERIAL + 1), {}, _NOTHING, trial.key),
    )
    trial.stand.until(lambda: bool(outcomes(trial, base)), trial.patience.answer_s)
    found = outcomes(trial, base)
    if not found:
        return failed("no outcome of the way back came")
    if found[0].state != "confirmed":
        return failed(f"the base did not come back: {found[0].state} {found[0].reason[:80]}".rstrip())
    if fault := _taken_again(trial, given, given.envelope):
        return failed(f"the older serial came again, and {fault}")
    return passed("confirmed; the older serial is left alone")


def by_command(trial: Trial) -> Verdict:
    """`rollback` brings back the base; the patch, and its values under a new serial, are not taken again."""
    given = _give(trial)
    if isinstance(given, Verdict):
        return given
    assert trial.key is not None
    stand, order = trial.stand, trial.fresh("rollback")
    stand.order(Command(id=order, action="rollback"))
    if not stand.until(lambda: bool(replies(stand, order)), trial.patience.answer_s):
        return failed("no reply came")
    reply = replies(stand, order)[0][1]
    if not reply.done:
        return failed(f"it does not roll back: {reply.reason} {reply.detail}".rstrip())
    if fault := _taken_again(trial, given, given.envelope):
        return failed(f"the same patch came again, and {fault}")
    anew = seal(header(trial, given.cohort, serial=_SERIAL + 1), given.values, _NOTHING, trial.key)
    digest = offer(trial, given.cohort, anew)
    stand.until(lambda: bool(outcomes(trial, digest)), trial.patience.answer_s)
    states = [outcome.state for outcome in outcomes(trial, digest)]
    if states != ["reverted"]:
        said = ", ".join(states) or "no outcome"
        return failed(
            f"the same values came as serial {_SERIAL + 1}, and were not answered 'reverted': {said}"
        )
    return _still_base(trial, (given.digest, digest), reply.detail)


def _taken_again(trial: Trial, given: _Offered, envelope: bytes) -> str:
    """Offer a patch once more; what is wrong with what the device makes of that, or ""."""
    stand = trial.stand
    # What it says of the trial that was broken off is no answer to this.
    stand.pump(min(1.0, trial.patience.quiet_s))
    known = len(outcomes(trial, given.digest))
    offer(trial, given.cohort, envelope)
    stand.pump(trial.patience.quiet_s)
    again = [outcome.state for outcome in outcomes(trial, given.digest)[known:] if outcome.state in _TAKEN]
    return f"was taken: {again[0]}" if again else ""


def _still_base(trial: Trial, patches: tuple[str, ...], detail: str) -> Verdict:
    """The first metric after the last answer must name none of the patches as what runs."""
    stand, now = trial.stand, len(trial.stand.heard)
    if not stand.until(lambda: bool(stand.said(Metric, now)), trial.patience.sample_s):
        return passed(f"{detail}; no metric came to say what runs".lstrip("; "))
    runs = stand.said(Metric, now)[0].generation
    if runs and any(digest.startswith(runs) for digest in patches):
        return failed(f"it says that it went back, and runs {runs}")
    return passed(f"{detail}; runs {runs or 'the base'}".lstrip("; "))


CLAUSES = (
    Clause("rollback.serial", "A newer serial without values brings back the base", by_serial),
    Clause("rollback.command", "What a rollback took back is not taken again", by_command),
)
