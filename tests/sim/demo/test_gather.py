"""The service's report in the view's and the run's words."""

from __future__ import annotations

import numpy as np

from edgeadapt.patch import Evidence
from edgeadapt_cloud.io.report import CohortReport, JobReport, PatchReport, Report
from edgeadapt_sim.demo.watch import gather

PASSED = JobReport(
    1, "c", "anchored", "published", 200, 0.0, 8.0, 1, "", (Evidence("gain", 0.02, 0.0, True),)
)
REFUSED = JobReport(
    2, "c", "anchored", "refused", 300, 9.0, 7.0, 0, "", (Evidence("gain", -0.1, 0.0, False),)
)
RUNNING = JobReport(3, "c", "anchored", "running", 450, 20.0, 0.0, 0, "", ())
PATCH = PatchReport("c", 1, "0123456789abcdef", "stable", 1, 8.0, 7577, "one", "", {"confirmed": 2})
REPORT = Report(
    running=True,
    cohorts=(CohortReport("c", ("one", "two"), 450, 1, 1, 0),),
    devices=(),
    jobs=(PASSED, REFUSED, RUNNING),
    patches=(PATCH,),
    samples=450,
    samples_waiting=0,
    quarantine={"wire": 2},
)


def test_a_running_job_is_no_record_yet() -> None:
    published, refused = gather.job_records(REPORT)
    assert (published.passed, published.size_bytes, published.rollout) == (True, 7577, "stable (2 confirmed)")
    assert (refused.passed, refused.size_bytes, refused.rollout) == (False, 0, "")
    assert refused.checks[0].value == -0.1


def test_the_view_shows_the_last_verdict_with_its_reason() -> None:
    (line,) = gather.cohort_lines(REPORT)
    assert (line.devices, line.samples, line.jobs, line.published) == (2, 450, 3, 1)
    assert line.verdict == "refused: gain -0.1 (bound 0)"
    assert gather.verdict(PASSED) == "passed 1 checks, #1"
    assert gather.cloud_state(REPORT) == "adapting c, 2 messages rejected"
    assert gather.cloud_state(None) == "starting"


def test_a_generation_is_called_by_its_patch() -> None:
    assert gather.patch_names(REPORT) == {"0123456789ab": "c #1"}


def test_noise_costs_more_bytes_than_black() -> None:
    black = np.zeros((3, 28, 28, 1), np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)
    assert gather.mean_png_bytes([black]) < 120 < 700 < gather.mean_png_bytes([noise])
    assert gather.mean_png_bytes([np.repeat(noise, 3, axis=3)]) > 700
