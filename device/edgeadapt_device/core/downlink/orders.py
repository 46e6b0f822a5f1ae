"""What comes down: a message in, and what the device does about it out.

`Intake` says what a message is and whether it is believed; here its orders are followed: patches reach
the bank and the trial, assignments the subscriptions, commands the generation. What anyone could send
without a key (garbage, strangers' patches) is counted, and told at most now and then.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.errors import WireError
from edgeadapt.patch import TrustedKeys
from edgeadapt.wire import SPEAKS, Ack, Assign, Command, ServerStatus, Versions, Want, topics
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.core.adapt import outcomes
from edgeadapt_device.core.adapt.adaptation import Adaptation
from edgeadapt_device.core.downlink.accord import Accord
from edgeadapt_device.core.downlink.commands import Commands
from edgeadapt_device.core.downlink.intake import (
    REMEMBERED,
    UNAUTHENTICATED,
    Accepted,
    Incoming,
    Intake,
    Refused,
    Repeated,
    artifact_that_runs,
)
from edgeadapt_device.core.downlink.told import Told
from edgeadapt_device.core.effects import Effect, Log, StoreMessage, Subscribe, Unsubscribe
from edgeadapt_device.core.events import Received
from edgeadapt_device.core.state import Assignment
from edgeadapt_device.core.throttle import Throttle, and_more
from edgeadapt_device.core.uplink.ledger import purpose_of
from edgeadapt_device.core.uplink.uploads import Uploads

_QUARANTINE_LOG_S = 10.0
_STRANGER_REPORT_S = 60.0
_MAX_TOPICS = 256


class Downlink:
    """The way down of one device.

    Attributes:
        quarantined: messages that were not ours.
        refusals: the last refused patches, in words.
        accord: which version of the protocol is spoken.
    """

    def __init__(
        self,
        bundle: Bundle,
        config: DeviceConfig,
        trusted: TrustedKeys,
        adaptation: Adaptation,
        uploads: Uploads,
        told: Told,
        speaks: Versions = SPEAKS,
    ) -> None:
        """Go on with what an earlier process was `told`."""
        self._bundle, self._fleet = bundle, config.device.fleet
        self._device = config.device.name
        self._adaptation, self._uploads = adaptation, uploads
        self._intake = Intake(
            bundle,
            trusted,
            self._fleet,
            self._device,
            adaptation.patches.bank,
            artifact_that_runs(bundle, config.engine),
            speaks,
        )
        self._intake.restore(told)
        self._hour_bytes, self._day_bytes = told.budget_bytes_per_hour, told.budget_bytes_per_day
        self._commands = Commands(self._fleet, self._device, adaptation, told.commands)
        self.accord = Accord(speaks, told.cloud_speaks)
        self._quarantine_log = Throttle(_QUARANTINE_LOG_S)
        self._strangers: OrderedDict[str, Throttle] = OrderedDict()
        self.quarantined = 0
        self.refusals: deque[str] = deque(maxlen=16)

    @property
    def told(self) -> Told:
        """What to remember over a restart."""
        for digest in self._adaptation.patches.blocked[-REMEMBERED:]:
            self._intake.block(digest)
        return Told(
            serials=dict(self._intake.serials),
            assignments=self._intake.assignments(),
            blocked=self._intake.blocked(),
            budget_bytes_per_hour=self._hour_bytes,
            budget_bytes_per_day=self._day_bytes,
            commands=self._commands.obeyed,
            cloud_speaks=self.accord.cloud,
        )

    def subscriptions(self) -> list[Effect]:
        """Everything to listen to, after a connection was made."""
        own = [topics.down(self._fleet, self._device, kind) for kind in topics.DOWN_KINDS]
        return [Subscribe(topic) for topic in (topics.cloud_status(self._fleet), *own, *self._patch_topics())]

    def _patch_topics(self) -> dict[str, None]:
        """Topics of all remembered cohorts, in order."""
        channels = self._intake.channels().items()
        return {topic: None for cohort, canary in channels for topic in self._topics(cohort, canary)}

    def _topics(self, cohort: str, canary: bool) -> list[str]:
        channels = ("stable", "canary") if canary else ("stable",)
        return [topics.patch(self._fleet, cohort, channel) for channel in channels]

    def judge_again(self, step_s: float, now: Instant) -> list[Effect]:
        """The wall clock has stepped: what was refused as expired may not be, and what was kept may be tried.

        A broker sends its retained patches again to whoever subscribes again.
        """
        effects: list[Effect] = [Log(f"the clock was set, by {step_s:.0f} s")]
        if self._uploads.delivery.connected:
            effects += [Subscribe(topic) for topic in self._patch_topics()]
        cohort = self._intake.cohort_of(self._adaptation.tracker.segment)
        return effects + self._take(cohort, now)

    def _take(self, cohort: str, now: Instant) -> list[Effect]:
        """Run what is remembered for the present segment's cohort."""
        entry = self._adaptation.patches.bank.get(cohort)
        return self._adaptation.patches.take(entry, now) if entry is not None else []

    def receive(self, event: Received, now: Instant) -> list[Effect]:
        """Follow one message."""
        try:
            message = self._intake.receive(event.topic, event.payload, now)
        except WireError as error:
            self._count(event, now, noise=True)
            self.quarantined += 1
            held = self._quarantine_log.admit(now)
            return [] if held is None else [Log(f"message quarantined: {error}{and_more(held)}")]
        self._count(event, now, noise=self._is_noise(message))
        match message:
            case Accepted():
                return self._on_patch(message, now)
            case Refused():
                return self._on_refused(message, now)
            case Ack():
                return self._uploads.acknowledge(message, now)
            case Want():
                return self._uploads.answer(message)
            case Assign():
                return self._on_assign(message, now)
            case Command():
                return self._commands.receive(message, event, self.accord.protocol)
            case ServerStatus():
                return self._on_server(message)
            case Repeated() | None:
                return []

    def _is_noise(self, message: Incoming | None) -> bool:
        """True for what anybody could send who knows nothing, and what is of no use here."""
        match message:
            case None | Refused():
                return True
            case Ack(outbox=outbox) | Want(outbox=outbox):
                return outbox != self._uploads.outbox
            case Assign(bundle=bundle):
                return bundle != self._bundle.digest
        return False

    def _count(self, event: Received, now: Instant, *, noise: bool) -> None:
        size_bytes = len(event.topic.encode()) + len(event.payload)
        purpose = purpose_of(event.topic.rpartition("/")[2])
        self._uploads.budget.receive(purpose, size_bytes, now, noise=noise)

    def _on_patch(self, accepted: Accepted, now: Instant) -> list[Effect]:
        self._adaptation.patches.must_commit = True
        cohort = accepted.patch.header.cohort
        entry = self._adaptation.patches.bank.put(accepted.patch, accepted.envelope)
        if cohort != self._intake.cohort_of(self._adaptation.tracker.segment):
            return [Log(f"patch {accepted.patch.header.serial} of {cohort} kept for later")]
        return self._adaptation.patches.take(entry, now)

    def _on_refused(self, refused: Refused, now: Instant) -> list[Effect]:
        text = f"patch {refused.serial} of {refused.cohort} refused: {refused.error}"
        if refused.error.refusal in UNAUTHENTICATED:
            held = self._stranger(refused.cohort).admit(now)
            if held is None:
                return []
            text += and_more(held)
        self.refusals.append(text)
        outcome = outcomes.of_refusal(refused.cohort, refused.serial, refused.digest, refused.error)
        return [StoreMessage(outcome), Log(text)]

    def _stranger(self, cohort: str) -> Throttle:
        """Reports about a cohort's topic that anyone could provoke."""
        throttle = self._strangers.setdefault(cohort, Throttle(_STRANGER_REPORT_S))
        if len(self._strangers) > _MAX_TOPICS:
            self._strangers.popitem(last=False)
        return throttle

    def _on_assign(self, assign: Assign, now: Instant) -> list[Effect]:
        if assign.bundle != self._bundle.digest:
            return [Log(f"an assignment for bundle {assign.bundle[:12]} is not for this device")]
        effects = self._take_over(assign, now)
        if assign.segment == self._adaptation.tracker.segment:
            effects += self._take(assign.cohort, now)
        return effects

    def _take_over(self, assign: Assign, now: Instant) -> list[Effect]:
        """Remember an assignment and follow its topics; nothing is written when it says nothing new."""
        before = self._patch_topics()
        changed = self._intake.assign(Assignment(assign.segment, assign.cohort, assign.channel == "canary"))
        hour, day = assign.budget_bytes_per_hour, assign.budget_bytes_per_day
        hour, day = (
            hour if hour is not None else self._hour_bytes,
            day if day is not None else self._day_bytes,
        )
        if (hour, day) != (self._hour_bytes, self._day_bytes):
            self._hour_bytes, self._day_bytes, changed = hour, day, True
            self._uploads.budget.assign(hour, day, now)
        if not changed:
            return []
        self._adaptation.patches.must_commit = True
        wanted, canary = self._patch_topics(), self._intake.channels()[assign.cohort]
        return [
            *(Unsubscribe(topic) for topic in before if topic not in wanted),
            # Again for a known cohort: the broker then sends its retained patch once more.
            *(Subscribe(topic) for topic in self._topics(assign.cohort, canary)),
        ]

    def _on_server(self, status: ServerStatus) -> list[Effect]:
        could = self.accord.protocol
        if not self.accord.hear(status):
            return []
        self._adaptation.patches.must_commit = True
        if self.accord.trouble:
            return [Log(self.accord.trouble)]
        again = f"protocol {self.accord.protocol} is spoken with the cloud again"
        return [Log(again)] if could is None else []
