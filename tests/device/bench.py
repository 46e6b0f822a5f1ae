"""A device's core alone: builds end when, and as, a test says. No model runs."""

from __future__ import annotations

import numpy as np

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.patch import TrustedKeys
from edgeadapt.wire import Assign, Outcome, encode, topics
from edgeadapt_device.core import DeviceCore
from edgeadapt_device.core.adapt.adaptation import Adaptation
from edgeadapt_device.core.effects import BuildGeneration, CommitState, Effect, StoreMessage
from edgeadapt_device.core.events import Event, FrameScored, GenerationReady, Received
from tests.device import rig
from tests.device.rig import COHORT

_BLANK = np.zeros((28, 28, 1), np.uint8)


class Bench:
    """A core whose builds succeed or fail as told; no model runs."""

    def __init__(
        self, bundle: Bundle, committed: CommitState | None = None, *, failed_starts: int = 0
    ) -> None:
        self.bundle = bundle
        self.now = Instant(0.0, rig.START_S)
        trusted = TrustedKeys([rig.KEY.public_key().public_bytes_raw()])
        self.core = DeviceCore(
            bundle,
            rig.config(),
            trusted,
            rng=np.random.default_rng(1),
            outbox="o",
            state=committed.state if committed is not None else None,
            envelopes=committed.envelopes if committed is not None else {},
            failed_starts=failed_starts,
        )
        self.effects: list[Effect] = self.core.start(self.now)

    @property
    def adaptation(self) -> Adaptation:
        """What the core decides about generations."""
        return self.core.adaptation

    @property
    def token(self) -> int:
        """The newest build."""
        return [e.token for e in self.effects if isinstance(e, BuildGeneration)][-1]

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        """What was reported."""
        kept = [e.message for e in self.effects if isinstance(e, StoreMessage)]
        return [(m.state, m.reason) for m in kept if isinstance(m, Outcome)]

    @property
    def committed(self) -> CommitState:
        """What the disk would hold if the process ended now."""
        return [e for e in self.effects if isinstance(e, CommitState)][-1]

    @property
    def stopped(self) -> CommitState:
        """What it would hold after a clean stop."""
        return [e for e in self.core.stop() if isinstance(e, CommitState)][-1]

    def ready(self) -> None:
        """All builds that are asked for end well."""
        while self.adaptation.switching.generations.busy:
            self.handle(GenerationReady(self.token))

    def handle(self, event: Event) -> None:
        """Give the core an event."""
        self.effects += self.core.handle(event, self.now)

    def play(self, count: int) -> None:
        """Frames on which the old and the new generation agree."""
        for index in range(count):
            plan, logits = self.core.plan(), np.eye(10, dtype=np.float32)[index % 10] * 9
            old = logits if plan.previous is not None else None
            self.handle(FrameScored(index, _BLANK, logits, plan.token, previous_logits=old))

    def assign(self) -> None:
        """The cohort of the first segment is named."""
        assign = Assign(cohort=COHORT, segment=0, channel="stable", bundle=self.bundle.digest)
        self.handle(Received(topics.down(rig.FLEET, rig.NAME, "assign"), encode(assign)))

    def publish(self, envelope: bytes) -> None:
        """A patch appears on the cohort's topic."""
        self.handle(Received(topics.patch(rig.FLEET, COHORT, "stable"), envelope))

    def down(self, envelope: bytes) -> None:
        """The cohort is assigned and its patch appears."""
        self.assign()
        self.publish(envelope)
