"""Ingest: every way in which a message can be wrong, and garbage."""

from __future__ import annotations

import struct
from contextlib import nullcontext, suppress
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeadapt.digest import sha256_hex
from edgeadapt.wire import Metric, Outcome, Status, encode, pack_vector
from edgeadapt.wire.topics import up
from edgeadapt_cloud.core.ingest import Heard, Ingest, Rejected
from edgeadapt_cloud.core.rows import Origin, OutcomeRow, SampleRow, SignatureRow
from tests.cloud.fleet import BUNDLE, FLEET, DeviceDouble, png

INGEST = Ingest(FLEET, BUNDLE)


def rejected(topic: str, payload: bytes) -> Rejected:
    """What `read` says against a message."""
    with pytest.raises(Rejected) as found:
        INGEST.read(topic, payload)
    return found.value


def test_sample_becomes_a_row_of_the_device_in_the_topic() -> None:
    row = INGEST.read(*DeviceDouble("cam-1").sample(segment=3, seed=5))
    assert isinstance(row, SampleRow)
    assert row.origin == Origin("cam-1", "box", 1)
    assert (row.segment, row.lane, row.data, row.sha256) == (3, "adapt", png(5), sha256_hex(png(5)))


def test_signature_becomes_arrays() -> None:
    row = INGEST.read(*DeviceDouble("cam-1").signature((1.0, 2.0, 3.0, 4.0), frames=9))
    assert isinstance(row, SignatureRow)
    assert np.array_equal(row.vector, np.array([1, 2, 3, 4], np.float32))
    assert row.mean.shape == row.var.shape == (2,)
    assert row.frames == 9


def test_status_and_metric_are_heard() -> None:
    status = Status(epoch=3, online=True, bundle=BUNDLE.digest)
    found = INGEST.read(up(FLEET, "cam", "status"), encode(status))
    assert found == Heard("cam", status)
    metric = Metric(
        epoch=1,
        frames=1,
        flagged=0,
        uploaded=0,
        bytes_up=0,
        bytes_down=0,
        budget_left_bytes=-5,
        latency_ms=1.0,
        generation="base",
    )
    assert INGEST.read(up(FLEET, "cam", "metric"), encode(metric)) == Heard("cam", metric)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"height": 9}, "wrong-shape"),
        ({"channels": 3}, "wrong-shape"),
        ({"data": b""}, "wrong-size"),
        ({"data": bytes(5000)}, "wrong-size"),
        ({"data": png(1) + b"x"}, "wrong-digest"),
        ({"predicted": 3}, "out-of-range"),
        ({"entropy": 1.2}, "out-of-range"),
        ({"entropy": -0.1}, "out-of-range"),
        ({"data": bytes(40), "sha256": sha256_hex(bytes(40))}, "bad-image"),
        ({"data": png(1, (8, 9)), "sha256": sha256_hex(png(1, (8, 9)))}, "bad-image"),
        ({"codec": "raw"}, "bad-image"),
        ({"codec": "jpeg"}, "bad-image"),
    ],
)
def test_bad_sample_is_refused_but_can_be_acknowledged(changes: dict[str, Any], reason: str) -> None:
    error = rejected(*DeviceDouble("cam").sample(seed=1, **changes))
    assert error.reason == reason
    assert error.origin == Origin("cam", "box", 1)


def test_png_of_another_colour_type_is_refused() -> None:
    data = bytearray(png(1))
    data[25] = 2
    error = rejected(*DeviceDouble("cam").sample(data=bytes(data), sha256=sha256_hex(bytes(data))))
    assert error.reason == "bad-image"
    assert "colour type 2" in error.detail


def test_raw_and_jpeg_samples_are_taken() -> None:
    for codec, data in (("raw", bytes(64)), ("jpeg", jpeg(8, 8))):
        row = INGEST.read(*DeviceDouble("cam").sample(codec=codec, data=data, sha256=sha256_hex(data)))
        assert isinstance(row, SampleRow)
        assert row.codec == codec


def jpeg(height: int, width: int) -> bytes:
    """A grey picture."""
    file = BytesIO()
    Image.new("L", (width, height), 90).save(file, "JPEG")
    return file.getvalue()


def sent(height: int, width: int, data: bytes, codec: str = "jpeg", **more: Any) -> Any:
    """What becomes of a sample of these sizes."""
    sample = DeviceDouble("cam").sample(
        codec=codec, data=data, sha256=sha256_hex(data), height=height, width=width, **more
    )
    return INGEST.read(*sample)


def test_pictures_may_be_smaller_in_proportion_and_say_so_and_never_larger() -> None:
    assert isinstance(sent(4, 4, jpeg(4, 4)), SampleRow)
    assert isinstance(sent(8, 8, b"", "none", descriptor=bytes(8)), SampleRow)
    for height, width, data, reason in (
        (4, 4, jpeg(8, 8), "bad-image"),
        (8, 8, jpeg(4, 4), "bad-image"),
        (16, 16, jpeg(16, 16), "wrong-shape"),
        (2, 8, jpeg(2, 8), "wrong-shape"),
        (0, 0, jpeg(1, 1), "wrong-shape"),
        (8, 8, jpeg(8, 8)[:40], "bad-image"),
    ):
        with pytest.raises(Rejected) as refused:
            sent(height, width, data)
        assert refused.value.reason == reason
    for codec, data, more in (("none", b"x", {"descriptor": bytes(8)}), ("none", b"", {}), ("jpeg", b"", {})):
        with pytest.raises(Rejected):
            sent(8, 8, data, codec, **more)
    with pytest.raises(Rejected, match="chance"):
        sent(8, 8, jpeg(8, 8), chance=1.5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bundle": "f" * 64}, "foreign-bundle"),
        ({"frames": 0}, "out-of-range"),
        ({"vector": (1.0, 2.0, 3.0)}, "wrong-shape"),
        ({"mean": pack_vector(np.array([np.nan, 0], np.float32))}, "wrong-shape"),
        ({"var": pack_vector(np.array([-1, 1], np.float32))}, "out-of-range"),
        ({"mean": pack_vector(np.array([1e30, 0], np.float32))}, "out-of-range"),
    ],
)
def test_bad_signature_is_refused(changes: dict[str, Any], reason: str) -> None:
    error = rejected(*DeviceDouble("cam").signature(**changes))
    assert (error.reason, error.origin) == (reason, Origin("cam", "box", 1))


@pytest.mark.parametrize(
    ("changes", "can_be_acknowledged"),
    [
        ({"sequence": 1 << 63}, False),
        ({"sequence": -1}, False),
        ({"outbox": ""}, False),
        ({"outbox": "o" * 200}, False),
        ({"segment": -1}, True),
        ({"segment": 1 << 63}, True),
        ({"generation": "g" * 200}, True),
    ],
)
def test_numbers_and_names_that_a_database_cannot_hold_are_refused(
    changes: dict[str, Any], can_be_acknowledged: bool
) -> None:
    error = rejected(*DeviceDouble("cam").sample(**changes))
    assert error.reason == "out-of-range"
    assert error.origin == (Origin("cam", "box", 1) if can_be_acknowledged else None)


@pytest.mark.parametrize(
    "topic",
    [
        "weather/outside",
        f"edgeadapt/v1/{FLEET}/cam/down/ack",
        "edgeadapt/v1/other/cam/up/sample",
        f"edgeadapt/v1/{FLEET}/cam/up/gossip",
        f"edgeadapt/v1/{FLEET}/cohort/c-1/stable/patch",
        f"edgeadapt/v1/{FLEET}/cam/up/sample/more",
    ],
)
def test_foreign_topic_is_refused(topic: str) -> None:
    _, payload = DeviceDouble("cam").sample()
    assert rejected(topic, payload).reason == "foreign-topic"


def test_message_of_another_kind_than_its_topic_is_refused() -> None:
    _, payload = DeviceDouble("cam").signature()
    assert rejected(up(FLEET, "cam", "sample"), payload).reason == "malformed"


def test_truncated_and_extended_messages_are_refused() -> None:
    topic, payload = DeviceDouble("cam").sample()
    for damaged in (payload[:-1], payload[: len(payload) // 2], payload + b"\x00"):
        assert rejected(topic, damaged).reason == "malformed"


def test_outcome_becomes_a_row() -> None:
    outcome = Outcome(outbox="box", sequence=4, cohort="c", serial=1, patch="p", state="confirmed")
    assert INGEST.read(up(FLEET, "cam", "outcome"), encode(outcome)) == OutcomeRow(
        Origin("cam", "box", 4), outcome
    )


KINDS = st.sampled_from(["status", "sample", "signature", "metric", "outcome", "gossip"])


@settings(max_examples=300, deadline=None)
@given(kind=KINDS, payload=st.binary(max_size=300))
def test_garbage_gives_rejected_and_nothing_else(kind: str, payload: bytes) -> None:
    with suppress(Rejected):
        INGEST.read(up(FLEET, "cam", kind), payload)


@settings(max_examples=300, deadline=None)
@given(topic=st.text(max_size=80), payload=st.binary(max_size=30))
def test_any_topic_gives_rejected_and_nothing_else(topic: str, payload: bytes) -> None:
    assert rejected(topic, payload).reason == "foreign-topic"


@settings(max_examples=300, deadline=None)
@given(
    at=st.integers(0, 10_000),
    value=st.integers(0, 255),
    which=st.sampled_from(["sample", "signature"]),
)
def test_damaged_bytes_give_a_row_or_rejected(at: int, value: int, which: str) -> None:
    device = DeviceDouble("cam")
    topic, payload = device.sample(seed=1) if which == "sample" else device.signature()
    damaged = bytearray(payload)
    damaged[at % len(damaged)] = value
    try:
        row = INGEST.read(topic, bytes(damaged))
    except Rejected:
        return
    assert isinstance(row, (SampleRow, SignatureRow))


@settings(max_examples=200, deadline=None)
@given(header=st.binary(min_size=8, max_size=8), rest=st.binary(max_size=30))
def test_png_header_decides(header: bytes, rest: bytes) -> None:
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + b"\x08\x00" + rest
    right = header == struct.pack(">II", 8, 8) and len(data) >= 33
    with nullcontext() if right else pytest.raises(Rejected, match="bad-image"):
        INGEST.read(*DeviceDouble("cam").sample(data=data, sha256=sha256_hex(data)))
