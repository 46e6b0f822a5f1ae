"""Fair reservoirs, choices that stand for a window, questions that spread, audits without bias."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeadapt.errors import ConfigError
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import Verdict
from edgeadapt_device.config import FlaggingSection
from edgeadapt_device.core.flagging import Decision
from edgeadapt_device.core.uplink.lanes import (
    POLICIES,
    AdaptLane,
    AskLane,
    AuditLane,
    FacilityLocation,
    Item,
    make_policy,
)
from edgeadapt_device.core.uplink.lanes.facility import greedy
from edgeadapt_device.core.uplink.lanes.item import make_item
from edgeadapt_device.core.uplink.lanes.reservoir import Reservoir

CLASSES = 4
CONFIG = FlaggingSection(entropy_low=0.0, entropy_high=1.0, redundancy_margin=1.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def item(
    vector: list[float] | FloatArray,
    predicted: int = 0,
    verdict: Verdict = "informative",
    p_value: float = 1.0,
) -> Item:
    probabilities = np.full(CLASSES, 0.1, np.float32)
    probabilities[predicted] = 0.7
    return make_item(
        np.asarray(vector, np.float32), probabilities, predicted, 0.9, Decision(verdict, p_value)
    )


def ones(items: list[Item]) -> FloatArray:
    return np.ones(len(items), np.float32)


@pytest.mark.parametrize("name", POLICIES.names())
@pytest.mark.parametrize("verdict", ["unknown", "unreliable"])
def test_no_policy_learns_from_what_the_model_does_not_know(name: str, verdict: Verdict) -> None:
    policy = make_policy(name, CONFIG, CLASSES, rng())
    assert policy.admits(item([1.0, 0.0]))
    assert not policy.admits(item([1.0, 0.0], verdict=verdict))


@pytest.mark.parametrize("name", POLICIES.names())
@given(st.integers(0, 12), st.integers(0, 20), st.integers(0, 2**31))
@settings(max_examples=25)
def test_every_policy_orders_distinct_items_and_no_more_than_can_be_paid(
    name: str, size: int, count: int, seed: int
) -> None:
    policy = make_policy(name, CONFIG, CLASSES, rng())
    draws = rng(seed).normal(size=(size, 3)).astype(np.float32)
    items = [item(row) for row in draws]
    order = policy.order(items, ones(items), count)
    assert len(order) == len(set(order)) <= count
    assert all(0 <= index < size for index in order)


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="entropy-band, facility-location"):
        make_policy("best", CONFIG, CLASSES, rng())


def test_facility_location_takes_what_stands_for_most_frames_first() -> None:
    common, middling, rare = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]
    items = [item(v) for v in [rare, *[common] * 5, *[middling] * 3]]
    policy = FacilityLocation(CONFIG, CLASSES, rng())
    chosen = [items[i].vector.argmax() for i in policy.order(items, ones(items), 9)]
    assert chosen == [0, 1, 2], "one of each kind, the most frequent first, and no repeats"
    weights = np.asarray([20.0] + [1.0] * 8, np.float32)
    assert items[policy.order(items, weights, 1)[0]].vector.argmax() == 2, "a weight counts as frames do"


def test_how_strange_a_frame_is_does_not_count() -> None:
    """What is learnable is stood for as often as it came: the strange ones are what there is to learn."""
    strange, usual = [1.0, 0.0], [0.0, 1.0]
    items = [item(strange, p_value=0.01), item(strange, p_value=0.02), item(usual, p_value=0.4)]
    policy = FacilityLocation(CONFIG, CLASSES, rng())
    assert policy.order(items, ones(items), 3) == [0, 2]


def test_what_was_sent_is_not_sent_again_until_the_segment_ends() -> None:
    policy = FacilityLocation(CONFIG, CLASSES, rng())
    items = [item([1.0, 0.0]), item([0.999, 0.001]), item([0.0, 1.0])]
    policy.sent(items[0])
    assert policy.order(items, ones(items), 3) == [2]
    policy.new_segment()
    assert len(policy.order(items, ones(items), 3)) == 2


@given(st.integers(2, 9), st.integers(0, 2**31))
@settings(max_examples=60)
def test_greedy_is_as_good_as_the_theory_promises(size: int, seed: int) -> None:
    """Within 1 - 1/e of the best pair, by trying all pairs."""
    vectors = np.abs(rng(seed).normal(size=(size, 3))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    weights = rng(seed + 1).uniform(0.1, 3.0, size).astype(np.float32)
    similar = vectors @ vectors.T

    def worth(chosen: list[int]) -> float:
        return float(weights @ similar[:, chosen].max(axis=1))

    ours = greedy(vectors, weights, np.full(size, -1.0, np.float32), 2, 0.0)
    best = max(worth([a, b]) for a in range(size) for b in range(size))
    assert worth(ours) >= (1 - 1 / np.e) * best - 1e-5


def test_a_reservoir_holds_every_frame_of_a_class_with_the_same_chance() -> None:
    counts: Counter[int] = Counter()
    for seed in range(2_000):
        held: Reservoir[int] = Reservoir(4, 10_000, rng(seed))
        for number in range(20):
            if (slot := held.place(0, 10)) is not None:
                held.put(0, slot, number, 10)
        things, weights = held.drain()
        counts.update(things)
        assert weights.tolist() == [5.0] * 4
    # 400 expected of each, 18 of standard deviation.
    assert all(310 < counts[number] < 490 for number in range(20))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 60)), max_size=80), st.integers(0, 2**31))
def test_a_reservoir_never_holds_more_than_it_may(frames: list[tuple[int, int]], seed: int) -> None:
    held: Reservoir[int] = Reservoir(3, 100, rng(seed))
    for label, size_bytes in frames:
        if (slot := held.place(label, size_bytes)) is not None:
            held.put(label, slot, label, size_bytes)
    per_class = Counter(held.drain()[0])
    assert max(per_class.values(), default=0) <= 3
    assert len(held) == held.held_bytes == 0


def test_a_rare_class_finds_a_place_in_a_full_reservoir() -> None:
    held: Reservoir[int] = Reservoir(10, 100, rng())
    for label in [0] * 50 + [1]:
        if (slot := held.place(label, 10)) is not None:
            held.put(label, slot, label, 10)
    assert Counter(held.drain()[0]) == {0: 9, 1: 1}


def test_a_window_ends_by_frames_or_by_time_and_what_is_held_is_a_copy() -> None:
    lane: AdaptLane[FloatArray] = AdaptLane(FlaggingSection(window_frames=3, window_s=10.0), CLASSES, rng())
    buffer = np.zeros(2, np.float32)
    for number in range(3):
        assert not lane.due(9.0)
        buffer[:] = number
        lane.show(item(np.eye(3, dtype=np.float32)[number]), 8, buffer.copy, 0.0)
    assert lane.due(0.0)
    assert sorted(float(image[0]) for _, image in lane.close(5)) == [0.0, 1.0, 2.0]
    assert not lane.due(99.0), "an empty window does not end"
    lane.show(item([1.0, 0.0, 0.0]), 8, buffer.copy, 20.0)
    assert not lane.due(29.9)
    assert lane.due(30.0)
    lane.new_segment()
    assert lane.close(5) == []


def test_the_most_different_question_comes_first_and_far_from_what_was_asked() -> None:
    lane = AskLane()
    questions = [item([1.0, 0.0]), item([0.99, 0.01]), item([0.0, 1.0])]
    assert lane.order(questions) == [0, 2, 1]
    lane.asked(questions[2])
    assert lane.order(questions) == [0, 1, 2]
    assert lane.order([]) == []


def test_an_audit_weighed_by_its_chance_is_unbiased_whatever_the_chance_was() -> None:
    """Frames of class 1 come when the lane is poor: a plain mean is wrong, Horvitz-Thompson is not."""
    lane, truth = AuditLane(0.2, rng(1)), []
    plain: list[float] = []
    weighed: list[tuple[float, float]] = []
    for number in range(60_000):
        rich = number % 2 == 0
        value = 0.0 if rich else 1.0
        chance = lane.chance(1000.0 if rich else 200.0, 100.0, 2000.0)
        truth.append(value)
        drawn = lane.draw(lambda known=chance: known)  # type: ignore[misc]
        if drawn:
            assert drawn == chance
            plain.append(value)
            weighed.append((value, 1.0 / chance))
    total = sum(weight for _, weight in weighed)
    assert abs(sum(v * w for v, w in weighed) / total - np.mean(truth)) < 0.03
    assert abs(np.mean(plain) - np.mean(truth)) > 0.3


def test_a_lane_that_could_not_pay_for_the_dearest_frame_draws_none() -> None:
    lane = AuditLane(0.5, rng())
    assert lane.chance(99.0, 100.0, 1000.0) == 0.0
    assert lane.chance(1e9, 100.0, 1000.0) == 0.5
    assert lane.chance(-5.0, 100.0, 50.0) == 0.0


def test_the_chance_is_reckoned_only_where_it_may_draw_and_draws_the_same_frames() -> None:
    lane, numbers, asked = AuditLane(0.1, rng(3)), rng(3).random(5_000), []

    def chance() -> float:
        asked.append(0.04)
        return 0.04

    drawn = [lane.draw(chance) > 0.0 for _ in numbers]
    assert drawn == [number < 0.04 for number in numbers]
    assert len(asked) == sum(number < 0.1 for number in numbers)


def test_vectors_that_have_no_direction_give_way_to_the_prediction() -> None:
    for bad in (np.zeros(3), np.full(3, np.nan), np.full(3, np.inf)):
        made = item(bad.astype(np.float32))
        assert made.vector.shape == (CLASSES,)
        assert float(made.vector @ made.vector) == pytest.approx(1.0, abs=1e-5)
