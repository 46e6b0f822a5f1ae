"""Bytes and outcomes, counted from messages."""

from __future__ import annotations

from edgeadapt.wire import Assign, Outcome, Status, encode
from edgeadapt.wire.topics import down, patch, up
from edgeadapt_sim.demo.watch.ledger import Ledger


def assign(cohort: str, channel: str = "stable") -> bytes:
    return encode(
        Assign(cohort=cohort, segment=0, channel="canary" if channel == "canary" else "stable", bundle="b")
    )


def test_bytes_are_counted_per_device_and_direction() -> None:
    ledger = Ledger()
    payload = encode(Status(epoch=1, online=True, bundle="b"))
    topic = up("demo", "a", "status")
    assert ledger.take(topic, payload) is None
    assert ledger.bytes_up == {"a": len(topic) + len(payload)}
    assert ledger.bytes_down["a"] == 0


def test_a_patch_counts_for_those_who_listen_and_for_late_ones() -> None:
    ledger = Ledger()
    for device in ("a", "b"):
        ledger.take(down("demo", device, "assign"), assign("c-1"))
    ledger.take(down("demo", "x", "assign"), assign("c-2"))
    before = ledger.bytes_down.copy()
    topic = patch("demo", "c-1", "stable")
    ledger.take(topic, b"x" * 500)
    size = len(topic) + 500
    assert {d: ledger.bytes_down[d] - before[d] for d in ("a", "b", "x")} == {"a": size, "b": size, "x": 0}
    move = assign("c-1")
    ledger.take(down("demo", "x", "assign"), move)
    assert ledger.bytes_down["x"] - before["x"] == len(down("demo", "x", "assign")) + len(move) + size
    assert ledger.cohort_of["x"] == "c-1"


def test_a_canary_patch_reaches_the_canary_only() -> None:
    ledger = Ledger()
    ledger.take(down("demo", "a", "assign"), assign("c-1"))
    ledger.take(down("demo", "b", "assign"), assign("c-1", "canary"))
    before = ledger.bytes_down.copy()
    ledger.take(patch("demo", "c-1", "canary"), b"x" * 100)
    assert ledger.bytes_down["a"] == before["a"]
    assert ledger.bytes_down["b"] > before["b"]


def test_outcomes_are_returned_and_garbage_is_counted() -> None:
    ledger = Ledger()
    outcome = Outcome(outbox="o", sequence=1, cohort="c-1", serial=2, patch="d", state="confirmed")
    told = ledger.take(up("demo", "a", "outcome"), encode(outcome))
    assert told is not None
    assert (told.device, told.outcome) == ("a", outcome)
    assert ledger.take(up("demo", "a", "outcome"), b"\xff") is None
    assert ledger.take("some/where/else", b"") is None
    assert ledger.foreign == 2
