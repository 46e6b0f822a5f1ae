"""Clauses about birth, death and versions."""

from __future__ import annotations

import re
from functools import partial

from edgeadapt.errors import TransportError
from edgeadapt.wire import Command, Status
from edgeadapt_sim.conformance.clause import Clause, Trial, Verdict, failed, not_shown, passed
from edgeadapt_sim.conformance.stand import Stand, online, replies, status_topic

_DIGEST = re.compile(r"[0-9a-f]{64}")


def birth(trial: Trial) -> Verdict:
    """The retained status is there for whoever listens, and says that the device is online."""
    stand = trial.stand
    if not stand.until(lambda: bool(stand.said(Status)), trial.patience.answer_s):
        return failed(f"nothing is retained on {status_topic(stand)}")
    if not stand.until(lambda: bool(online(stand)), trial.patience.answer_s):
        return failed("the device is offline")
    since = len(stand.heard)
    stand.ask_retained(status_topic(stand))
    if not stand.until(partial(_kept, stand, since), trial.patience.answer_s):
        return failed("the status is not retained")
    status = online(stand)[-1]
    if not _DIGEST.fullmatch(status.bundle):
        return failed(f"bundle {status.bundle[:80]!r} is no SHA-256 in hex")
    if trial.bundle is not None and status.bundle != trial.bundle.digest:
        return failed(f"it runs bundle {status.bundle[:12]}, the kit has {trial.bundle.digest[:12]}")
    return passed(f"epoch {status.epoch}, bundle {status.bundle[:12]}")


def _kept(stand: Stand, since: int) -> bool:
    return any(heard.retained and isinstance(heard.message, Status) for heard in stand.heard[since:])


def speaks(trial: Trial) -> Verdict:
    """The status says which versions the device speaks, and 1 is one of them."""
    found = online(trial.stand)
    if not found:
        return not_shown("there was no birth")
    low, high = found[-1].speaks
    return passed(f"{low} to {high}") if low <= 1 <= high else failed(f"it speaks {low} to {high}")


def death(trial: Trial) -> Verdict:
    """A broken connection makes the broker say that the device died; it comes back by itself."""
    stand, patience = trial.stand, trial.patience
    births = online(stand)
    if not births:
        return not_shown("there was no birth")
    if not trial.intrusive:
        return not_shown("breaking its connection was not allowed")
    since = len(stand.heard)
    try:
        stand.take_over()
    except TransportError as error:
        return not_shown(f"its place at the broker cannot be taken: {error}")
    if not stand.until(lambda: any(not s.online for s in stand.said(Status, since)), patience.resend_s):
        # A broker cancels a delayed will for whoever takes the place (MQTT 5.0, 3.1.3.2.2), the kit included.
        return not_shown("no death was heard: there is no will, or it has a delay (take that away for this)")
    died = next(s for s in stand.said(Status, since) if not s.online)
    if not stand.until(lambda: bool(online(stand, since)), patience.resend_s):
        return failed("it did not come back")
    if died.epoch != births[-1].epoch:
        return failed(f"the death is of epoch {died.epoch}, the birth was of {births[-1].epoch}")
    return passed(f"death and birth of epoch {died.epoch}")


def epoch(trial: Trial) -> Verdict:
    """Each start has a higher epoch."""
    stand = trial.stand
    births = online(stand)
    if trial.restart is None or not births:
        return not_shown("the kit cannot start the device anew")
    since, before = len(stand.heard), births[-1].epoch
    trial.restart()
    stand.until(lambda: any(s.epoch != before for s in online(stand, since)), trial.patience.sample_s)
    if not online(stand, since):
        return failed("it did not come back")
    after = online(stand, since)[-1].epoch
    return passed(f"{before}, then {after}") if after > before else failed(f"{before}, then {after}")


def apart(trial: Trial) -> Verdict:
    """A device that has no version in common with the cloud sends nothing but its status, and recovers."""
    stand, patience = trial.stand, trial.patience
    stand.say_speaks((1 << 30, 1 << 30))
    # What was on its way is no fault.
    stand.pump(min(2.0, patience.quiet_s))
    since = len(stand.heard)
    stand.order(Command(id=trial.fresh("apart"), action="report"))
    stand.pump(patience.quiet_s)
    others = [h for h in stand.heard[since:] if h.payload and not isinstance(h.message, Status)]
    stand.say_speaks((1, 1))
    # The order may be answered late; the device must speak again at any rate.
    order = trial.fresh("together")
    stand.order(Command(id=order, action="report"))
    back = stand.until(lambda: bool(replies(stand, order)), patience.answer_s)
    if others:
        what = others[0].message
        return failed(f"it sent a {type(what).__name__ if what is not None else 'message'} all the same")
    return passed() if back else failed("it stayed silent after the cloud came back to version 1")


def written(trial: Trial) -> Verdict:
    """Everything that came could be read, in version 1, and within the broker's limit."""
    stand = trial.stand
    if unread := stand.unread():
        return failed(f"{len(unread)} messages cannot be read; the first: {unread[0].fault[:160]}")
    limit, largest = stand.max_packet_bytes, max((len(h.payload) for h in stand.heard), default=0)
    if limit and largest > limit:
        return failed(f"a payload of {largest} bytes, the broker takes packets of {limit}")
    return passed(f"{len(stand.heard)} messages, the largest of {largest} bytes")


FIRST = (
    Clause("birth.retained", "A retained birth says which bundle runs", birth),
    Clause("birth.speaks", "The birth says which versions are spoken", speaks),
)
LAST = (
    Clause("versions.apart", "Without a version in common only the status is sent", apart),
    Clause("will.death", "A broken connection is a death of the same epoch", death),
    Clause("epoch.rises", "The epoch rises with each start", epoch),
    Clause("messages.written", "Every message is well-formed and not too large", written),
)
