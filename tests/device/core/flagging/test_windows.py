"""Windows and suspects: what a window is, and which strange frames are kept until the model has adapted."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt.wire import Verdict
from edgeadapt_device.core.flagging.decision import Decision
from edgeadapt_device.core.flagging.suspects import Suspects, size_bytes
from edgeadapt_device.core.flagging.windows import Windows, most_by_chance
from tests.device.core.flagging.test_quarantine import frame


@pytest.mark.parametrize(("frames", "alpha"), [(64, 0.05), (64, 0.01), (16, 0.2), (500, 0.05), (8, 0.5)])
def test_one_familiar_window_in_a_hundred_has_more_strange_frames_than_allowed(
    frames: int, alpha: float
) -> None:
    allowed = most_by_chance(frames, alpha)
    draws = np.random.default_rng(0).binomial(frames, alpha, 200_000)

    assert (draws > allowed).mean() < 0.011
    assert (draws > allowed - 1).mean() > 0.009


@pytest.mark.parametrize(("alpha", "allowed"), [(0.0, 0), (1.0, 64)])
def test_the_ends_of_alpha(alpha: float, allowed: int) -> None:
    assert most_by_chance(64, alpha) == allowed


@pytest.mark.parametrize(
    ("strange", "other", "drifted", "adapted", "verdict"),
    [
        (3, "familiar", False, True, "familiar"),
        (3, "informative", False, True, "informative"),
        (9, "familiar", False, True, "unknown"),
        (9, "familiar", False, False, "shifted"),
        (0, "familiar", True, False, "shifted"),
        (3, "familiar", True, True, "familiar"),
        (9, "familiar", True, True, "unknown"),
        (9, "unreliable", True, True, "unreliable"),
    ],
)
def test_a_window_is_what_its_frames_and_the_drift_test_make_it(
    strange: int, other: Verdict, drifted: bool, adapted: bool, verdict: Verdict
) -> None:
    windows = Windows(64, 0.05)
    full = [windows.observe(Decision("unknown" if n < strange else other)) for n in range(64)]

    assert full == [False] * 63 + [True]
    found = windows.close(drifted=drifted, adapted=adapted)
    assert found.verdict == verdict
    assert (found.strange, found.frames, found.allowed) == (strange, 64, 8)
    assert found.text.startswith(f"{verdict}: {strange} of 64 frames strange, 8 by chance")
    assert not windows.observe(Decision("familiar"))


def test_every_strange_frame_is_kept_with_the_same_chance_within_count_and_bytes() -> None:
    kept = np.zeros(40)
    for seed in range(400):
        suspects = Suspects(10, 1 << 20, np.random.default_rng(seed))
        for number in range(40):
            suspects.offer(frame(1, number))
        assert len(suspects) == 10
        while (one := suspects.take()) is not None:
            kept[one.index - 1000] += 1
    assert abs(kept / 400 - 0.25).max() < 0.08

    small = Suspects(10, 3 * size_bytes(frame(1)), np.random.default_rng(0))
    assert [small.offer(frame(1, n)) for n in range(3)] == [True] * 3
    small.offer(frame(1, 4))
    assert len(small) == 3
    assert not Suspects(10, 0, np.random.default_rng(0)).offer(frame(1))


def test_a_suspects_picture_is_its_own() -> None:
    suspects, seen = Suspects(4, 1 << 20, np.random.default_rng(0)), frame(3)
    suspects.offer(seen)
    seen.image[:] = 77
    held = suspects.take()

    assert held is not None
    assert held.image.max() == 3


def test_a_new_segment_begins_with_none() -> None:
    suspects = Suspects(4, 1 << 20, np.random.default_rng(0))
    suspects.offer(frame(1))
    suspects.new_segment()

    assert suspects.take() is None
