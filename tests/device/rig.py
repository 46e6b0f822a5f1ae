"""A device inline with a key of its own, a clock that moves with the frames, and a server that listens.

Everything in it is real: the core, the engine, the envelopes. Only time and the broker are played.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.patch import Patch, PatchHeader, TrustedKeys, open_envelope, seal
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import (
    SPEAKS,
    Ack,
    AnyMessage,
    Assign,
    Descriptors,
    Outcome,
    Sample,
    SignatureReport,
    Versions,
    decode,
    encode,
    topics,
)
from edgeadapt_device.config import (
    DeviceConfig,
    DeviceSection,
    DomainsSection,
    FlaggingSection,
    ProbeSection,
    TrialSection,
    TrustSection,
)
from edgeadapt_device.core.effects import Predicted
from edgeadapt_device.core.events import Image
from edgeadapt_device.flags.journal import FlagJournal
from edgeadapt_device.io.outbox import MemoryOutbox
from edgeadapt_device.io.store import GenerationStore
from edgeadapt_device.local import LocalDevice
from edgeadapt_models.compile.tiny import tiny_images

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
START_S = 1_800_000_000.0
FLEET, NAME, COHORT = "farm", "camera-1", "c1"
NO_SIGNATURE: FloatArray = np.zeros(0, np.float32)


def config(**sections: Any) -> DeviceConfig:
    """Every frame probed, short trials, no uploads; `sections` replace whole sections."""
    plain = DeviceConfig(
        device=DeviceSection(name=NAME, fleet=FLEET),
        probe=ProbeSection(share=1.0),
        flagging=FlaggingSection(enabled=False),
        domains=DomainsSection(match_frames=24),
        trial=TrialSection(frames=60, share=1.0, min_compared=16, settle_frames=0),
        trust=TrustSection(keys=(KEY.public_key().public_bytes_raw().hex(),)),
    )
    return msgspec.structs.replace(plain, **sections)


def frames(count: int, seed: int = 1, level: float = 1.0) -> Image:
    """Tiny images [count, 28, 28, 1], darker by `level`, in random order of classes."""
    images, _ = tiny_images(count, seed)
    order = np.random.default_rng(seed).permutation(count)
    return (images[order] * level).astype(np.uint8)


def header(bundle: Bundle, **changes: Any) -> PatchHeader:
    """A header that this bundle's devices believe; `changes` replace fields."""
    good = PatchHeader(bundle.digest, COHORT, 1, START_S, START_S + 1e6, "test", 100, ())
    return msgspec.structs.replace(good, **changes)


def harmless(bundle: Bundle) -> dict[str, FloatArray]:
    """Slot values that hardly change a prediction."""
    return {"norm2.bias": bundle.base_slots()["norm2.bias"] + np.float32(0.02)}


def harmful(bundle: Bundle) -> dict[str, FloatArray]:
    """Slot values within their bounds that turn the predictions upside down."""
    return {name: -value for name, value in norm_values(bundle).items() if name.endswith(".weight")}


def norm_values(bundle: Bundle) -> dict[str, FloatArray]:
    """Base values of the slots of norm layers; a bundle has others, such as its head's."""
    base = bundle.base_slots()
    return {slot.name: base[slot.name] for slot in bundle.manifest.slots if slot.kind.startswith("norm_")}


def sealed(bundle: Bundle, values: dict[str, FloatArray], **changes: Any) -> bytes:
    """A signed envelope."""
    return seal(header(bundle, **changes), values, NO_SIGNATURE, KEY)


def opened(envelope: bytes) -> Patch:
    """What is in a sealed envelope."""
    return open_envelope(envelope, TrustedKeys([KEY.public_key().public_bytes_raw()]))


class Rig:
    """One connected device; `received` is what its server has got, acknowledged at `sync`."""

    def __init__(
        self,
        bundle: Bundle,
        settings: DeviceConfig | None = None,
        *,
        store: GenerationStore | None = None,
        outbox: MemoryOutbox | None = None,
        start_mono_s: float = 0.0,
        speaks: Versions = SPEAKS,
        journal: FlagJournal | None = None,
    ) -> None:
        self.bundle = bundle
        self.outbox = outbox if outbox is not None else MemoryOutbox()
        self._mono_s = start_mono_s
        self.device = LocalDevice(
            bundle,
            settings if settings is not None else config(),
            rng=np.random.default_rng(3),
            now=self.now,
            outbox=self.outbox,
            store=store,
            speaks=speaks,
            journal=journal,
        )
        self.received: list[AnyMessage] = []
        self.device.connected(self.now)

    @property
    def now(self) -> Instant:
        """The moment, on both clocks."""
        return Instant(self._mono_s, START_S + self._mono_s)

    def wait(self, seconds: float) -> None:
        """Time goes by."""
        self._mono_s += seconds
        self.device.tick(self.now)

    def play(self, images: Image) -> list[Predicted]:
        """Score frames, 10 a second; the server acknowledges what comes."""
        answers = []
        for image in images:
            self._mono_s += 0.1
            answers.append(self.device.step(image, self.now))
            self.sync()
        return answers

    def sync(self) -> None:
        """Take what was published and acknowledge it until nothing more comes."""
        while messages := self.device.outgoing():
            for _, payload, _ in messages:
                message = decode(payload)
                self.received.append(message)
                if isinstance(message, (Outcome, Sample, SignatureReport, Descriptors)):
                    self.down("ack", Ack(outbox=message.outbox, sequences=(message.sequence,)))

    def down(self, kind: str, message: AnyMessage) -> None:
        """The server says something to this device."""
        self.device.deliver(topics.down(FLEET, NAME, kind), encode(message), self.now)

    def assign(self, segment: int = 0, cohort: str = COHORT) -> None:
        """The server names the cohort of a segment."""
        message = Assign(cohort=cohort, segment=segment, channel="stable", bundle=self.bundle.digest)
        self.down("assign", message)

    def publish(self, envelope: bytes, cohort: str = COHORT) -> None:
        """A patch appears on a cohort's topic; what the device answers is in `received`."""
        self.device.deliver(topics.patch(FLEET, cohort, "stable"), envelope, self.now)
        self.sync()

    @property
    def outcomes(self) -> list[Outcome]:
        """All outcomes that the server has got."""
        return [m for m in self.received if isinstance(m, Outcome)]

    @property
    def token(self) -> int:
        """The sessions that score the next frame."""
        return self.device.core.plan().token

    @property
    def generation(self) -> str:
        """Name of what runs."""
        return self.device.view(self.now).generation
