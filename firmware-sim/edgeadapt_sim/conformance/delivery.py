"""Clauses about the outbox: what is not acknowledged comes again, what is does not, no number comes twice."""

from __future__ import annotations

from edgeadapt.digest import sha256_hex
from edgeadapt.wire import Ack, Command, Sample
from edgeadapt_sim.conformance.clause import Clause, Trial, Verdict, failed, not_shown, passed
from edgeadapt_sim.conformance.stand import Copies, Key

# What was on its way when the acknowledgement came is no fault.
_ON_ITS_WAY_S = 1.0
_MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff"}


def _make_row(trial: Trial) -> tuple[Key, Copies] | None:
    """Have the device put something into its outbox; None when nothing comes."""
    stand = trial.stand
    known = set(stand.rows)
    stand.order(Command(id=trial.fresh("row"), action="report"))
    if not stand.until(lambda: bool(set(stand.rows) - known), trial.patience.answer_s):
        return None
    key = min(set(stand.rows) - known, key=lambda k: stand.rows[k].at_s[0])
    return key, stand.rows[key]


def resent(trial: Trial) -> Verdict:
    """A row that is not acknowledged comes again, the same bytes under the same sequence."""
    stand = trial.stand
    stand.holding = True
    try:
        made = _make_row(trial)
        if made is None:
            return failed("an order to report brought no signature")
        key, copies = made
        again = stand.until(lambda: len(copies.at_s) > 1, trial.patience.resend_s)
    finally:
        stand.release()
    if not again:
        return failed(f"sequence {key[1]} was not acknowledged and did not come again")
    if copies.others:
        return failed(f"sequence {key[1]} came again with other bytes")
    return passed(f"after {copies.at_s[1] - copies.at_s[0]:.1f} s")


def foreign_ack(trial: Trial) -> Verdict:
    """An acknowledgement for another outbox acknowledges nothing."""
    stand = trial.stand
    stand.holding = True
    try:
        made = _make_row(trial)
        if made is None:
            return not_shown("nothing came")
        (_, sequence), copies = made
        stand.tell("ack", Ack(outbox="another-outbox", sequences=(sequence,)))
        count = len(copies.at_s)
        again = stand.until(lambda: len(copies.at_s) > count, trial.patience.resend_s)
    finally:
        stand.release()
    return passed() if again else failed(f"sequence {sequence} was given up")


def acked(trial: Trial) -> Verdict:
    """A row that was acknowledged never comes again."""
    stand = trial.stand
    if _make_row(trial) is None and not stand.rows:
        return not_shown("nothing came")
    stand.pump(trial.patience.quiet_s)
    for (_, sequence), copies in stand.rows.items():
        late = [at_s for at_s in copies.at_s if copies.acked_s and at_s > copies.acked_s + _ON_ITS_WAY_S]
        if late:
            return failed(f"sequence {sequence} came {len(late)} times after it was acknowledged")
    return passed(f"{len(stand.rows)} rows")


def sequences(trial: Trial) -> Verdict:
    """No sequence of an outbox stands for two messages, and they rise."""
    rows = trial.stand.rows
    for (outbox, sequence), copies in rows.items():
        if copies.others:
            return failed(f"sequence {sequence} of outbox {outbox} came with other bytes")
        if sequence < 0:
            return failed(f"sequence {sequence}")
    return passed(f"{len(rows)} rows") if rows else not_shown("nothing came")


def samples(trial: Trial) -> Verdict:
    """A sample holds together: its digest, its sizes, its codec."""
    stand = trial.stand

    def found() -> list[Sample]:
        return [copies.row for copies in stand.rows.values() if isinstance(copies.row, Sample)]

    if not stand.until(lambda: bool(found()), trial.patience.sample_s):
        return not_shown("no sample came")
    for sample in found():
        if fault := _fault(sample):
            return failed(f"sequence {sample.sequence}: {fault}")
    return passed(f"{len(found())} samples")


def _fault(sample: Sample) -> str:
    if sha256_hex(sample.data) != sample.sha256:
        return "sha256 is not that of data"
    if sample.codec == "none":
        return "codec none, and yet there is data" if sample.data else ""
    if min(sample.height, sample.width, sample.channels) < 1:
        return f"{sample.height}x{sample.width}x{sample.channels}"
    if not sample.data.startswith(_MAGIC.get(sample.codec, b"")):
        return f"data is no {sample.codec}"
    right = sample.height * sample.width * sample.channels
    if sample.codec == "raw" and len(sample.data) % right:
        return f"{len(sample.data)} raw bytes where {right} belong"
    if not 0.0 <= sample.p_value <= 1.0 or not 0.0 <= sample.chance <= 1.0 or sample.entropy < 0.0:
        return "p_value, chance or entropy is out of its range"
    return ""


CLAUSES = (
    Clause("delivery.resent", "What is not acknowledged comes again, unchanged", resent),
    Clause("delivery.foreign-ack", "Another outbox's acknowledgement means nothing", foreign_ack),
    Clause("delivery.acked", "What was acknowledged never comes again", acked),
)
SAMPLES = (Clause("sample.sound", "A sample is what it says it is", samples),)
LAST = (Clause("delivery.sequences", "No sequence is used twice", sequences),)
