"""Tests of a bounded mean that may be looked at after every observation, and stopped at any of them.

`MeanTest` watches values in [low, high] and asks on which side of a bound their mean lies. It bets on
each side: under "the mean of the next value, given all before it, is at most the bound" the wealth

    prod_i (1 + b (x_i - bound)),   0 <= b < 1 / (bound - low)

is a non-negative supermartingale that starts at 1, so by Ville's inequality it ever exceeds 1/alpha with a
chance of at most alpha, however often one looks. A mean over a grid of bets b is one as well, and need not
know the effect's size. The other side is the mirror image. Values need not be independent, nor alike:
only the conditional means count. Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
betting" (JRSS-B 2024), sections 4 and B; Ville (1939).

Not here: what is measured, and what is done about the answer.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: An e-value beyond this is proof enough, and still a number that every format can carry.
MAX_E_VALUE = 1e12
# Bets as shares of the largest one; the smallest finds effects of a few hundredths of the range.
_BETS: npt.NDArray[np.float64] = np.geomspace(0.02, 0.95, 12)


class MeanTest:
    """Evidence that a mean lies above, or below, a bound.

    >>> coin = MeanTest(0.0, 1.0, bound=0.5)
    >>> for _ in range(30):
    ...     coin.observe(1.0)
    >>> coin.e_above > 1e4, coin.e_below < 1.0, coin.mean
    (True, True, 1.0)
    """

    def __init__(self, low: float, high: float, bound: float) -> None:
        """Values lie in [low, high], and the bound strictly between them; raises ValueError otherwise."""
        if not low < bound < high:
            raise ValueError(f"expected low < bound < high, got {low}, {bound}, {high}")
        self._low, self._high, self.bound = low, high, bound
        self._bets = np.stack([_BETS / (bound - low), -_BETS / (high - bound)])
        self._log_wealth: npt.NDArray[np.float64] = np.zeros_like(self._bets)
        self._sum = 0.0
        self.count = 0

    def observe(self, value: float) -> None:
        """Take one value; one outside [low, high] counts as the nearest end."""
        value = min(max(value, self._low), self._high)
        self._log_wealth += np.log1p(self._bets * (value - self.bound))
        self._sum += value
        self.count += 1

    @property
    def mean(self) -> float:
        """Of the values so far; 0 before the first."""
        return self._sum / self.count if self.count else 0.0

    @property
    def e_above(self) -> float:
        """E-value against "the mean is at most the bound"; 1 before the first value."""
        return _mixture(self._log_wealth[0])

    @property
    def e_below(self) -> float:
        """E-value against "the mean is at least the bound"."""
        return _mixture(self._log_wealth[1])


def _mixture(log_wealth: npt.NDArray[np.float64]) -> float:
    """Mean wealth over the bets, from its logarithms."""
    top = float(log_wealth.max())
    if top > np.log(MAX_E_VALUE * len(_BETS)):
        return MAX_E_VALUE
    return min(float(np.exp(log_wealth).mean()), MAX_E_VALUE)
