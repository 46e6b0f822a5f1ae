"""Content hashes. Every id of immutable content in edgeadapt is the SHA-256 of its bytes, in hex."""

from __future__ import annotations

import hashlib


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()
