"""Every reason to refuse a patch, end to end: what runs is untouched and the cloud learns why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.digest import sha256_hex
from edgeadapt.errors import Refusal
from edgeadapt.patch import MAX_PATCH_BYTES, seal
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import Ack, encode, topics
from edgeadapt_device.config import DomainsSection
from tests.device import rig
from tests.device.rig import COHORT, FLEET, NAME, START_S, Rig, sealed


def _one_slot(value: FloatArray, name: str = "norm2.bias") -> Callable[[Bundle], bytes]:
    return lambda bundle: sealed(bundle, {name: value}, serial=5)


def _header(**changes: Any) -> Callable[[Bundle], bytes]:
    return lambda bundle: sealed(bundle, rig.harmless(bundle), **{"serial": 5, **changes})


def _unknown_key(bundle: Bundle) -> bytes:
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    return seal(rig.header(bundle, serial=5), rig.harmless(bundle), rig.NO_SIGNATURE, other)


def _another_bundle(bundle: Bundle) -> bytes:
    other = msgspec.structs.replace(rig.header(bundle, serial=5), bundle="0" * 64)
    return seal(other, rig.harmless(bundle), rig.NO_SIGNATURE, rig.KEY)


def _tampered(bundle: Bundle) -> bytes:
    envelope: dict[str, Any] = msgspec.msgpack.decode(sealed(bundle, rig.harmless(bundle), serial=5))
    payload: bytes = envelope["payload"]
    return msgspec.msgpack.encode({**envelope, "payload": payload[:-1] + bytes([payload[-1] ^ 1])})


def _double(bundle: Bundle) -> bytes:
    wide: Any = np.zeros(12, np.float64)
    return sealed(bundle, {"norm2.bias": wide}, serial=5)


def _nan_signature(bundle: Bundle) -> bytes:
    vector = np.full(len(bundle.calibration.signature_mean), np.nan, np.float32)
    return seal(rig.header(bundle, serial=5), rig.harmless(bundle), vector, rig.KEY)


BAD: list[tuple[Refusal, Callable[[Bundle], bytes]]] = [
    (Refusal.MALFORMED, lambda _: b"\x93 not an envelope"),
    (Refusal.MALFORMED, lambda bundle: sealed(bundle, rig.harmless(bundle))[:-7]),
    (Refusal.TOO_LARGE, lambda _: bytes(MAX_PATCH_BYTES + 1)),
    (Refusal.UNKNOWN_KEY, _unknown_key),
    (Refusal.BAD_SIGNATURE, _tampered),
    (Refusal.WRONG_BUNDLE, _another_bundle),
    (Refusal.WRONG_COHORT, _header(cohort="c2")),
    (Refusal.OLD_SERIAL, _header(serial=1, strategy="another")),
    (Refusal.OLD_SERIAL, _header(serial=-3)),
    (Refusal.EXPIRED, _header(expires_s=START_S - 1.0)),
    (Refusal.UNKNOWN_SLOT, _one_slot(np.zeros(12, np.float32), "nowhere.weight")),
    (Refusal.WRONG_SHAPE, _one_slot(np.zeros((12, 1), np.float32))),
    (Refusal.WRONG_DTYPE, _double),
    (Refusal.NOT_FINITE, _one_slot(np.full(12, np.nan, np.float32))),
    (Refusal.NOT_FINITE, _nan_signature),
    (Refusal.OUT_OF_BOUNDS, _one_slot(np.full(12, 1e6, np.float32))),
]


def test_the_list_is_complete() -> None:
    of_int8 = {Refusal.BEYOND_INT8}  # in `test_int8`
    assert {refusal for refusal, _ in BAD} == set(Refusal) - of_int8


@pytest.fixture
def patched(tiny: Bundle) -> Rig:
    """A device that confirmed serial 1 of its cohort."""
    found = Rig(tiny)
    found.assign()
    found.publish(sealed(tiny, rig.harmless(tiny)))
    found.play(rig.frames(70))
    assert [o.state for o in found.outcomes] == ["trial", "confirmed"]
    return found


@pytest.mark.parametrize(("refusal", "make"), BAD)
def test_a_refused_patch_changes_nothing_and_is_reported(
    patched: Rig, refusal: Refusal, make: Callable[[Bundle], bytes]
) -> None:
    envelope = make(patched.bundle)
    running, token, before = patched.generation, patched.token, len(patched.outcomes)
    patched.publish(envelope)
    assert (patched.generation, patched.token) == (running, token)
    assert patched.device.view(patched.now).trial == "confirmed"
    (outcome,) = patched.outcomes[before:]
    assert (outcome.state, outcome.cohort, outcome.patch) == ("refused", COHORT, sha256_hex(envelope))
    assert outcome.reason.startswith(refusal.value + ":")
    assert f"refused: {refusal.value}: " in patched.device.view(patched.now).refusals[-1]
    patched.publish(envelope)
    assert len(patched.outcomes) == before + 1, "a redelivered patch is reported once"


def test_predictions_are_bit_for_bit_those_of_a_device_that_never_saw_the_patches(tiny: Bundle) -> None:
    attacked, quiet = Rig(tiny), Rig(tiny)
    attacked.assign()
    quiet.assign()
    attacked.publish(sealed(tiny, {"norm2.bias": np.full(12, 1e6, np.float32)}, serial=9))
    images = rig.frames(40)
    for one, other in zip(attacked.play(images), quiet.play(images), strict=True):
        assert one.generation == other.generation == "base"
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_a_refused_serial_is_not_used_up(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.assign()
    device.publish(sealed(tiny, {"norm2.bias": np.full(12, 1e6, np.float32)}, serial=9))
    device.publish(sealed(tiny, rig.harmless(tiny), serial=2))
    assert [o.state for o in device.outcomes] == ["refused", "trial"]


def test_a_patch_replayed_on_a_foreign_cohort_can_still_arrive_on_its_own(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.assign()
    envelope = sealed(tiny, rig.harmless(tiny))
    device.publish(envelope, cohort="c2")
    device.publish(envelope)
    assert [o.state for o in device.outcomes] == ["refused", "trial"]


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (topics.down(FLEET, NAME, "ack"), b"garbage"),
        (topics.down(FLEET, NAME, "ack"), b""),
        (topics.down(FLEET, NAME, "assign"), encode(Ack(outbox="x", sequences=(1,)))),
        (topics.down(FLEET, "camera-2", "ack"), encode(Ack(outbox="x", sequences=(1,)))),
        (topics.down("elsewhere", NAME, "ack"), encode(Ack(outbox="x", sequences=(1,)))),
        (topics.up(FLEET, NAME, "status"), encode(Ack(outbox="x", sequences=(1,)))),
        (topics.patch("elsewhere", COHORT, "stable"), b"anything"),
        ("somewhere/else", b"anything"),
        ("edgeadapt/v1/farm/../c1/stable/patch", b"anything"),
    ],
)
def test_garbage_and_foreign_topics_are_quarantined(tiny: Bundle, topic: str, payload: bytes) -> None:
    device = Rig(tiny)
    device.sync()
    got = len(device.received)
    device.device.deliver(topic, payload, device.now)
    device.sync()
    # An empty payload is how a retained message is cleared: nothing to do.
    assert device.device.view(device.now).quarantined == (1 if payload else 0)
    assert len(device.received) == got
    device.play(rig.frames(2))


def test_a_patch_that_a_wrong_clock_took_for_expired_is_taken_once_the_clock_is_right(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.assign()
    envelope = sealed(tiny, rig.harmless(tiny), expires_s=START_S + 1000.0)
    topic = topics.patch(FLEET, COHORT, "stable")
    for _ in range(3):
        device.device.deliver(topic, envelope, Instant(1.0, START_S + 1e9))
    device.sync()
    assert [o.state for o in device.outcomes] == ["refused"], "it is reported once"
    device.publish(envelope)
    assert [o.state for o in device.outcomes] == ["refused", "trial"]


def test_a_patch_that_expires_before_its_domain_comes_is_not_tried(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.publish(sealed(tiny, rig.harmless(tiny), expires_s=START_S + 10.0))
    device.wait(60.0)
    device.assign()
    device.sync()
    assert (device.generation, device.outcomes) == ("base", [])


def test_an_expiry_that_is_not_a_number_has_passed(tiny: Bundle) -> None:
    device = Rig(tiny)
    device.assign()
    device.publish(sealed(tiny, rig.harmless(tiny), expires_s=float("nan")))
    assert [o.state for o in device.outcomes] == ["refused"]
    assert "expired" in device.outcomes[0].reason


def test_a_patch_that_the_bank_let_go_can_come_again(tiny: Bundle) -> None:
    envelope = sealed(tiny, rig.harmless(tiny))
    device = Rig(tiny, rig.config(domains=DomainsSection(bank_bytes=len(envelope) + 10)))
    device.publish(envelope)
    device.publish(sealed(tiny, rig.harmless(tiny), cohort="c2"), cohort="c2")
    held = [entry.patch.header.cohort for entry in device.device.core.adaptation.patches.bank.entries()]
    assert held == ["c2"], "the least recently used one went"
    device.assign()
    device.publish(envelope)
    assert [o.state for o in device.outcomes] == ["trial"]


@pytest.mark.parametrize("cohort", ["a#b", "#", "+", "", "x" * 70_000, "a/b", "\0", ".."])
def test_an_assignment_that_cannot_be_listened_to_is_quarantined(tiny: Bundle, cohort: str) -> None:
    device = Rig(tiny)
    before = device.device.subscriptions
    device.assign(cohort=cohort)
    assert device.device.view(device.now).quarantined == 1
    assert device.device.subscriptions == before


@pytest.mark.parametrize("segment", [-1, 1 << 53, (1 << 64) - 1])
def test_an_assignment_for_an_impossible_segment_is_quarantined(tiny: Bundle, segment: int) -> None:
    device = Rig(tiny)
    device.assign(segment=segment)
    assert device.device.view(device.now).quarantined == 1


@pytest.mark.parametrize(
    "make",
    [_unknown_key, _another_bundle, _header(expires_s=START_S - 1.0)],
    ids=["key", "bundle", "expired"],
)
def test_a_refusal_is_told_again_to_a_cloud_that_goes_on_offering(
    tiny: Bundle, make: Callable[[Bundle], bytes]
) -> None:
    device, envelope = Rig(tiny), make(tiny)
    device.assign()
    for _ in range(5):
        device.publish(envelope)
        device.wait(100.0)
    assert [o.state for o in device.outcomes] == ["refused"]
    device.wait(200.0)
    device.publish(envelope)
    device.publish(envelope)
    assert [o.patch for o in device.outcomes] == [sha256_hex(envelope)] * 2
