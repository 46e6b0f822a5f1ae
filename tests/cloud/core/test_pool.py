"""Samples that move between cohorts, and what a cohort keeps in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeadapt.clock import Instant
from edgeadapt.wire import Lane, Verdict
from edgeadapt_cloud.core.audit import audited
from edgeadapt_cloud.core.fleet.accords import Accords
from edgeadapt_cloud.core.fleet.members import Members
from edgeadapt_cloud.core.fleet.pool import MAX_WEIGHT_FRAMES, NO_PICTURE, Pool, SampleRef, pooled, reference
from edgeadapt_cloud.core.jobs.job import AuditDraw
from edgeadapt_cloud.core.rows import Origin, SignatureRow, StoredSample

ONE, TWO = ("one", "box", 1), ("two", "box", 1)
NOW = Instant(0.0, 0.0)


def ref(arrival: int, data: str | None = None) -> SampleRef:
    """A sample, by default one of its own."""
    return SampleRef(arrival, data or f"data {arrival}", "adapt")


def sample(arrival: int, lane: Lane, verdict: Verdict, data: str | None = None) -> StoredSample:
    """As the store has it."""
    digest = data or f"data {arrival}"
    return StoredSample("one", "box", 1, arrival, digest, lane, verdict, 3, 0.1, "base")


def report(device: str, segment: int, mean: float, frames: int = 10, sequence: int = 1) -> SignatureRow:
    """A report of one channel."""
    value = np.array([mean], np.float32)
    return SignatureRow(Origin(device, "box", sequence), segment, frames, value, value, value * 0 + 1, 0.0)


def test_moving_segment_leaves_what_another_segment_holds_too() -> None:
    pool = Pool(100)
    for key in (ONE, TWO):
        pool.assign(key, "a")
    pool.add(ONE, ref(1, "both"))
    pool.add(TWO, ref(2, "both"))
    pool.add(ONE, ref(3))
    assert pool.count("a") == 2
    pool.assign(ONE, "b")
    assert (pool.count("a"), pool.count("b")) == (1, 2)
    assert pool.newest("a", 9) == [ref(2, "both")]
    pool.assign(TWO, "b")
    assert (pool.count("a"), pool.count("b")) == (0, 2)
    assert pool.newest("a", 9) == []


def test_data_counts_from_its_first_arrival_whatever_the_order_of_segments() -> None:
    pool = Pool(100)
    pool.add(ONE, ref(1, "both"))
    pool.assign(TWO, "a")
    pool.add(TWO, ref(2, "other"))
    pool.add(TWO, ref(3, "both"))
    pool.assign(ONE, "a")
    assert pool.newest("a", 9) == [ref(1, "both"), ref(2, "other")]
    assert pool.count("a") == 2


def test_only_the_newest_of_a_segment_stay_in_memory() -> None:
    pool = Pool(4)
    for arrival in range(20):
        pool.add(ONE, ref(arrival))
    assert pool.waiting() <= 8, "while the segment has no cohort"
    for key in (ONE, TWO):
        pool.assign(key, "a")
    for arrival in range(20, 60):
        pool.add(TWO, ref(arrival))
    assert [sample.arrival for sample in pool.newest("a", 4)] == [56, 57, 58, 59]
    pool.assign(TWO, "b")
    assert pool.count("b") <= 8, "of a segment that moves, only what was kept comes along"


@pytest.mark.parametrize(
    ("lane", "verdict", "as_what"),
    [
        ("adapt", "informative", "adapt"),
        ("adapt", "shifted", "adapt"),
        ("adapt", "unknown", "asked"),
        ("adapt", "unreliable", "asked"),
        ("audit", "familiar", "audit"),
        ("audit", "shifted", "audit"),
        ("audit", "unknown", "strange"),
        ("audit", "unreliable", "strange"),
        ("ask", "unknown", "asked"),
        ("ask", "informative", "asked"),
    ],
)
def test_what_stays_strange_is_nothing_to_learn_from(lane: Lane, verdict: Verdict, as_what: str) -> None:
    found = reference(sample(7, lane, verdict), 7)
    assert found is not None
    assert found.lane == as_what


@pytest.mark.parametrize("late", [False, True], ids=["assigned before", "assigned after"])
def test_a_picture_that_was_asked_about_is_not_learned_from_whoever_sent_it_before(late: bool) -> None:
    """Before it had adapted, the device took such frames for shifted, and those are to learn from."""
    pool = Pool(4)
    if not late:
        pool.assign(ONE, "a")
    for row in (
        sample(1, "adapt", "shifted", "thing"),
        sample(2, "audit", "shifted", "drawn thing"),
        sample(3, "adapt", "informative"),
        sample(4, "ask", "unknown", "thing"),
        sample(5, "ask", "unknown", "drawn thing"),
        sample(6, "ask", "unknown", "first asked"),
        sample(7, "adapt", "shifted", "first asked"),
    ):
        found = reference(row, row.arrival)
        assert found is not None
        pool.add(ONE, found)
    pool.assign(ONE, "a")
    jobs = [(ref.sha256, ref.lane) for ref in pool.newest("a", 9)]
    assert jobs == [("drawn thing", "strange"), ("data 3", "adapt")]
    assert pool.count("a") == 1
    assert [draw.sha256 for draw in pool.draws("a", 9)] == ["drawn thing"]
    pool.assign(ONE, "b")
    assert (pool.count("a"), pool.count("b")) == (0, 1)


def test_samples_without_a_picture_teach_nothing_and_draws_without_one_are_counted() -> None:
    """All have the digest of nothing; each draw is one all the same."""
    pool, key = Pool(100), ("cam", "box", 1)
    assert reference(sample(1, "adapt", "informative", NO_PICTURE), 1) is None
    verdicts: tuple[Verdict, ...] = ("familiar", "unknown", "familiar")
    for arrival, verdict in enumerate(verdicts, 2):
        row = replace(sample(arrival, "audit", verdict, NO_PICTURE), predicted=arrival, chance=0.5)
        found = reference(row, arrival)
        assert found is not None
        pool.add(key, found)
        if arrival == 3:
            pool.assign(key, "fog")
    assert (pool.count("fog"), pool.newest("fog", 10)) == (0, [])
    draws = pool.draws("fog", 10)
    assert [(draw.predicted, draw.strange) for draw in draws] == [(2, False), (3, True), (4, False)]
    (figures,) = audited(draws, {})
    assert (figures.strange.samples, figures.right.samples) == (3, 0)
    pool.assign(key, "night")
    assert (pool.count("fog"), pool.count("night"), len(pool.draws("night", 10))) == (0, 0, 3)


def test_strange_draws_are_there_and_do_not_count() -> None:
    pool = Pool(100)
    pool.assign(ONE, "a")
    for row in (
        sample(1, "audit", "familiar"),
        sample(2, "audit", "unknown"),
        sample(3, "adapt", "familiar", "data 2"),  # another device took the same picture for known
        sample(4, "audit", "unknown", "data 2"),
    ):
        found = reference(row, row.arrival)
        assert found is not None
        pool.add(ONE, found)
    assert pool.count("a") == 1
    assert [(ref.sha256, ref.lane) for ref in pool.newest("a", 9)] == [
        ("data 1", "audit"),
        ("data 2", "strange"),
    ]
    drawn = pool.draws("a", 9)
    assert [(draw.sha256, draw.strange) for draw in drawn] == [
        ("data 1", False),
        ("data 2", True),
        ("data 2", True),
    ]
    assert drawn[0] == AuditDraw("data 1", 3, 0.1, "base", False)
    assert pool.draws("a", 2) == drawn[1:]
    pool.assign(ONE, "b")
    assert (pool.count("a"), pool.count("b")) == (0, 1)
    assert (pool.draws("a", 9), pool.draws("b", 9)) == ((), drawn)


def test_a_draw_is_recent_while_a_job_looks_at_what_came_with_it() -> None:
    """One without a picture must not count for longer than it would with one."""
    pool = Pool(3)
    pool.assign(ONE, "a")
    came: tuple[tuple[int, Lane, str], ...] = (
        (1, "audit", NO_PICTURE),
        (2, "adapt", "x"),
        (3, "audit", NO_PICTURE),
    )
    for arrival, lane, data in came:
        found = reference(sample(arrival, lane, "familiar", data), arrival)
        assert found is not None
        pool.add(ONE, found)
    assert [draw.recent for draw in pool.draws("a", 3)] == [True, True], "a job looks at all there is"
    pool.add(ONE, ref(4))
    pool.add(ONE, ref(5))
    assert [draw.recent for draw in pool.draws("a", 3)] == [False, True]


def test_statistics_of_a_device_weigh_no_more_than_their_average_remembers() -> None:
    found = pooled([report("one", 1, 0.0, MAX_WEIGHT_FRAMES), report("two", 1, 1.0, 1 << 40)])
    assert found is not None
    assert found.mean[0] == 0.5


def test_cohort_falls_back_to_a_devices_older_segment_when_the_newest_moves_away() -> None:
    members = Members(Accords("fleet"), "bundle", None)
    members.reported(report("one", 1, 1.0), "a", NOW)
    members.reported(report("one", 2, 5.0, sequence=2), "a", NOW)
    newest = members.statistics("a")
    assert newest is not None
    assert (newest.mean[0], newest.devices) == (5.0, 1), "one report of a device counts"
    members.reported(report("one", 2, 5.0, sequence=3), "b", NOW)
    older = members.statistics("a")
    assert older is not None
    assert older.mean[0] == 1.0
    again = Members(Accords("fleet"), "bundle", None)
    reports = [report("one", 1, 1.0), report("one", 2, 5.0, sequence=3)]
    again.restore([], reports, {("one", "box", 1): "a", ("one", "box", 2): "b"})
    assert again.statistics("a") is not None
