"""Outcomes: what became of a patch on this device, as messages; the outbox fills in its id and sequence."""

from __future__ import annotations

from typing import Literal

from edgeadapt.errors import TrustError
from edgeadapt.wire import Outcome
from edgeadapt_device.core.adapt.domains import BankEntry
from edgeadapt_device.core.adapt.trial import Trial
from edgeadapt_device.core.state import TrialRecord

State = Literal["trial", "confirmed", "reverted", "refused", "reapplied"]
_MAX_REASON = 500


def _outcome(cohort: str, serial: int, patch: str, state: State, reason: str) -> Outcome:
    return Outcome(
        outbox="",
        sequence=0,
        cohort=cohort,
        serial=serial,
        patch=patch,
        state=state,
        reason=reason[:_MAX_REASON],
    )


def of_entry(entry: BankEntry) -> Outcome:
    """A remembered patch runs without a trial: it was confirmed before, or the cloud wants the base."""
    header = entry.patch.header
    state: State = "reapplied" if entry.patch.values else "confirmed"
    return _outcome(header.cohort, header.serial, entry.patch.digest, state, "")


def of_renewed(entry: BankEntry) -> Outcome:
    """What runs was issued anew, and had proved itself before."""
    header = entry.patch.header
    return _outcome(header.cohort, header.serial, entry.patch.digest, "confirmed", "")


def of_blocked(entry: BankEntry) -> Outcome:
    """A patch with values that must not run here: it is not tried again."""
    header, reason = entry.patch.header, "the same values were reverted here before"
    return _outcome(header.cohort, header.serial, entry.patch.digest, "reverted", reason)


def of_rollback(entry: BankEntry, reason: str) -> Outcome:
    """A patch that ran here, and was taken back for another reason than the evidence of a trial."""
    header = entry.patch.header
    return _outcome(header.cohort, header.serial, entry.patch.digest, "reverted", reason)


def of_trial(trial: Trial, state: State, reason: str = "") -> Outcome:
    """Where the trial stands, with the evidence so far."""
    candidate, seen = trial.candidate, trial.evidence
    entropy_old, entropy_new = seen.entropies
    return Outcome(
        outbox="",
        sequence=0,
        cohort=candidate.cohort,
        serial=candidate.serial,
        patch=candidate.digest,
        state=state,
        reason=reason[:_MAX_REASON],
        frames=seen.frames,
        entropy_old=entropy_old,
        entropy_new=entropy_new,
        agreement=seen.agreement,
        evidence=seen.lines,
    )


def of_refusal(cohort: str, serial: int, digest: str, error: TrustError) -> Outcome:
    """A patch that is not believed."""
    return _outcome(cohort, serial, digest, "refused", str(error))


def of_cut_off(trial: TrialRecord) -> Outcome:
    """A trial that the process did not survive."""
    return _outcome(trial.cohort, trial.serial, trial.digest, "reverted", "the device restarted in mid-trial")
