"""Cost is a ratio of times in turn; the clock is the test's, so nothing here depends on the machine."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt_models.compile.extras.cost import cost_ratio


class Clock:
    """Time that passes when somebody works."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Worker:
    """A session that takes a while; every `hiccup`-th run takes ten times as long."""

    def __init__(self, clock: Clock, seconds: float, hiccup: int = 0) -> None:
        self.clock, self.seconds, self.hiccup, self.runs = clock, seconds, hiccup, 0

    def run(self, x: object) -> object:
        self.runs += 1
        slow = self.hiccup and self.runs % self.hiccup == 0
        self.clock.now_s += self.seconds * (10 if slow else 1)
        return x


@pytest.mark.parametrize("seconds", [1e-5, 3e-3, 0.2])
def test_the_ratio_of_their_times(seconds: float) -> None:
    clock = Clock()
    ratio = cost_ratio(
        Worker(clock, seconds), Worker(clock, 1.3 * seconds), np.zeros(1, np.float32), clock=clock
    )
    assert ratio == pytest.approx(1.3)


def test_a_hiccup_of_the_machine_does_not_count() -> None:
    clock = Clock()
    slow = Worker(clock, 1.3e-2, hiccup=9)
    assert cost_ratio(Worker(clock, 1e-2), slow, np.zeros(1, np.float32), clock=clock) == pytest.approx(1.3)
    assert slow.runs > 12
