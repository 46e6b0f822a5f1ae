"""The tiny bundle of the device's tests."""

from __future__ import annotations

from tests.device.conftest import tiny

__all__ = ["tiny"]
