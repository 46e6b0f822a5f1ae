"""Clustering of signatures into cohorts."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeadapt_cloud.config import CohortConfig
from edgeadapt_cloud.core.fleet.cohorts import Cohorts, cohort_name
from edgeadapt_cloud.core.rows import Origin, SegmentRow, SignatureRow
from tests.cloud.fleet import BUNDLE

STD = BUNDLE.calibration.signature_std
ZERO = np.zeros(2, np.float32)


def made(**changes: float | int) -> Cohorts:
    """Clustering with join 0.5 and leave 0.7; reports are over so many frames that chance plays no part."""
    base = CohortConfig(join_distance=0.5, leave_distance=0.7)
    return Cohorts(msgspec.structs.replace(base, **changes), BUNDLE.digest, BUNDLE.calibration)


def report(
    position: float, device: str = "d", segment: int = 1, frames: int = 1 << 20, sequence: int = 1
) -> SignatureRow:
    """A report `position` source standard deviations away from the source, in every feature."""
    vector = (position * STD).astype(np.float32)
    return SignatureRow(Origin(device, "box", sequence), segment, frames, vector, ZERO, ZERO + 1, position)


def test_near_segments_share_a_cohort_and_far_ones_do_not() -> None:
    cohorts = made()
    first = cohorts.place(report(2.0, "a"))
    assert first == f"c-{BUNDLE.digest[:8]}-1" == cohort_name(BUNDLE.digest, 1)
    assert cohorts.place(report(2.3, "b")) == first
    second = cohorts.place(report(4.0, "c"))
    assert second == cohort_name(BUNDLE.digest, 2)
    assert cohorts.place(report(3.9, "a", segment=2)) == second
    assert len(cohorts.rows) == 2


def test_nearest_wins() -> None:
    cohorts = made(join_distance=1.0, leave_distance=1.0)
    low, high = cohorts.place(report(0.0, "a")), cohorts.place(report(1.5, "b"))
    assert low != high
    assert cohorts.place(report(0.7, "c")) == low
    assert cohorts.place(report(1.2, "d")) == high


def test_hysteresis_keeps_a_segment_that_drifts_a_little() -> None:
    cohorts = made()
    home = cohorts.place(report(2.0))
    cohorts.place(report(2.0, "anchor"))
    assert cohorts.place(report(2.65, sequence=2)) == home, "beyond joining, within leaving"
    moved = cohorts.place(report(3.0, sequence=3))
    assert moved != home
    assert cohorts.segments["d", "box", 1] == moved


def test_short_windows_are_granted_their_noise() -> None:
    near = [report(2.0, "a", frames=48), report(2.6, "b", frames=48)]
    cohorts = made()
    assert cohorts.place(near[0]) == cohorts.place(near[1]), "0.6 is within 0.5 + sqrt(2/48)"
    cohorts = made()
    assert cohorts.place(report(2.0, "a")) != cohorts.place(report(2.6, "b"))


def test_segment_split_off_by_chance_is_reunited_by_a_longer_window() -> None:
    cohorts = made()
    home = cohorts.place(report(2.0, "a"))
    strange = cohorts.place(report(2.8, "b", frames=64))
    assert strange != home
    assert cohorts.place(report(2.4, "b", frames=256, sequence=2)) == home


def test_cohort_with_patches_or_company_is_not_given_up() -> None:
    for lonely in (True, False):
        cohorts = made()
        cohorts.place(report(2.0, "a"))
        other = cohorts.place(report(2.8, "b", frames=64))
        assert other is not None
        if lonely:
            cohorts.update(replace(cohorts.rows[other], serial=1))
        else:
            cohorts.place(report(2.8, "c", frames=64))
        assert cohorts.place(report(2.45, "b", frames=64, sequence=2)) == other


def test_stranger_at_the_same_distance_founds_its_own() -> None:
    cohorts = made()
    home = cohorts.place(report(2.0))
    assert cohorts.place(report(2.65, "stranger")) != home


def test_thin_reports_are_not_clustered() -> None:
    cohorts = made(min_frames=32)
    assert cohorts.place(report(2.0, frames=31)) is None
    assert not cohorts.rows
    home = cohorts.place(report(2.0, frames=32))
    assert cohorts.place(report(9.0, frames=31, sequence=2)) == home


def test_number_of_cohorts_is_bounded() -> None:
    cohorts = made(max_cohorts=2)
    assert cohorts.place(report(0.0, "a"))
    assert cohorts.place(report(5.0, "b"))
    assert cohorts.place(report(10.0, "c")) is None
    assert len(cohorts.rows) == 2


def test_centroid_is_the_mean_weighted_by_frames() -> None:
    cohorts = made()
    name = cohorts.place(report(2.0, "a", frames=300))
    cohorts.place(report(2.4, "b", frames=100))
    assert name is not None
    assert np.allclose(cohorts.rows[name].centroid, 2.1 * STD, atol=1e-5)
    assert cohorts.drift(name) == pytest.approx(2.1, abs=1e-5)


def test_one_loud_report_cannot_carry_a_grown_cohort_away() -> None:
    cohorts = made()
    for sequence in range(20):
        cohorts.place(report(2.0, sequence=sequence))
    name = cohorts.place(report(2.4, "loud", frames=1 << 40))
    assert name is not None
    assert cohorts.drift(name) == pytest.approx(2.05, abs=1e-3)


def test_restored_clustering_decides_alike_and_numbers_go_on() -> None:
    cohorts = made()
    for position, device in ((2.0, "a"), (4.0, "b"), (2.2, "c")):
        cohorts.place(report(position, device))
    again = made()
    again.restore(
        cohorts.rows.values(), [SegmentRow(*key, cohort) for key, cohort in cohorts.segments.items()], 2
    )
    for position in (2.05, 2.62, 4.3, 7.0):
        news = report(position, "a", sequence=9)
        assert again.place(news) == cohorts.place(news)
    assert again.rows.keys() == cohorts.rows.keys()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(-10, 10), st.integers(0, 5), st.integers(0, 3)), max_size=40))
def test_every_placed_segment_has_a_cohort_within_reach(steps: list[tuple[float, int, int]]) -> None:
    cohorts = made()
    for sequence, (position, device, segment) in enumerate(steps):
        name = cohorts.place(report(position, f"d{device}", segment, sequence=sequence))
        assert name is not None
        assert cohorts.segments[f"d{device}", "box", segment] == name
        offset = float(np.mean(cohorts.rows[name].centroid / STD)) - position
        assert abs(offset) <= 0.72
    numbers = [row.number for row in cohorts.rows.values()]
    assert len(set(numbers)) == len(numbers)
