"""What a swap cost, on a clock that is told."""

from __future__ import annotations

import pytest

from edgeadapt_device.swaps import Swaps


def test_the_longest_pause_from_the_build_to_the_first_frame_counts() -> None:
    swaps = Swaps()
    swaps.build()
    swaps.take_over(1.0)
    assert (swaps.count, swaps.gap_ms, swaps.since_s, swaps.frame_s) == (0, 0.0, 1.0, None)
    for mono_s in (1.0, 1.1, 2.0):  # a pause with nothing being built is the source's
        swaps.frame(mono_s)
    assert swaps.gap_ms == 0.0
    swaps.build()
    for mono_s in (2.1, 2.4, 2.5):
        swaps.frame(mono_s)
    swaps.take_over(2.55)
    swaps.frame(2.6)
    assert swaps.count == 1
    assert swaps.gap_ms == pytest.approx(300.0)
    swaps.frame(9.0)
    assert swaps.gap_ms == pytest.approx(300.0)


def test_a_session_that_was_kept_warm_needs_no_build() -> None:
    swaps = Swaps()
    swaps.take_over(0.0)
    swaps.frame(1.0)
    swaps.take_over(1.01)
    swaps.frame(1.02)
    assert (swaps.count, swaps.since_s) == (1, 1.01)
    assert swaps.gap_ms == pytest.approx(20.0)
