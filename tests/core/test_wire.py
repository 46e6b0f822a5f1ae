"""The wire: every message round trips; garbage gives a WireError and nothing else; topics both ways."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeadapt.errors import ConfigError, WireError
from edgeadapt.wire import (
    MAX_MESSAGE_BYTES,
    Ack,
    AnyMessage,
    Assign,
    Command,
    Metric,
    Outcome,
    Sample,
    SignatureReport,
    Status,
    decode,
    encode,
    pack_vector,
    topics,
    unpack_vector,
)

SAMPLE = Sample(
    outbox="o1",
    sequence=7,
    segment=2,
    lane="adapt",
    codec="png",
    height=28,
    width=28,
    channels=1,
    data=b"\x89PNG",
    sha256="0" * 64,
    entropy=0.5,
    predicted=3,
    generation="g",
    captured_s=1.0,
)
MESSAGES: list[AnyMessage] = [
    SAMPLE,
    Status(epoch=1, online=True, bundle="b"),
    SignatureReport(
        outbox="o", sequence=1, bundle="b", segment=0, frames=64, vector=b"", mean=b"", var=b"", drift=0.1
    ),
    Metric(
        epoch=1,
        frames=10,
        flagged=2,
        uploaded=1,
        bytes_up=5,
        bytes_down=6,
        budget_left_bytes=7,
        latency_ms=0.4,
        generation="g",
    ),
    Outcome(outbox="o", sequence=2, cohort="c", serial=1, patch="p", state="confirmed"),
    Ack(outbox="o", sequences=(1, 2, 3)),
    Assign(cohort="c", segment=1, channel="canary", bundle="b"),
    Command(id="1", action="rollback"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_round_trip(message: AnyMessage) -> None:
    assert decode(encode(message), type(message)) == message


def test_the_bytes_of_a_message_are_pinned() -> None:
    """A golden message: devices in the field send these bytes."""
    assert encode(Ack(outbox="ab", sequences=(1, 300))).hex() == (
        "84a474797065a361636ba870726f746f636f6c01a66f7574626f78a26162a973657175656e6365739201cd012c"
    )


def test_another_kind_than_the_topic_promises() -> None:
    with pytest.raises(WireError, match="Status where a Sample belongs"):
        decode(encode(Status(epoch=1, online=True, bundle="b")), Sample)


def test_another_protocol_version() -> None:
    with pytest.raises(WireError, match="protocol 9"):
        decode(encode(Ack(outbox="o", sequences=(), protocol=9)))


def test_too_large() -> None:
    with pytest.raises(WireError, match="more than"):
        decode(b"\x00" * (MAX_MESSAGE_BYTES + 1))


def test_not_finite() -> None:
    with pytest.raises(WireError, match="entropy"):
        decode(encode(msgspec.structs.replace(SAMPLE, entropy=float("nan"))))


@given(st.binary(max_size=200))
def test_garbage_gives_wire_errors(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)


@given(st.integers(min_value=0, max_value=400), st.sampled_from(MESSAGES))
def test_truncated_messages_give_wire_errors(cut: int, message: AnyMessage) -> None:
    data = encode(message)
    with pytest.raises(WireError):
        decode(data[: min(cut, len(data) - 1)])


def test_unknown_and_trailing_fields_are_refused() -> None:
    raw = msgspec.msgpack.decode(encode(Ack(outbox="o", sequences=())))
    with pytest.raises(WireError):
        decode(msgspec.msgpack.encode({**raw, "extra": 1}))
    with pytest.raises(WireError):
        decode(encode(Ack(outbox="o", sequences=())) + b"\x00")


def test_topics_both_ways() -> None:
    assert topics.split(topics.up("f", "d-1", "sample")) == topics.DeviceTopic("f", "d-1", "up", "sample")
    assert topics.split(topics.down("f", "d-1", "ack")) == topics.DeviceTopic("f", "d-1", "down", "ack")
    assert topics.split(topics.patch("f", "c1", "canary")) == topics.PatchTopic("f", "c1", "canary")


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "edgeadapt/v2/f/d/up/sample",
        "edgeadapt/v1/f/d/up/other",
        "edgeadapt/v1/f/d/sideways/sample",
        "a/b",
    ],
)
def test_foreign_topics(topic: str) -> None:
    with pytest.raises(WireError):
        topics.split(topic)


@given(st.text(max_size=60))
def test_any_text_as_a_topic(topic: str) -> None:
    with pytest.raises(WireError):
        topics.split(topic)


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "x" * 65, ".hidden", "é"])
def test_names_cannot_reach_into_other_topics(name: str) -> None:
    with pytest.raises(ConfigError):
        topics.check_name(name, "device")


def test_vectors() -> None:
    values = np.array([1.0, -2.5], np.float32)
    assert unpack_vector(pack_vector(values), 2).tolist() == [1.0, -2.5]
    with pytest.raises(WireError, match="12 belong"):
        unpack_vector(pack_vector(values), 3)
    with pytest.raises(WireError, match="NaN"):
        unpack_vector(pack_vector(np.array([np.nan, 1], np.float32)), 2)
