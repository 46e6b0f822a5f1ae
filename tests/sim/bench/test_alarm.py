"""The study of the drift alarm: a small one with a network made in a second; what is claimed of rows."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from rich.console import Console

from edgeadapt_models.compile.tiny import tiny_bundle, tiny_images
from edgeadapt_sim.bench.alarm.material import Material, probed
from edgeadapt_sim.bench.alarm.output import claims, show, write
from edgeadapt_sim.bench.alarm.plan import AlarmPlan, Delay, DriftRow, FalseRow, Source, Study
from edgeadapt_sim.bench.alarm.study import drift_row, false_row, ordered, pieces, source_of, summed

PLAN = AlarmPlan(
    networks=("tiny/net",),
    corruptions=("dark",),
    severities=(5,),
    streams=4,
    stream_frames=200,
    repeats=2,
    clean_frames=60,
    frames=120,
    device_clean=150,
    device_frames=120,
)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """The tiny network; its domain is half as bright."""
    bundle = tiny_bundle(tmp_path_factory.mktemp("alarm") / "bundle")
    clean, labels = tiny_images(400, seed=5)
    other, theirs = tiny_images(120, seed=6)
    dark = probed(bundle, (other * 0.5).astype(np.uint8), theirs)
    unchanged = probed(bundle, other, theirs).accuracy
    return Material("tiny/net", bundle, probed(bundle, clean, labels), {("dark", 5): dark}, unchanged)


def test_streams_hold_no_image_twice_and_come_in_the_order_asked_for(material: Material) -> None:
    labels = material.clean.labels
    for order in ("iid", "sorted", "runs"):
        chosen = ordered(material.clean, order, 200, np.random.default_rng(1))
        assert len(set(chosen.tolist())) == len(chosen)
        changes = int(np.count_nonzero(np.diff(labels[chosen])))
        assert {"iid": changes > 100, "sorted": changes == 9, "runs": changes <= 4}[order]


def test_a_scene_shows_a_few_images_of_one_class_again_and_again(material: Material) -> None:
    chosen = ordered(material.clean, "scenes", 375, np.random.default_rng(1)).reshape(3, 125)
    for scene in chosen:
        assert len(set(material.clean.labels[scene].tolist())) == 1
        assert 15 <= len(set(scene.tolist())) <= 20


def test_clean_streams_are_counted_for_both_rules(material: Material) -> None:
    row = false_row(PLAN, material, "sorted")
    assert (row.streams, row.order, row.network) == (4, "sorted", "tiny/net")
    assert row.alarms[0] <= row.alarms[1] <= row.alarms[2]
    assert row.alarms[0] == 0
    assert row.largest >= 1.0
    assert (row.distance == 0) == (row.segments == 0.0)


def test_a_drift_is_seen_by_the_alarm_and_by_the_device(material: Material) -> None:
    row = drift_row(PLAN, material, "dark", 5)
    assert row.alarm.seen == 1.0
    assert row.alarm.frames is not None
    assert 5 <= row.alarm.frames <= 60
    assert row.device is not None
    assert 5 <= row.device <= 120
    assert row.apart > 3.0 * float(material.bundle.calibration.drift_tolerance[0])
    assert row.lost == pytest.approx(material.unchanged - row.accuracy, abs=1e-3)
    same = drift_row(
        replace(PLAN, device_severities=()),
        Material("tiny/net", material.bundle, material.clean, {("dark", 5): material.clean}, 0.5),
        "dark",
        5,
    )
    assert (same.alarm.seen, same.alarm.frames, same.device) == (0.0, None, None), "that is no drift"


def test_delays_are_medians_of_the_streams_that_saw_it() -> None:
    assert summed([3, None, 9, 5]) == Delay(0.75, 5.0)
    assert summed([None]) == Delay(0.0, None)


def a_study(*, alarms: int = 1, seen: float = 1.0) -> Study:
    delay, never = Delay(seen, 20.0), Delay(0.0, None)
    return Study(
        (Source("a/b", 0.9, 0.1, 32),),
        (FalseRow("a/b", "iid", 100, (alarms, alarms, alarms), 3.0, 2, 1.5),),
        (
            DriftRow("a/b", "fog", 5, 0.5, 0.4, 0.8, delay, never, 31),
            DriftRow("a/b", "jpeg_compression", 1, 0.89, 0.01, 0.05, never, never, None),
        ),
    )


def test_claims_hold_the_alarm_to_its_level_and_to_what_costs_accuracy() -> None:
    assert [c.holds for c in claims(a_study())] == [True, True, True, True, False]
    assert [c.holds for c in claims(a_study(alarms=6))] == [False, False, True, True, False]
    missed = claims(a_study(seen=0.5))[3]
    assert not missed.holds
    assert missed.figures == "0 of 1; not a fog 5"


def test_what_is_left(tmp_path: Path) -> None:
    study = a_study()
    write(study, PLAN, 12.5, tmp_path / "out")
    document = json.loads((tmp_path / "out" / "alarm.json").read_text())
    assert document["study"]["drifts"][0]["alarm"] == {"seen": 1.0, "frames": 20.0}
    assert document["arguments"]["streams"] == 4
    assert (tmp_path / "out" / "alarm.png").stat().st_size > 10_000
    text = io.StringIO()
    show(study, Console(file=text, width=100))
    assert "fog 5" in text.getvalue()
    assert "MISSED: the distance rule" in text.getvalue()


def test_a_piece_for_every_part_of_the_study(material: Material) -> None:
    assert len(pieces(PLAN)) == 1 + 4 + 1
    assert source_of(material).features == 16
