"""The study's figures from answers with known properties."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeadapt_sim.bench.loop.arms import ArmResult, JobFigures, PatchFigures
from edgeadapt_sim.bench.loop.figures import Truth, arm_row, claims, patch_rows
from edgeadapt_sim.bench.loop.output import write
from edgeadapt_sim.bench.loop.study import Study, StudyPlan, pieces
from edgeadapt_sim.records import Stretch

TRUTH = {"one": Truth(np.zeros(600, np.int64), (Stretch("clean", 0, 200), Stretch("fog:5", 200, 600)))}


def result(arm: str, wrong: slice, *, seed: int = 0, under: slice = slice(0, 0)) -> ArmResult:
    labels = np.zeros(600, np.int64)
    labels[wrong] = 1
    names = np.full(600, "base", dtype=object)
    names[under] = "abcd"
    loop = arm == "anchored"
    jobs = (
        JobFigures("c", "published", 200, 5.0, (), ()),
        JobFigures("c", "refused", 200, 7.0, ("agreement-gain",), ()),
    )
    return ArmResult(
        arm,
        seed,
        {"one": labels},
        {"one": tuple(names)} if loop else {},
        30 if loop else 0,
        1000,
        100,
        jobs if loop else (),
        (PatchFigures("c", 1, "abcdef", 7000, "stable"),) if loop else (),
        1.0,
    )


def test_accuracy_is_per_domain_and_spread_over_seeds() -> None:
    results = [result("anchored", slice(200, 400)), result("anchored", slice(0, 0), seed=1)]
    row = arm_row(results, {0: TRUTH, 1: TRUTH})
    assert row.accuracy == pytest.approx((400 / 600 + 1) / 2)
    assert [(d.domain, d.mean) for d in row.domains] == [("clean", 1.0), ("fog:5", 0.75)]
    assert row.domains[1].spread == pytest.approx(np.std([0.5, 1.0], ddof=1))
    assert row.uploaded_share == pytest.approx(0.05)
    assert (row.published, row.refused, row.cloud_s) == (1.0, 1.0, 12.0)
    assert row.refused_for == {"agreement-gain": 2}


def test_a_patch_is_judged_on_the_frames_it_scored_only() -> None:
    alone = result("statistics", slice(200, 300))
    loop = result("anchored", slice(400, 440), under=slice(350, 600))
    (row,) = patch_rows(loop, alone, TRUTH)
    assert (row.domain, row.frames, row.statistics) == ("fog:5", 250, 1.0)
    assert row.accuracy == pytest.approx(210 / 250)
    few = result("anchored", slice(0, 0), under=slice(500, 600))
    assert patch_rows(few, alone, TRUTH) == ()


@pytest.mark.parametrize(("harm", "holds"), [(2, True), (40, False)])
def test_claims_are_missed_when_a_patch_harms(harm: int, holds: bool) -> None:
    alone = result("statistics", slice(0, 100))
    loop = result("anchored", slice(400, 400 + harm), under=slice(350, 600))
    rows = [arm_row([arm], {0: TRUTH}) for arm in (alone, loop)]
    first, second = claims(rows, patch_rows(loop, alone, TRUTH), "anchored")
    assert first.holds
    assert second.holds is holds
    assert f"{-100 * harm / 250:+.1f} points" in second.figures


def test_without_a_patch_the_second_claim_is_not_tested() -> None:
    rows = [arm_row([result(arm, slice(0, 10))], {0: TRUTH}) for arm in ("statistics", "anchored")]
    assert claims(rows, (), "anchored")[1].holds is None


def test_a_loop_below_statistics_misses_the_first_claim() -> None:
    rows = [
        arm_row([arm], {0: TRUTH})
        for arm in (result("statistics", slice(0, 10)), result("anchored", slice(0, 90)))
    ]
    assert not claims(rows, (), "anchored")[0].holds


def test_files_hold_what_is_needed_to_repeat_it(tmp_path: Path) -> None:
    rows = tuple(
        arm_row([arm], {0: TRUTH})
        for arm in (result("statistics", slice(0, 10)), result("anchored", slice(0, 0)))
    )
    plan = StudyPlan(seeds=1)
    write(Study(rows, (), claims(rows, (), "anchored")), plan, 12.0, tmp_path / "results")
    document = json.loads((tmp_path / "results" / "loop.json").read_text())
    assert document["arguments"]["frames_per_domain"] == plan.frames_per_domain
    assert document["study"]["claims"][0]["holds"] is True
    assert (tmp_path / "results" / "loop.png").read_bytes().startswith(b"\x89PNG")


def test_every_arm_of_every_seed_is_a_piece() -> None:
    plan = StudyPlan(seeds=2, strategies=("cema", "anchored"))
    assert sorted(pieces(plan)) == sorted((seed, arm) for seed in (0, 1) for arm in ("", "cema", "anchored"))
