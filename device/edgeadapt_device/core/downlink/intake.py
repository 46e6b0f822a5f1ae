"""What comes down: bytes and a topic in; a trusted value or a refusal out.

A patch is believed only after `open_envelope`, `check_fit` and `check_fresh`. A patch whose digest is
known (running, remembered or blocked) is ignored without a word, and one that was refused is so for a
while: brokers redeliver retained messages, but a cloud that goes on offering waits for an answer.
Serials never fall, per cohort, across restarts; the last one may come again when the bank no longer
holds it. Nothing here changes what runs.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.bundle.manifest import Artifact
from edgeadapt.clock import Instant
from edgeadapt.digest import sha256_hex
from edgeadapt.errors import BundleError, Refusal, TrustError, WireError
from edgeadapt.patch import Patch, TrustedKeys, check_fit, check_fresh, open_envelope
from edgeadapt.wire import SPEAKS, Ack, Assign, Command, ServerStatus, Versions, Want, decode, topics
from edgeadapt_device.config import EngineSection
from edgeadapt_device.core.adapt.domains import PatchBank
from edgeadapt_device.core.downlink.told import Told
from edgeadapt_device.core.state import Assignment
from edgeadapt_device.core.throttle import Throttle

#: Digests of one kind, and assignments, that are kept at most.
REMEMBERED = 256
_MAX_SEGMENT = 1 << 53
# A refusal that was told is told again after this, should the patch still come.
_REPEAT_S = 600.0
#: Refusals that need no key: anyone who reaches the topic can provoke them.
UNAUTHENTICATED = frozenset(
    {Refusal.MALFORMED, Refusal.TOO_LARGE, Refusal.UNKNOWN_KEY, Refusal.BAD_SIGNATURE}
)


@dataclass(frozen=True, slots=True)
class Refused:
    """A patch that is not believed."""

    cohort: str
    serial: int
    digest: str
    error: TrustError


@dataclass(frozen=True, slots=True)
class Accepted:
    """A patch that is believed, with the envelope it came in."""

    patch: Patch
    envelope: bytes


@dataclass(frozen=True, slots=True)
class Repeated:
    """A patch that was believed before: brokers send it again at every subscription."""


Incoming = Accepted | Refused | Repeated | Ack | Assign | Command | Want | ServerStatus


class Intake:
    """Judges every incoming message; keeps serials, blocked digests and assignments."""

    def __init__(
        self,
        bundle: Bundle,
        trusted: TrustedKeys,
        fleet: str,
        device: str,
        bank: PatchBank,
        artifact: Artifact | None = None,
        speaks: Versions = SPEAKS,
    ) -> None:
        """`artifact` is the one that runs here; None when it is none of the bundle's own."""
        self._speaks = speaks
        self._bundle, self._artifact = bundle, artifact
        self._trusted = trusted
        self._fleet = fleet
        self._device = device
        self._bank = bank
        self._refused: OrderedDict[str, Throttle] = OrderedDict()
        self._expired: OrderedDict[str, Throttle] = OrderedDict()
        self._blocked: OrderedDict[str, None] = OrderedDict()
        self._assignments: OrderedDict[int, Assignment] = OrderedDict()
        self._strangers: OrderedDict[str, Throttle] = OrderedDict()
        self.serials: dict[str, int] = {}

    def restore(self, told: Told) -> None:
        """Go on with what an earlier process was told."""
        self.serials.update(told.serials)
        for assignment in told.assignments:
            self.assign(assignment)
        for digest in told.blocked:
            self.block(digest)

    def receive(self, topic: str, payload: bytes, now: Instant) -> Incoming | None:
        """Judge one message; None when there is nothing to do.

        Raises:
            WireError: the message is malformed or not for this device.
        """
        where = topics.split(topic)
        if isinstance(where, topics.PatchTopic):
            if where.fleet != self._fleet:
                raise WireError(f"a patch of fleet {where.fleet!r}")
            return self._patch(where.cohort, payload, now) if payload else None
        if isinstance(where, topics.CloudTopic):
            return self._server(where, payload)
        if (where.fleet, where.device, where.direction) != (self._fleet, self._device, "down"):
            raise WireError(f"not for this device: {topic[:128]!r}")
        if not payload:
            return None
        message = decode(payload, speaks=self._speaks)
        match where.kind, message:
            case "ack", Ack() as ack:
                return ack
            case "assign", Assign() as assign:
                if not is_sound(assign.cohort, assign.segment):
                    raise WireError(f"segment {assign.segment} of cohort {assign.cohort[:64]!r}")
                return assign
            case "command", Command() as command:
                return command
            case "want", Want() as want:
                return want
        raise WireError(f"a {type(message).__name__} on {where.kind}")

    def _server(self, where: topics.CloudTopic, payload: bytes) -> ServerStatus | None:
        if where.fleet != self._fleet or where.name:
            raise WireError(f"not for this device: from the cloud of {where.fleet!r} to {where.name!r}")
        message = decode(payload, ServerStatus) if payload else None
        assert message is None or isinstance(message, ServerStatus)
        return message

    def _patch(self, cohort: str, payload: bytes, now: Instant) -> Accepted | Refused | Repeated | None:
        digest = sha256_hex(payload)
        # A refusal holds for one topic: replaying a patch elsewhere must not silence it where it belongs.
        refused_as = f"{cohort}/{digest}"
        told = self._refused.get(refused_as) or self._strangers.get(refused_as)
        if told is not None and told.waits(now):
            return None
        if digest in self._blocked or self._bank.by_digest(digest):
            return Repeated()
        serial = 0
        try:
            patch = open_envelope(payload, self._trusted)
            serial = patch.header.serial
            check_fit(patch, self._bundle, self._artifact)
            check_fresh(patch, cohort=cohort, last_serial=self._passed(cohort, serial), wall_s=now.wall_s)
        except TrustError as error:
            held = _throttle(self._refused_before(error.refusal), refused_as).admit(now)
            return None if held is None else Refused(cohort, serial, digest, error)
        self.serials[cohort] = serial
        return Accepted(patch, payload)

    def _refused_before(self, refusal: Refusal) -> OrderedDict[str, Throttle]:
        """Where to remember a refusal: garbage must not push out what the cloud was told already.

        A wall clock may be wrong for a while, so an expired patch is judged each time it comes.
        """
        if refusal is Refusal.EXPIRED:
            return self._expired
        return self._strangers if refusal in UNAUTHENTICATED else self._refused

    def _passed(self, cohort: str, serial: int) -> int:
        """The serial that a patch must pass; the last one may come again when the bank does not hold it.

        It had to let it go, or lost it with the disk; an older one may still stand there.
        """
        last, newest = self.serials.get(cohort, 0), self._bank.get(cohort)
        lost = newest is None or newest.patch.header.serial < last
        return last - 1 if last and serial == last and lost else last

    def assign(self, assignment: Assignment) -> bool:
        """Remember a segment's cohort; False when the newest assignment says just that."""
        if self._assignments and next(reversed(self._assignments.values())) == assignment:
            return False
        self._assignments.pop(assignment.segment, None)
        self._assignments[assignment.segment] = assignment
        while len(self._assignments) > REMEMBERED:
            self._assignments.popitem(last=False)
        return True

    def cohort_of(self, segment: int) -> str:
        """The cohort of a segment, or "" when it is not known."""
        found = self._assignments.get(segment)
        return found.cohort if found is not None else ""

    def assignments(self) -> tuple[Assignment, ...]:
        """All that are remembered, oldest first."""
        return tuple(self._assignments.values())

    def channels(self) -> dict[str, bool]:
        """Cohort to whether its canary channel is heard too: as the assignment of its newest segment says.

        Answers may be late: the last one that came need not be about the newest segment.
        """
        by_age = sorted(self._assignments.values(), key=lambda a: a.segment)
        newest = {a.cohort: a.canary for a in by_age}
        return {a.cohort: newest[a.cohort] for a in self._assignments.values()}

    def block(self, digest: str) -> None:
        """Never take this patch again."""
        self._blocked[digest] = None
        _limit(self._blocked)

    def blocked(self) -> tuple[str, ...]:
        """All blocked digests, oldest first."""
        return tuple(self._blocked)


def artifact_that_runs(bundle: Bundle, engine: EngineSection) -> Artifact | None:
    """The artifact that the configured engine takes, None for an engine with models of its own."""
    try:
        return bundle.artifact(engine.runtime, engine.precision)
    except BundleError:
        return None


def is_sound(cohort: str, segment: int) -> bool:
    """True for an assignment that can be listened to and stored: the cohort becomes part of a topic."""
    return topics.is_name(cohort) and 0 <= segment < _MAX_SEGMENT


def _throttle(known: OrderedDict[str, Throttle], refused_as: str) -> Throttle:
    """When a refusal may be told."""
    throttle = known.setdefault(refused_as, Throttle(_REPEAT_S))
    _limit(known)
    return throttle


def _limit(known: OrderedDict[str, Throttle] | OrderedDict[str, None]) -> None:
    while len(known) > REMEMBERED:
        known.popitem(last=False)
