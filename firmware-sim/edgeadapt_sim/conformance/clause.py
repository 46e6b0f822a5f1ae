"""What a clause is: one sentence of the protocol, and a function that makes a device show it.

Clauses run in the order in which they are listed, against one device that goes on from clause to clause.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeadapt.bundle import Bundle
from edgeadapt_sim.conformance.stand import Stand

State = Literal["pass", "fail", "not shown"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds.

    Attributes:
        answer_s: for what a device does at once.
        resend_s: for what it sends again without an answer; longer than its longest first pause.
        quiet_s: how long nothing may come where nothing should.
        sample_s: for the first sample, descriptor or trial's end.
    """

    answer_s: float = 15.0
    resend_s: float = 60.0
    quiet_s: float = 30.0
    sample_s: float = 120.0


@dataclass(slots=True)
class Trial:
    """Everything that clauses share.

    Attributes:
        stand: the place at the broker.
        patience: how long to wait.
        bundle: what the device has installed; None: patches for it cannot be made.
        key: signs patches that the device believes; None: such cannot be made.
        restart: starts the device anew; None: nobody can.
        intrusive: the device's connection may be broken.
        counter: for names that have not been used.
    """

    stand: Stand
    patience: Patience = field(default_factory=Patience)
    bundle: Bundle | None = None
    key: Ed25519PrivateKey | None = None
    restart: Callable[[], None] | None = None
    intrusive: bool = True
    counter: int = 0

    def fresh(self, what: str) -> str:
        """A name that was not used before."""
        self.counter += 1
        return f"{what}-{self.stand.asker[-8:]}-{self.counter}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a clause."""

    state: State
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Clause:
    """One sentence of the protocol. `name` is stable, for machines."""

    name: str
    sentence: str
    show: Callable[[Trial], Verdict]


@dataclass(frozen=True, slots=True)
class Shown:
    """A clause with its verdict."""

    name: str
    sentence: str
    state: State
    detail: str
    seconds: float


def passed(detail: str = "") -> Verdict:
    """It was seen."""
    return Verdict("pass", detail)


def failed(detail: str) -> Verdict:
    """The opposite was seen, or nothing where something must be."""
    return Verdict("fail", detail)


def not_shown(detail: str) -> Verdict:
    """It could not be seen here."""
    return Verdict("not shown", detail)


def shown(clause: Clause, trial: Trial) -> Shown:
    """Run one clause."""
    began_s = time.monotonic()
    verdict = clause.show(trial)
    seconds = round(time.monotonic() - began_s, 2)
    return Shown(clause.name, clause.sentence, verdict.state, verdict.detail, seconds)
