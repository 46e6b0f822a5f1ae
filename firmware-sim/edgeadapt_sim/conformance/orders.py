"""Clauses about commands, and about what is none."""

from __future__ import annotations

from functools import partial

from edgeadapt.wire import Command, SignatureReport
from edgeadapt.wire.topics import cloud_reply, cloud_status, down, patch, up
from edgeadapt_sim.conformance.clause import Clause, Trial, Verdict, failed, not_shown, passed
from edgeadapt_sim.conformance.stand import Stand, replies

_GARBAGE = (b"\xc1", b"\x80", b"\xff" * 64, b"\x81\xa4type\xa4nope", b"\xdd\xff\xff\xff\xff", b"{}")


def answer(trial: Trial) -> Verdict:
    """A command is answered where it asks, with its correlation data."""
    stand, order, mark = trial.stand, trial.fresh("order"), b"\x00mark\xff"
    stand.order(Command(id=order, action="report"), mark=mark)
    if not stand.until(lambda: bool(replies(stand, order)), trial.patience.answer_s):
        return failed("no reply came")
    heard, reply = replies(stand, order)[0]
    if heard.topic != cloud_reply(stand.fleet, stand.asker):
        return failed(f"the reply came on {heard.topic}")
    if heard.correlation != mark:
        return failed(f"the correlation data came back as {heard.correlation!r}")
    return passed(reply.detail) if reply.done else failed(f"{reply.reason}: {reply.detail}")


def once(trial: Trial) -> Verdict:
    """A command that comes twice is obeyed once and answered twice."""
    stand, order = trial.stand, trial.fresh("twice")
    # A device reports by itself, too: what comes without an order says whether counting means anything.
    pause_s, before = min(3.0, trial.patience.quiet_s), len(_reports(trial))
    stand.pump(pause_s)
    unasked, before = len(_reports(trial)) - before, len(_reports(trial))
    for copy in (1, 2):
        since = len(stand.heard)
        stand.order(Command(id=order, action="report"))
        if not stand.until(partial(_answered_since, stand, order, since), trial.patience.answer_s):
            return failed(f"copy {copy} was not answered")
    stand.pump(pause_s)
    made = len(_reports(trial)) - before
    second = replies(stand, order)[1][1]
    if made > 1 and not unasked:
        return failed(f"two copies of one order made {made} reports")
    if (second.done, second.reason) != (True, "obeyed-before"):
        return failed(f"the second copy was answered: {second.reason}")
    return passed(f"{made} reports, {unasked} before without an order")


def _answered_since(stand: Stand, order: str, since: int) -> bool:
    return bool(replies(stand, order, since))


def place(trial: Trial) -> Verdict:
    """A reply never leaves the fleet: another response topic is ignored."""
    stand, order = trial.stand, trial.fresh("astray")
    stand.order(Command(id=order, action="report"), answer_to=stand.foreign)
    stand.until(lambda: bool(replies(stand, order)), trial.patience.answer_s)
    astray = [h for h in stand.heard if h.topic == stand.foreign]
    if astray:
        return failed(f"it published on {stand.foreign}, because it was asked to")
    found = replies(stand, order)
    own = up(stand.fleet, stand.device, "reply")
    if not found or found[0][0].topic != own:
        return failed(f"no reply came on {own}")
    return passed()


def garbage(trial: Trial) -> Verdict:
    """Garbage on every topic stops nothing."""
    stand = trial.stand
    places = [down(stand.fleet, stand.device, kind) for kind in ("ack", "assign", "command", "want")]
    places += [cloud_status(stand.fleet), patch(stand.fleet, "nowhere", "stable")]
    for topic in places:
        for payload in _GARBAGE:
            stand.send(topic, payload)
    order = trial.fresh("alive")
    stand.order(Command(id=order, action="report"))
    if not stand.until(lambda: bool(replies(stand, order)), trial.patience.answer_s):
        return failed("after garbage it answers no more")
    return passed(f"{len(places) * len(_GARBAGE)} messages of garbage")


def _reports(trial: Trial) -> list[SignatureReport]:
    return [c.row for c in trial.stand.rows.values() if isinstance(c.row, SignatureReport)]


def nameless(trial: Trial) -> Verdict:
    """An order without an id is refused, not obeyed."""
    stand = trial.stand
    stand.order(Command(id="", action="report"))
    if not stand.until(lambda: bool(replies(stand, "")), trial.patience.answer_s):
        return not_shown("it says nothing to an order without an id")
    reply = replies(stand, "")[0][1]
    return failed("it obeyed") if reply.done else passed(reply.detail)


CLAUSES = (
    Clause("order.answered", "A command is answered where it asks", answer),
    Clause("order.once", "A command is obeyed once and answered every time", once),
    Clause("order.reply-place", "A reply never leaves the fleet", place),
    Clause("order.nameless", "A command without an id is refused", nameless),
    Clause("garbage.survived", "Garbage stops nothing", garbage),
)
