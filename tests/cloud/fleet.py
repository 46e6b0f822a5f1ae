"""What the tests of the service share: devices that speak real wire bytes, and a small real adapter.

The bundle is the toy of `tests.core.bundles` (8x8 grey images, one norm layer of two channels, three
classes, four signature features), so nothing here needs torch or a runtime.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from PIL import Image

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.digest import sha256_hex
from edgeadapt.patch import Evidence, Patch, TrustedKeys, open_envelope
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import (
    Ack,
    AnyMessage,
    Assign,
    Outcome,
    Sample,
    SignatureReport,
    Status,
    decode,
    encode,
    pack_vector,
)
from edgeadapt.wire.topics import CloudTopic, DeviceTopic, PatchTopic, split, up
from edgeadapt_cloud.config import (
    BundleSection,
    CloudConfig,
    CloudSection,
    JobConfig,
    RolloutConfig,
    SigningSection,
)
from edgeadapt_cloud.core.jobs.job import ImageArray, JobRequest, JobResult, Verdict
from edgeadapt_cloud.local import LocalCloud
from tests.core.bundles import bundle as toy_bundle

OutcomeState = Literal["trial", "confirmed", "reverted", "refused", "reapplied"]
FLEET = "test"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TRUSTED = TrustedKeys([KEY.public_key().public_bytes_raw()])
BUNDLE: Bundle = toy_bundle()
FOG = (2.0, 0.0, 0.0, 0.0)
NOISE = (0.0, 8.0, 2.0, 4.0)
GOOD = {"bn.weight": np.full(2, 1.5, np.float32), "bn.bias": np.full(2, 0.5, np.float32)}
PASSED = Verdict(True, (Evidence("agreement", 0.1, 0.0, True),))
REFUSED = Verdict(False, (Evidence("agreement", -0.2, 0.0, False, "worse than statistics only"),))


def at(seconds: float) -> Instant:
    """A moment; the wall clock runs along."""
    return Instant(seconds, 1_700_000_000.0 + seconds)


def config(**changes: object) -> CloudConfig:
    """Jobs from 8 samples on, acknowledgements at once."""
    base = CloudConfig(
        bundle=BundleSection(path="bundle"),
        signing=SigningSection(key="key.pem"),
        cloud=CloudSection(fleet=FLEET, ack_delay_s=0.0),
        jobs=JobConfig(min_new=8, growth=2.0),
        rollout=RolloutConfig(canary_deadline_s=100.0),
    )
    return msgspec.structs.replace(base, **changes)


@dataclass
class FixedAdapter:
    """An adapter that gives fixed values and a fixed verdict, and remembers what it was asked."""

    verdict: Verdict = PASSED
    values: Mapping[str, FloatArray] = field(default_factory=lambda: dict(GOOD))
    error: Exception | None = None
    requests: list[JobRequest] = field(default_factory=list)
    images: list[ImageArray] = field(default_factory=list)
    lanes: list[list[str]] = field(default_factory=list)

    def run(self, request: JobRequest, images: ImageArray, lanes: list[str]) -> JobResult:
        """Answer as told; the state counts the jobs."""
        self.requests.append(request)
        self.images.append(images)
        self.lanes.append(lanes)
        if self.error is not None:
            raise self.error
        state = request.state + b"x"
        values = self.values if self.verdict.passed else {}
        return JobResult(
            cohort=request.cohort,
            job=request.job,
            verdict=self.verdict,
            values=values,
            strategy=request.strategy,
            samples=len(images),
            seconds=1.5,
            state=state,
            note="done",
        )


def png(seed: int = 0, shape: tuple[int, int] = (8, 8)) -> bytes:
    """A grey PNG of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


@dataclass
class DeviceDouble:
    """Makes the messages of one device, with its own outbox and rising sequence."""

    name: str
    outbox: str = "box"
    sequence: int = 0

    def _next(self) -> int:
        self.sequence += 1
        return self.sequence

    def sample(self, segment: int = 1, seed: int | None = None, **changes: object) -> tuple[str, bytes]:
        """A flagged frame, by default one that nobody else sent."""
        sequence = self._next()
        data = png(seed if seed is not None else zlib.crc32(f"{self.name} {sequence}".encode()))
        message = Sample(
            outbox=self.outbox,
            sequence=sequence,
            segment=segment,
            lane="adapt",
            codec="png",
            height=8,
            width=8,
            channels=1,
            data=data,
            sha256=sha256_hex(data),
            entropy=0.5,
            predicted=1,
            generation="base",
            captured_s=1.0,
        )
        return self._wire("sample", msgspec.structs.replace(message, **changes))

    def signature(
        self, vector: Sequence[float] = FOG, segment: int = 1, frames: int = 64, **changes: object
    ) -> tuple[str, bytes]:
        """A report of where it is."""
        message = SignatureReport(
            outbox=self.outbox,
            sequence=self._next(),
            bundle=BUNDLE.digest,
            segment=segment,
            frames=frames,
            vector=pack_vector(np.array(vector, np.float32)),
            mean=pack_vector(np.array([2.0, 0.0], np.float32)),
            var=pack_vector(np.array([1.0, 3.0], np.float32)),
            drift=1.0,
        )
        return self._wire("signature", msgspec.structs.replace(message, **changes))

    def outcome(self, cohort: str, patch: Patch, state: OutcomeState, reason: str = "") -> tuple[str, bytes]:
        """What became of a patch."""
        message = Outcome(
            outbox=self.outbox,
            sequence=self._next(),
            cohort=cohort,
            serial=patch.header.serial,
            patch=patch.digest,
            state=state,
            reason=reason,
        )
        return self._wire("outcome", message)

    def status(self, *, online: bool, epoch: int = 1) -> tuple[str, bytes]:
        """Birth or death."""
        return self._wire("status", Status(epoch=epoch, online=online, bundle=BUNDLE.digest))

    def _wire(self, kind: str, message: AnyMessage) -> tuple[str, bytes]:
        return up(FLEET, self.name, kind), encode(message)


@dataclass(frozen=True)
class Sent:
    """What a service published, taken apart."""

    acks: dict[str, set[int]]
    assigns: dict[str, Assign]
    patches: dict[tuple[str, str], Patch | None]


def sent(cloud: LocalCloud) -> Sent:
    """Drain and decode what was published; patches by (cohort, channel), None where a topic was cleared."""
    result = Sent({}, {}, {})
    for topic, payload, retain in cloud.outgoing():
        where = split(topic)
        if isinstance(where, PatchTopic):
            assert retain
            opened = open_envelope(payload, TRUSTED) if payload else None
            result.patches[where.cohort, where.channel] = opened
            continue
        if isinstance(where, CloudTopic):
            continue
        assert isinstance(where, DeviceTopic)
        message = decode(payload)
        if isinstance(message, Ack):
            result.acks.setdefault(where.device, set()).update(message.sequences)
        else:
            assert isinstance(message, Assign)
            result.assigns[where.device] = message
    return result


def local(
    adapter: FixedAdapter | None = None,
    folder: Path | None = None,
    settings: CloudConfig | None = None,
    bundle: Bundle = BUNDLE,
) -> LocalCloud:
    """A service in memory, or in `folder`."""
    return LocalCloud(settings or config(), bundle, adapter or FixedAdapter(), KEY, folder, now=at(0))


def feed(cloud: LocalCloud, device: DeviceDouble, count: int, now: Instant, segment: int = 1) -> None:
    """Deliver `count` new samples of a segment."""
    cloud.deliver_many([device.sample(segment) for _ in range(count)], now)


def first_patch(cloud: LocalCloud, device: DeviceDouble) -> tuple[str, Patch]:
    """Bring a cohort of one device to its first canary; returns the cohort and the patch."""
    cloud.deliver(*device.signature(), at(1))
    feed(cloud, device, 8, at(2))
    ((cohort, channel), patch) = next(iter(sent(cloud).patches.items()))
    assert channel == "canary"
    assert patch is not None
    return cohort, patch
