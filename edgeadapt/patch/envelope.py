"""Signing patches, and taking bytes and either trusting them or raising.

    seal(header, values, signature, key) -> bytes         in the cloud, after the gate
    open_envelope(data, trusted) -> Patch                 signature, digests and structure
    check_fit(patch, bundle, artifact)                    every tensor fits its slot, and the model that runs
    check_fresh(patch, cohort, last_serial, wall_s)       cohort, serial, expiry

An envelope is MessagePack {payload, key_id, signature}: Ed25519 over the payload's bytes. The payload
is MessagePack {version, header, tensors, tensors_sha256, domain}, and {thresholds} where it has some
(`patch.thresholds`). Size is checked before parsing and the signature before anything inside the payload is
looked at. No I/O and no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec
import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.bundle.limits import check_values
from edgeadapt.bundle.manifest import Artifact
from edgeadapt.digest import sha256_hex
from edgeadapt.errors import BundleError, ConfigError, Refusal, TrustError, WireError
from edgeadapt.patch.patch import Patch, PatchHeader
from edgeadapt.patch.thresholds import Thresholds, pack_thresholds, unpack_thresholds
from edgeadapt.tensors import FloatArray, decode_tensors, encode_tensors

MAX_PATCH_BYTES = 4 << 20
PAYLOAD_VERSION = 1
_NO_THRESHOLDS: Thresholds = MappingProxyType({})


class _Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    version: int
    header: PatchHeader
    tensors: bytes
    tensors_sha256: str
    domain: bytes
    thresholds: bytes = b""


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payload: bytes
    key_id: str
    signature: bytes


class TrustedKeys:
    """The public keys that a device accepts patches from, by key id."""

    def __init__(self, raw_keys: Iterable[bytes]) -> None:
        """Pin keys given as 32 raw bytes each; raises ConfigError on a malformed one."""
        self._keys: dict[str, Ed25519PublicKey] = {}
        for raw in raw_keys:
            try:
                self._keys[key_id(raw)] = Ed25519PublicKey.from_public_bytes(raw)
            except ValueError as error:
                raise ConfigError(f"a trusted key is not a raw Ed25519 public key: {error}") from error

    def verify(self, envelope: _Envelope) -> None:
        """Raise TrustError unless a pinned key signed this payload."""
        key = self._keys.get(envelope.key_id)
        if key is None:
            raise TrustError(Refusal.UNKNOWN_KEY, f"no trusted key has id {envelope.key_id[:16]!r}")
        try:
            key.verify(envelope.signature, envelope.payload)
        except InvalidSignature as error:
            raise TrustError(Refusal.BAD_SIGNATURE, "the signature does not match the payload") from error


def key_id(raw_public_key: bytes) -> str:
    """Short name of a public key: the first 16 hex digits of its SHA-256."""
    return sha256_hex(raw_public_key)[:16]


def seal(
    header: PatchHeader,
    values: Mapping[str, FloatArray],
    signature: FloatArray,
    key: Ed25519PrivateKey,
    thresholds: Thresholds = _NO_THRESHOLDS,
) -> bytes:
    """Sign a patch; returns the bytes that travel. Raises TrustError on thresholds no device would take."""
    tensors = encode_tensors(values) if values else b""
    payload = msgspec.msgpack.encode(
        _Payload(
            PAYLOAD_VERSION,
            header,
            tensors,
            sha256_hex(tensors),
            np.ascontiguousarray(signature, dtype="<f4").tobytes(),
            pack_thresholds(thresholds),
        )
    )
    public = key.public_key().public_bytes_raw()
    return msgspec.msgpack.encode(_Envelope(payload, key_id(public), key.sign(payload)))


def open_envelope(data: bytes, trusted: TrustedKeys) -> Patch:
    """Verify and parse.

    Raises:
        TrustError: with the refusal: too large, malformed, unknown key or bad signature; thresholds that
            are not as `check_thresholds` wants them.
    """
    if len(data) > MAX_PATCH_BYTES:
        raise TrustError(Refusal.TOO_LARGE, f"{len(data)} bytes, more than {MAX_PATCH_BYTES}")
    try:
        envelope = msgspec.msgpack.decode(data, type=_Envelope)
        trusted.verify(envelope)
        payload = msgspec.msgpack.decode(envelope.payload, type=_Payload)
        if payload.version != PAYLOAD_VERSION:
            raise TrustError(Refusal.MALFORMED, f"payload version {payload.version}")
        if sha256_hex(payload.tensors) != payload.tensors_sha256 or len(payload.domain) % 4:
            raise TrustError(Refusal.MALFORMED, "the tensors do not have the digest in the payload")
        values = decode_tensors(payload.tensors, max_bytes=MAX_PATCH_BYTES) if payload.tensors else {}
    except (msgspec.DecodeError, WireError, UnicodeDecodeError, RecursionError) as error:
        raise TrustError(Refusal.MALFORMED, str(error)) from error
    domain = np.frombuffer(payload.domain, dtype="<f4").astype(np.float32)
    thresholds = unpack_thresholds(payload.thresholds)
    return Patch(payload.header, values, domain, sha256_hex(data), thresholds)


def check_fit(patch: Patch, bundle: Bundle, artifact: Artifact | None = None) -> None:
    """Raise TrustError unless the patch is for this bundle and every tensor fits its slot.

    With an `artifact`, the one that a device runs, its integers must be able to take the values as well.
    """
    if patch.header.bundle != bundle.digest:
        raise TrustError(Refusal.WRONG_BUNDLE, f"it is for bundle {patch.header.bundle[:12]}")
    slots = {slot.name: slot for slot in bundle.manifest.slots}
    for name, value in patch.values.items():
        slot = slots.get(name)
        if slot is None:
            raise TrustError(Refusal.UNKNOWN_SLOT, f"the bundle has no slot {name!r}")
        if value.dtype != np.float32:
            raise TrustError(Refusal.WRONG_DTYPE, f"{name} is {value.dtype}, the slot is {slot.dtype}")
        if value.shape != slot.shape:
            raise TrustError(Refusal.WRONG_SHAPE, f"{name} is {value.shape}, the slot is {slot.shape}")
        if not np.isfinite(value).all():
            raise TrustError(Refusal.NOT_FINITE, f"{name} holds NaN or Inf")
        if value.size and (float(value.min()) < slot.lower or float(value.max()) > slot.upper):
            raise TrustError(Refusal.OUT_OF_BOUNDS, f"{name} leaves [{slot.lower}, {slot.upper}]")
    if not np.isfinite(patch.signature).all():
        raise TrustError(Refusal.NOT_FINITE, "the domain signature holds NaN or Inf")
    if artifact is not None:
        try:
            check_values(bundle, artifact, patch.values)
        except BundleError as error:
            raise TrustError(Refusal.BEYOND_INT8, str(error)) from error


def check_fresh(patch: Patch, *, cohort: str, last_serial: int, wall_s: float) -> None:
    """Raise TrustError unless the patch is for this cohort, newer than `last_serial` and not expired."""
    header = patch.header
    if header.cohort != cohort:
        raise TrustError(Refusal.WRONG_COHORT, f"it is for cohort {header.cohort!r}, not {cohort!r}")
    if header.serial <= last_serial:
        raise TrustError(Refusal.OLD_SERIAL, f"serial {header.serial}, already at {last_serial}")
    if not wall_s <= header.expires_s:  # NaN has expired too
        raise TrustError(Refusal.EXPIRED, f"expired {wall_s - header.expires_s:.0f} s ago")
