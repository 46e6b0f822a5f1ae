"""Quarantine: clusters by kind, one question each, and what survives a restart."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeadapt.clock import Instant
from edgeadapt.tensors import FloatArray
from edgeadapt_device.core.flagging.decision import Decision
from edgeadapt_device.core.flagging.quarantine import Quarantine
from edgeadapt_device.core.uplink.candidate import Candidate

NOW = Instant(100.0, 1e9)
DAY_S = 24 * 3600.0
PROTOTYPES: FloatArray = np.zeros((2, 48), np.float32)


def frame(kind: int, number: int = 0, spread: float = 0.02) -> Candidate:
    """A strange frame that looks like others of its kind."""
    direction = np.random.default_rng(kind).normal(size=48)
    noise = np.random.default_rng([kind, number, 1]).normal(size=48)
    return Candidate(
        index=1000 * kind + number,
        image=np.full((4, 4, 1), kind, np.uint8),
        probabilities=np.full(2, 0.5, np.float32),
        predicted=0,
        entropy=0.7,
        embedding=(direction + spread * noise).astype(np.float32),
        decision=Decision("unknown", 0.001),
        segment=0,
        generation="base",
        captured_s=0.0,
        at_home=True,
        early=False,
    )


def filled(kinds: int, members: int, **changes: int) -> Quarantine:
    quarantine = Quarantine(PROTOTYPES, changes.get("most", 32), changes.get("most_bytes", 1 << 20))
    for number in range(members):
        for kind in range(1, kinds + 1):
            quarantine.tick()
            quarantine.add(frame(kind, number))
    return quarantine


def test_alike_frames_are_one_kind_and_others_another() -> None:
    quarantine = filled(kinds=4, members=5)

    assert len(quarantine) == 4
    assert {r.members for r in quarantine.records} == {5}
    assert quarantine.add(frame(2, 99)) == (2, 6)


def test_each_kind_is_asked_about_once_with_the_member_nearest_to_its_middle() -> None:
    quarantine = Quarantine(PROTOTYPES, 32, 1 << 20)
    for number, spread in enumerate((0.3, 0.3, 0.0, 0.3)):
        quarantine.add(frame(1, number, spread))
    (question,) = quarantine.due(NOW)

    assert (question.index, question.cluster, question.members) == (1002, 1, 4)
    quarantine.asked(1, NOW, taken=True)
    for number in range(10, 20):
        quarantine.add(frame(1, number))
    assert quarantine.due(NOW) == []
    assert quarantine.questions == 1


def test_it_is_asked_again_when_it_has_grown_tenfold_or_a_day_later() -> None:
    quarantine = filled(kinds=1, members=3)
    quarantine.asked(1, NOW, taken=True)
    later = Instant(0.0, NOW.wall_s + DAY_S)
    assert quarantine.due(later) == []  # nothing new was seen
    quarantine.add(frame(1, 50))
    assert quarantine.due(NOW) == []
    assert [q.members for q in quarantine.due(later)] == [4]
    for number in range(51, 78):
        quarantine.add(frame(1, number))
    assert [q.members for q in quarantine.due(NOW)] == [31]


def test_a_clock_that_was_put_back_does_not_silence_it_for_years() -> None:
    quarantine = filled(kinds=1, members=3)
    quarantine.asked(1, NOW, taken=True)
    quarantine.add(frame(1, 50))
    assert quarantine.due(Instant(0.0, 5.0)) != []


def test_a_question_that_nobody_could_pay_for_is_offered_again_later() -> None:
    quarantine = filled(kinds=1, members=3)
    quarantine.asked(1, NOW, taken=False)
    assert quarantine.due(NOW) == []
    for _ in range(256):
        quarantine.tick()
    assert [q.cluster for q in quarantine.due(NOW)] == [1]
    assert quarantine.questions == 0


def test_a_lonely_one_waits_for_others_but_not_for_ever() -> None:
    quarantine = filled(kinds=1, members=1)
    assert quarantine.due(NOW) == []
    for _ in range(512):
        quarantine.tick()
    assert [q.members for q in quarantine.due(NOW)] == [1]


def test_a_restart_forgets_frames_but_neither_kinds_nor_what_was_asked() -> None:
    before = filled(kinds=3, members=4)
    before.asked(2, NOW, taken=True)
    after = Quarantine(PROTOTYPES, 32, 1 << 20, before.records)

    assert after.due(NOW) == []
    assert sum(len(msgspec.msgpack.encode(record)) for record in after.records) < 3 * 160
    for kind in (1, 2, 3):
        assert after.add(frame(kind, 30)) == (kind, 5)
    assert [q.cluster for q in after.due(NOW)] == [1, 3]
    assert after.add(frame(9)) == (4, 1)


def test_two_kinds_that_turn_out_to_be_one_are_merged_under_the_older_number() -> None:
    quarantine = Quarantine(PROTOTYPES, 32, 1 << 20)
    one, aside = np.eye(48, dtype=np.float32)[:2]
    other = 0.45 * one + 0.9 * aside

    def add(direction: FloatArray) -> tuple[int, int]:
        return quarantine.add(msgspec.structs.replace(frame(1), embedding=direction.astype(np.float32)))

    assert [add(one)[0], add(other)[0]] == [1, 2]
    quarantine.asked(1, NOW, taken=True)
    count = 2
    while len(quarantine) > 1 and count < 40:
        number, _ = add(0.5 * (one + other))
        count += 1

    assert number == 1
    (record,) = quarantine.records
    assert (record.number, record.members, record.asked_members) == (1, count, 1)


def test_the_smallest_kind_makes_room_and_bytes_are_bounded() -> None:
    quarantine = Quarantine(PROTOTYPES, 3, 4096)
    for kind, members in ((1, 5), (2, 1), (3, 4), (4, 1)):
        for number in range(members):
            quarantine.add(frame(kind, number))

    assert sorted(r.number for r in quarantine.records) == [1, 3, 4]
    assert sum(len(c.specimens) for c in quarantine._clusters) <= 5


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_frame_without_a_direction_is_in_no_kind(value: float) -> None:
    quarantine = Quarantine(PROTOTYPES, 32, 1 << 20)
    odd = msgspec.structs.replace(frame(1), embedding=np.full(48, value, np.float32))

    assert quarantine.add(odd) == (0, 0)
    assert quarantine.add(msgspec.structs.replace(frame(1), embedding=None)) == (0, 0)
    assert len(quarantine) == 0


def test_no_clusters_is_no_quarantine_and_a_damaged_record_is_left_out() -> None:
    good = filled(kinds=2, members=1).records
    damaged = (msgspec.structs.replace(good[0], centre=b"short"), good[1])

    assert Quarantine(PROTOTYPES, 0, 1 << 20).add(frame(1)) == (0, 0)
    assert [r.number for r in Quarantine(PROTOTYPES, 32, 1 << 20, damaged).records] == [2]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 40), st.booleans()), max_size=80))
def test_whatever_comes_it_stays_within_its_bounds(steps: list[tuple[int, int, bool]]) -> None:
    quarantine = Quarantine(PROTOTYPES, 5, 6000)
    for kind, number, taken in steps:
        quarantine.tick()
        quarantine.add(frame(kind, number, 0.5))
        for question in quarantine.due(NOW):
            quarantine.asked(question.cluster, NOW, taken=taken)
    held = [specimen for cluster in quarantine._clusters for specimen in cluster.specimens]

    assert len(quarantine) <= 5
    assert len(held) <= 10
    assert len({record.number for record in quarantine.records}) == len(quarantine)
