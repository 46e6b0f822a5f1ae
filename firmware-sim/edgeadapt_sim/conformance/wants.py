"""The clause about samples that wait to be wanted: announced, then sent or forgotten."""

from __future__ import annotations

from edgeadapt.wire import Descriptors, Sample, Want
from edgeadapt_sim.conformance.clause import Clause, Trial, Verdict, failed, not_shown, passed
from edgeadapt_sim.conformance.stand import Key


def wants(trial: Trial) -> Verdict:
    """A sample that is wanted comes; one that was declined never does."""
    stand = trial.stand

    def announced() -> list[Key]:
        rows = [copies.row for copies in stand.rows.values()]
        found = [
            (row.outbox, item.sample) for row in rows if isinstance(row, Descriptors) for item in row.items
        ]
        return [key for key in found if key not in stand.rows]

    def enough() -> bool:
        return len(announced()) >= 2 and announced()[-1][0] == announced()[-2][0]

    if not stand.until(enough, trial.patience.sample_s):
        return not_shown("it did not announce two samples")
    # The newest: a device may let go of old ones when it is full.
    outbox = announced()[-1][0]
    wanted, declined = [key for key in announced() if key[0] == outbox][-2:]
    stand.tell("want", Want(outbox=outbox, wanted=(wanted[1],), declined=(declined[1],)))
    if not stand.until(lambda: wanted in stand.rows, trial.patience.resend_s):
        return failed(f"sample {wanted[1]} was wanted and did not come")
    if not isinstance(stand.rows[wanted].row, Sample):
        return failed(f"sequence {wanted[1]} is no sample")
    stand.pump(trial.patience.quiet_s)
    if declined in stand.rows:
        return failed(f"sample {declined[1]} was declined and came all the same")
    return passed(f"{wanted[1]} came, {declined[1]} did not")


CLAUSES = (Clause("want.obeyed", "What is wanted comes, what is declined never does", wants),)
