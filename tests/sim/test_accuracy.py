"""The figures that every table and chart is made from."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_sim import accuracy
from edgeadapt_sim.records import METHODS, BoolArray, DeviceRecord, Method, Stretch, Traffic
from tests.sim.example_run import example_run


def device(loop: list[int], stretches: tuple[Stretch, ...]) -> DeviceRecord:
    right = np.array(loop, dtype=bool)
    correct: dict[Method, BoolArray] = {"frozen": ~right, "statistics": right & False, "loop": right}
    return DeviceRecord("d", 10.0, stretches, correct, (), Traffic(0, 0, 0, 0))


def test_running_mean_is_over_the_last_frames() -> None:
    right = np.array([1, 1, 0, 0, 1], dtype=bool)
    np.testing.assert_allclose(accuracy.running(right, 2), [1, 1, 0.5, 0, 0.5])
    np.testing.assert_allclose(accuracy.running(right, 100), [1, 1, 2 / 3, 0.5, 0.6])


def test_stretches_split_at_every_change_and_keep_returning_domains_apart() -> None:
    index = np.array([0, 0, 1, 1, 1, 0])
    assert accuracy.stretches_of(["clean", "fog:5"], index) == (
        Stretch("clean", 0, 2),
        Stretch("fog:5", 2, 5),
        Stretch("clean", 5, 6),
    )
    assert accuracy.stretches_of(["clean"], np.array([], dtype=int)) == ()


def test_by_domain_pools_stretches_and_devices_and_ignores_frames_not_reached() -> None:
    one = device([1, 0, 1, 1], (Stretch("clean", 0, 1), Stretch("fog:5", 1, 3), Stretch("clean", 3, 9)))
    two = device([0, 0], (Stretch("fog:5", 0, 2), Stretch("snow:5", 2, 4)))
    rows = {row.domain: row for row in accuracy.by_domain([one, two])}
    assert list(rows) == ["clean", "fog:5"]
    loop = METHODS.index("loop")
    assert (rows["clean"].frames, rows["clean"].values[loop]) == (2, 1.0)
    assert (rows["fog:5"].frames, rows["fog:5"].values[loop]) == (4, 0.25)


def test_fleet_mean_weighs_frames_not_devices() -> None:
    one = device([1, 1, 1, 1], (Stretch("clean", 0, 4),))
    two = device([0], (Stretch("clean", 0, 1),))
    assert accuracy.fleet_mean([one, two], "loop") == pytest.approx(0.8)
    assert accuracy.mean(one, "loop") == 1.0


def test_methods_must_have_scored_the_same_frames() -> None:
    good = example_run().devices[0]
    shorter = {**good.correct, "loop": good.correct["loop"][:-1]}
    with pytest.raises(ConfigError, match="different lengths"):
        DeviceRecord("d", 10.0, good.stretches, shorter, (), good.traffic)
