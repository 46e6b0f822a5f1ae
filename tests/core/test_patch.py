"""Patches: every refusal reason, each from a patch that is right but for one thing."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edgeadapt.errors import ConfigError, Refusal, TrustError
from edgeadapt.patch import Evidence, PatchHeader, TrustedKeys, check_fit, check_fresh, open_envelope, seal
from edgeadapt.tensors import FloatArray
from tests.core import bundles

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TRUSTED = TrustedKeys([KEY.public_key().public_bytes_raw()])
GOOD = {"bn.weight": np.array([1.5, 0.5], np.float32)}


def header(**changes: object) -> PatchHeader:
    fields: dict[str, object] = {
        "bundle": bundles.bundle().digest,
        "cohort": "c1",
        "serial": 3,
        "created_s": 1000.0,
        "expires_s": 2000.0,
        "strategy": "anchored",
        "samples": 256,
        "evidence": (Evidence("holdout", -0.002, -0.01, True),),
    }
    return PatchHeader(**{**fields, **changes})  # type: ignore[arg-type]


def sealed(values: dict[str, FloatArray] | None = None, **changes: object) -> bytes:
    return seal(header(**changes), GOOD if values is None else values, np.zeros(4, np.float32), KEY)


def test_round_trip() -> None:
    patch = open_envelope(sealed(), TRUSTED)
    assert patch.header == header()
    assert patch.values["bn.weight"].tolist() == [1.5, 0.5]
    assert patch.signature.shape == (4,)
    check_fit(patch, bundles.bundle())
    check_fresh(patch, cohort="c1", last_serial=2, wall_s=1500.0)


def test_a_patch_back_to_the_base_has_no_tensors() -> None:
    patch = open_envelope(sealed(values={}), TRUSTED)
    assert patch.values == {}
    check_fit(patch, bundles.bundle())


@pytest.mark.parametrize(
    ("values", "refusal"),
    [
        ({"nope": np.zeros(2, np.float32)}, Refusal.UNKNOWN_SLOT),
        ({"bn.weight": np.zeros(3, np.float32)}, Refusal.WRONG_SHAPE),
        ({"bn.weight": np.zeros(2, np.float64)}, Refusal.WRONG_DTYPE),
        ({"bn.weight": np.array([np.nan, 1], np.float32)}, Refusal.NOT_FINITE),
        ({"bn.weight": np.array([np.inf, 1], np.float32)}, Refusal.NOT_FINITE),
        ({"bn.weight": np.array([11, 1], np.float32)}, Refusal.OUT_OF_BOUNDS),
        ({"bn.var": np.array([-0.1, 1], np.float32)}, Refusal.OUT_OF_BOUNDS),
    ],
)
def test_tensors_that_do_not_fit(values: dict[str, FloatArray], refusal: Refusal) -> None:
    patch = open_envelope(sealed(values=values), TRUSTED)
    with pytest.raises(TrustError) as caught:
        check_fit(patch, bundles.bundle())
    assert caught.value.refusal is refusal


def test_another_bundle() -> None:
    with pytest.raises(TrustError) as caught:
        check_fit(open_envelope(sealed(bundle="0" * 64), TRUSTED), bundles.bundle())
    assert caught.value.refusal is Refusal.WRONG_BUNDLE


@pytest.mark.parametrize(
    ("cohort", "last_serial", "wall_s", "refusal"),
    [
        ("c2", 2, 1500.0, Refusal.WRONG_COHORT),
        ("c1", 3, 1500.0, Refusal.OLD_SERIAL),
        ("c1", 2, 2000.5, Refusal.EXPIRED),
    ],
)
def test_freshness(cohort: str, last_serial: int, wall_s: float, refusal: Refusal) -> None:
    patch = open_envelope(sealed(), TRUSTED)
    with pytest.raises(TrustError) as caught:
        check_fresh(patch, cohort=cohort, last_serial=last_serial, wall_s=wall_s)
    assert caught.value.refusal is refusal


def test_another_key() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    data = seal(header(), GOOD, np.zeros(4, np.float32), other)
    with pytest.raises(TrustError) as caught:
        open_envelope(data, TRUSTED)
    assert caught.value.refusal is Refusal.UNKNOWN_KEY


def test_every_flipped_byte_is_refused() -> None:
    data = sealed()
    for position in range(0, len(data), 7):
        broken = data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]
        with pytest.raises(TrustError):
            open_envelope(broken, TRUSTED)


def test_a_signature_over_another_payload() -> None:
    data = sealed()
    changed = data.replace(b"anchored", b"anchorez")
    with pytest.raises(TrustError) as caught:
        open_envelope(changed, TRUSTED)
    assert caught.value.refusal is Refusal.BAD_SIGNATURE


def test_too_large() -> None:
    with pytest.raises(TrustError) as caught:
        open_envelope(b"\x00" * ((4 << 20) + 1), TRUSTED)
    assert caught.value.refusal is Refusal.TOO_LARGE


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_else(data: bytes) -> None:
    with pytest.raises(TrustError):
        open_envelope(data, TRUSTED)


def test_a_malformed_trusted_key() -> None:
    with pytest.raises(ConfigError, match="trusted key"):
        TrustedKeys([b"short"])
