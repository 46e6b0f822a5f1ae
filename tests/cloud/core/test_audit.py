"""The audit's estimate has no bias, its interval covers, and it never looks surer than it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from edgeadapt_cloud.core.audit import audited, estimate
from edgeadapt_cloud.core.fleet.pool import NO_PICTURE
from edgeadapt_cloud.core.jobs.job import AuditDraw
from edgeadapt_cloud.io.report import AuditReport, CohortReport, Report
from edgeadapt_cloud.status import render


def test_chances_that_go_with_what_is_right_leave_no_bias_and_the_interval_covers() -> None:
    """Right frames come when the chance is high: the plain share is far off, the estimate is not."""
    rng = np.random.default_rng(5)
    values, plain, covered = [], [], 0
    for _ in range(400):
        busy = rng.random(6000) < 0.5
        right = rng.random(6000) < np.where(busy, 0.95, 0.65)
        chance = np.where(busy, 0.05, 0.01)
        drawn = rng.random(6000) < chance
        found = estimate(right[drawn].tolist(), chance[drawn].tolist())
        values.append(found.value)
        plain.append(right[drawn].mean())
        covered += found.low <= right.mean() <= found.high
    assert abs(float(np.mean(values)) - 0.8) < 0.006
    assert float(np.mean(plain)) > 0.88
    assert covered >= 0.92 * 400


def test_a_few_that_are_all_right_are_not_certain() -> None:
    found = estimate([True] * 5, [0.1] * 5)
    assert found.value == 1.0
    assert found.low == pytest.approx(0.566, abs=0.005), "Wilson's interval for 5 of 5"
    assert found.high == 1.0
    assert str(found).startswith("1.000 (0.566 to 1.000) on 5 audit samples")


def test_samples_without_a_chance_say_nothing() -> None:
    nothing = estimate([True, False], [0.0, 2.0])
    assert (nothing.samples, nothing.low, nothing.high) == (0, 0.0, 1.0)
    assert estimate([True, False, True], [0.1, 0.0, 0.1]).samples == 2
    with pytest.raises(ValueError, match="argument"):
        estimate([True], [])


@given(st.lists(st.tuples(st.booleans(), st.floats(1e-6, 1.0)), min_size=1, max_size=50))
def test_every_estimate_lies_in_its_interval(samples: list[tuple[bool, float]]) -> None:
    found = estimate([r for r, _ in samples], [c for _, c in samples])
    assert 0.0 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 1.0
    assert 0.0 < found.effective <= len(samples) + 1e-6


def test_draws_without_a_picture_make_the_interval_as_wide_as_they_may_be_wrong() -> None:
    """Busy frames are often wrong, and their pictures too dear: those that come flatter the devices."""
    rng, truth = np.random.default_rng(3), 0.75
    covered = flattered = 0
    for _ in range(60):
        busy = rng.random(400) < 0.25
        right = np.where(busy, rng.random(400) < 0.3, rng.random(400) < 0.9)
        draws = [
            AuditDraw(NO_PICTURE if dear else f"{number}", int(good), 0.1, "base", False)
            for number, (dear, good) in enumerate(zip(busy, right, strict=True))
        ]
        (found,) = audited(draws, {f"{number}": 1 for number in range(400)})
        assert found.blind == busy.sum()
        assert found.right.samples == 400 - found.blind
        assert found.right.low <= found.right.value <= found.right.high
        covered += found.right.low <= truth <= found.right.high
        assert found.right.high - found.right.low < found.blind / 400 + 0.1
        flattered += estimate(right[~busy].tolist(), [0.1] * int((~busy).sum())).low > truth
    assert (covered, flattered) == (60, 60)


def test_draws_without_a_picture_count_from_where_those_with_one_do() -> None:
    """What a job no longer looks at is left out whole: with its pictures, and without."""

    def draw(data: str, *, strange: bool = False, chance: float = 0.5, recent: bool = True) -> AuditDraw:
        return AuditDraw(data, 1, chance, "base", strange, recent)

    old = [draw("old", recent=False), draw(NO_PICTURE, recent=False)]
    new = [draw("a"), draw("b"), draw("lost"), draw(NO_PICTURE, strange=True), draw(NO_PICTURE, chance=0.0)]
    classes = {"a": 1, "b": 2}
    (found,) = audited([*old, *new], classes)
    assert (found.blind, found.right.samples, found.strange.samples) == (0, 2, 6)
    assert found.right == estimate([True, False], [0.5, 0.5])
    (wider,) = audited([*old, draw(NO_PICTURE), *new], classes)
    assert (wider.blind, wider.right.value, wider.right.samples) == (1, 0.5, 2)
    assert wider.right.low == estimate([True, False, False], [0.5] * 3).low
    assert wider.right.high == estimate([True, False, True], [0.5] * 3).high
    (nothing,) = audited([draw(NO_PICTURE)], {})
    assert (nothing.blind, nothing.right.samples) == (1, 0)

    row = AuditReport(1, "9ec8de123456", 0, wider.right, wider.strange, wider.blind)
    console = Console(record=True, width=80)
    render(
        Report(True, (CohortReport("c-31ef65bb-12", (), 9, 0, 0, 0, (row,)),), (), (), (), 9, 0, {}), console
    )
    shown = console.export_text()
    assert "picture" in shown
    low, high = 100 * wider.right.low, 100 * wider.right.high
    (line,) = [line for line in shown.splitlines() if f"50 % ({low:.0f} to {high:.0f})" in line]
    assert line.split()[-2:] == ["7", "1"]
