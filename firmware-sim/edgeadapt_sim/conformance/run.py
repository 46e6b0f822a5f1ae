"""All clauses against one device, in order."""

from __future__ import annotations

from collections.abc import Callable

from edgeadapt_sim.conformance import delivery, orders, patches, rollback, session, wants
from edgeadapt_sim.conformance.clause import Clause, Shown, Trial, shown

CLAUSES: tuple[Clause, ...] = (
    *session.FIRST,
    *orders.CLAUSES,
    *delivery.CLAUSES,
    *patches.CLAUSES,
    *rollback.CLAUSES,
    *wants.CLAUSES,
    # Where samples wait to be wanted, one has come by now.
    *delivery.SAMPLES,
    *patches.DEAR,
    *session.LAST,
    *delivery.LAST,
)


def run(
    trial: Trial, told: Callable[[Shown], None] = lambda result: None, only: tuple[str, ...] = ()
) -> tuple[Shown, ...]:
    """Run the clauses (`only` those, or all); `told` hears of each as it is done. Raises TransportError."""
    results = []
    for clause in CLAUSES:
        # What a device is has to be known whatever is asked.
        if only and clause.name not in only and clause not in session.FIRST:
            continue
        results.append(shown(clause, trial))
        told(results[-1])
    return tuple(results)


def fails(results: tuple[Shown, ...]) -> bool:
    """True when a clause failed."""
    return any(result.state == "fail" for result in results)
