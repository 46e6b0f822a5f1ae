"""What a sample costs, learned from those that were encoded. Sizes are of MQTT payloads."""

from __future__ import annotations

from collections.abc import Callable

# What a Sample, and PNG where nothing can be compressed, add to a raw frame, at most: with less, noisy frames
# would never be affordable, and uploads biased towards smooth ones.
_ENVELOPE_BYTES = 512
_LEARNING_SHARE = 0.05
# What is allowed for one sample over the mean so far: compressed sizes spread.
_ALLOWANCE = 1.5


class Costs:
    """A running mean and a bound."""

    def __init__(self, frame_bytes: int, spendable_bytes: Callable[[], int]) -> None:
        """`frame_bytes` is a raw frame's size: a bad guess, but no encoding is larger.

        One that would never be affordable is not believed: half of what can be spent at once, which the cloud
        may change, takes its place.
        """
        self._raw, self._spendable = float(frame_bytes + _ENVELOPE_BYTES), spendable_bytes
        self._mean = self._largest = self._raw
        self._taught = False

    @property
    def _bound(self) -> float:
        return min(self._raw, float(self._spendable() // 2))

    @property
    def mean_bytes(self) -> int:
        """Of the samples so far; before there was any, of the dearest."""
        return max(int(self._mean if self._taught else self._bound), 1)

    @property
    def price_bytes(self) -> int:
        """What one sample may cost."""
        mean = float(self.mean_bytes)
        return max(int(min(mean * _ALLOWANCE, max(self._bound, mean))), 1)

    @property
    def dearest_bytes(self) -> int:
        """What no sample costs more than, as far as is known; never above what a raw frame would."""
        return max(int(min(self._largest * _ALLOWANCE, self._bound)), 1)

    def learn(self, size_bytes: int) -> None:
        """A sample was encoded."""
        share = _LEARNING_SHARE if self._taught else 1.0
        if not self._taught:
            self._taught, self._largest = True, self._bound
        self._mean += share * (size_bytes - self._mean)
        # The bound is let down slowly, and goes up at once.
        self._largest = max(float(size_bytes), self._largest + _LEARNING_SHARE * (self._mean - self._largest))
