"""The signing key: an Ed25519 private key in a PEM file that only its owner can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from edgeadapt.errors import ConfigError

KEY_NAME = "signing-key.pem"


def generate(path: Path) -> Ed25519PrivateKey:
    """Make a key and write it with mode 0600.

    Raises:
        ConfigError: there is a file already (a fleet may trust it), or it cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as sink:
            sink.write(pem)
    except FileExistsError as error:
        raise ConfigError(f"{path} is already there: devices may trust it, so it is not replaced") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error
    return key


def load(path: Path) -> Ed25519PrivateKey:
    """Read a key.

    Raises:
        ConfigError: missing, readable by others, or not an Ed25519 private key.
    """
    try:
        pem = path.read_bytes()
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigError(f"{path}: {error}; make a key with `edgeadapt cloud keygen`") from error
    if mode & 0o077:
        raise ConfigError(f"{path} can be read by others (mode {mode:04o}): chmod 600 {path}")
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is not a private key in PEM: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds a {type(key).__name__}; an Ed25519 key is needed")
    return key


def public_hex(key: Ed25519PrivateKey) -> str:
    """The public key as 64 hex digits: what devices pin."""
    return key.public_key().public_bytes_raw().hex()
