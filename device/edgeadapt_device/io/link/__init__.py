"""The way to the broker: the contract, and nothing more until a client is wanted."""

from __future__ import annotations

from edgeadapt_device.io.link.base import (
    Link,
    NoLink,
)

__all__ = [
    "Link",
    "NoLink",
]
