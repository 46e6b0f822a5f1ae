"""Bytes from a device in, a checked message or one `Rejected` out.

The device's name is taken from the topic, never from the payload. Everything that can be wrong with a
message is found here: topic, structure, version, digest, sizes and shapes against the bundle, image
headers. Not here: committing, deduplication and acknowledging (`core.core`), decoding of pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.descriptor import SIZE
from edgeadapt.digest import sha256_hex
from edgeadapt.errors import WireError
from edgeadapt.wire import (
    SPEAKS,
    DescriptorItem,
    Descriptors,
    Message,
    Metric,
    Outcome,
    Reply,
    Sample,
    SignatureReport,
    Status,
    Versions,
    decode,
    unpack_vector,
)
from edgeadapt.wire.topics import DeviceTopic, split
from edgeadapt_cloud.core.codecs import image_fault, raw_size, size_fault
from edgeadapt_cloud.core.rows import (
    Commit,
    DescriptorsRow,
    Origin,
    OutcomeRow,
    SampleRow,
    SignatureRow,
)

KINDS: dict[str, type[Status | Sample | Descriptors | SignatureReport | Metric | Outcome | Reply]] = {
    "status": Status,
    "sample": Sample,
    "descriptor": Descriptors,
    "signature": SignatureReport,
    "metric": Metric,
    "outcome": Outcome,
    "reply": Reply,
}
# Integers are stored in SQLite, which keeps 64 bits with sign; msgspec reads up to 64 without.
MAX_INTEGER = (1 << 63) - 1
MAX_NAME = 128
# Descriptors in one message.
MAX_ITEMS = 256
# Nothing a normalised network sees comes near it; squares stay finite in float32.
MAX_MOMENT = 1e12
# An encoder may expand noise, but never by more than this over the raw pixels.
HEADROOM_BYTES = 4096
# float16 values of an embedding.
MAX_DESCRIPTOR_BYTES = 2 * 65_536


class Rejected(WireError):
    """A message that is not taken in. `reason` is counted; `origin` is there when it can be acknowledged."""

    def __init__(self, reason: str, detail: str, origin: Origin | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.origin = origin


@dataclass(frozen=True, slots=True)
class Heard:
    """A message that is not kept row by row: status, metric and reply."""

    device: str
    message: Status | Metric | Reply


class Ingest:
    """Checks messages of one fleet against one bundle. Stateless."""

    def __init__(self, fleet: str, bundle: Bundle, speaks: Versions = SPEAKS) -> None:
        self.fleet, self._speaks = fleet, speaks
        self.bundle = bundle
        self._max_entropy = math.log(max(2, len(bundle.manifest.classes))) * 1.01

    def read(self, topic: str, payload: bytes) -> Commit | Heard:
        """Check one message.

        Returns:
            A row to commit, or what was heard.

        Raises:
            Rejected: it is not one of ours, or its content does not hold.
        """
        where = self._where(topic)
        try:
            message = decode(payload, KINDS[where.kind], speaks=self._speaks)
        except WireError as error:
            raise Rejected("malformed", str(error)) from error
        if isinstance(message, (Status, Metric, Reply)):
            _check_bounds(message, None)
            return Heard(where.device, message)
        assert isinstance(message, (Sample, Descriptors, SignatureReport, Outcome))
        if not 0 < len(message.outbox) <= MAX_NAME or not 0 <= message.sequence <= MAX_INTEGER:
            raise Rejected(
                "out-of-range", f"no outbox and sequence: {message.outbox[:16]!r}, {message.sequence}"
            )
        origin = Origin(where.device, message.outbox, message.sequence)
        _check_bounds(message, origin)
        if isinstance(message, Sample):
            return self._sample(origin, message)
        if isinstance(message, SignatureReport):
            return self._signature(origin, message)
        if isinstance(message, Descriptors):
            return self._descriptors(origin, message)
        return OutcomeRow(origin, message)

    def _where(self, topic: str) -> DeviceTopic:
        try:
            where = split(topic)
        except WireError as error:
            raise Rejected("foreign-topic", str(error)) from error
        if not isinstance(where, DeviceTopic) or where.direction != "up" or where.fleet != self.fleet:
            raise Rejected("foreign-topic", f"not an upward topic of fleet {self.fleet}: {topic[:128]!r}")
        return where

    def _sample(self, origin: Origin, sample: Sample) -> SampleRow:
        spec = self.bundle.manifest.input
        fault = size_fault(sample, spec)
        if fault:
            raise Rejected("wrong-shape", fault, origin)
        raw_bytes = raw_size(spec)
        if bool(sample.data) == (sample.codec == "none") or len(sample.data) > 2 * raw_bytes + HEADROOM_BYTES:
            raise Rejected("wrong-size", f"{len(sample.data)} bytes of {sample.codec}", origin)
        if not 0.0 <= sample.chance <= 1.0 or len(sample.descriptor) > MAX_DESCRIPTOR_BYTES:
            raise Rejected("out-of-range", f"chance {sample.chance}, {len(sample.descriptor)} bytes", origin)
        if sha256_hex(sample.data) != sample.sha256:
            raise Rejected("wrong-digest", "the data does not have the digest in the message", origin)
        if not 0 <= sample.predicted < len(self.bundle.manifest.classes):
            raise Rejected("out-of-range", f"predicted class {sample.predicted}", origin)
        if not 0 <= sample.entropy <= self._max_entropy:
            raise Rejected("out-of-range", f"entropy {sample.entropy}", origin)
        fault = image_fault(sample, spec)
        if fault:
            raise Rejected("bad-image", fault, origin)
        return SampleRow(
            origin,
            sample.segment,
            sample.lane,
            sample.codec,
            sample.sha256,
            sample.data,
            sample.entropy,
            sample.predicted,
            sample.generation,
            sample.captured_s,
            sample.chance,
            sample.verdict,
            sample.altered,
        )

    def _descriptors(self, origin: Origin, message: Descriptors) -> DescriptorsRow:
        if message.bundle != self.bundle.digest:
            raise Rejected("foreign-bundle", f"bundle {message.bundle[:12]!r} is not served here", origin)
        if not 1 <= len(message.items) <= MAX_ITEMS:
            raise Rejected("wrong-size", f"{len(message.items)} descriptors, not 1 to {MAX_ITEMS}", origin)
        for item in message.items:
            fault = self._item_fault(item)
            if fault:
                raise Rejected("out-of-range", f"descriptor of {item.sample}: {fault}", origin)
        return DescriptorsRow(origin, message)

    def _item_fault(self, item: DescriptorItem) -> str:
        """What is wrong with a descriptor, or ""."""
        if len(item.vector) != SIZE:
            return f"a vector of {len(item.vector)} bytes, not {SIZE}"
        if not all(0 <= number <= MAX_INTEGER for number in (item.sample, item.size_bytes, item.members)):
            return f"size {item.size_bytes}, members {item.members}"
        if not 0 <= item.predicted < len(self.bundle.manifest.classes):
            return f"predicted class {item.predicted}"
        if not 0 <= item.entropy <= self._max_entropy or not 0 <= item.p_value <= 1:
            return f"entropy {item.entropy}, p-value {item.p_value}"
        return ""

    def _signature(self, origin: Origin, report: SignatureReport) -> SignatureRow:
        if report.bundle != self.bundle.digest:
            raise Rejected("foreign-bundle", f"bundle {report.bundle[:12]!r} is not served here", origin)
        if report.frames < 1:
            raise Rejected("out-of-range", f"{report.frames} frames", origin)
        channels = self.bundle.manifest.probe_channels
        try:
            vector = unpack_vector(report.vector, len(self.bundle.calibration.signature_std))
            mean = unpack_vector(report.mean, channels)
            var = unpack_vector(report.var, channels)
        except WireError as error:
            raise Rejected("wrong-shape", str(error), origin) from error
        if (var < 0).any() or max(abs(part).max(initial=0.0) for part in (vector, mean, var)) > MAX_MOMENT:
            raise Rejected("out-of-range", "a variance is negative, or a moment is absurdly large", origin)
        return SignatureRow(origin, report.segment, report.frames, vector, mean, var, report.drift)


def _check_bounds(message: Message, origin: Origin | None) -> None:
    """Integers that a database can hold, names of a sane length; `origin` is who may be acknowledged."""
    for name in message.__struct_fields__:
        value = getattr(message, name)
        if isinstance(value, int) and not 0 <= value <= MAX_INTEGER:
            if name == "budget_left_bytes" and -MAX_INTEGER <= value < 0:
                continue  # a device that has overdrawn its budget says so
            raise Rejected("out-of-range", f"{name} is {value}", origin)
        if isinstance(value, str) and name not in ("reason", "detail") and len(value) > MAX_NAME:
            raise Rejected("out-of-range", f"{name} has {len(value)} characters", origin)
