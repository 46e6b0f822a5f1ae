"""From the service's database and the run's circumstances to what the view and the report show."""

from __future__ import annotations

import io
import platform
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgeadapt import __version__
from edgeadapt_cloud.io.report import JobReport, PatchReport, Report
from edgeadapt_sim import provenance
from edgeadapt_sim.demo.plan import DemoPlan
from edgeadapt_sim.demo.view import CohortLine
from edgeadapt_sim.records import Check, JobRecord

_PNG_SAMPLE = 64
_NAME_DIGITS = 12
_PACKAGES = ("torch", "onnxruntime", "numpy", "paho-mqtt")
_ENDED = ("published", "refused")


def job_records(report: Report) -> tuple[JobRecord, ...]:
    """Every job that has ended at the gate, in order."""
    patches = {(patch.cohort, patch.serial): patch for patch in report.patches}
    return tuple(
        _job_record(job, patches.get((job.cohort, job.serial))) for job in report.jobs if job.state in _ENDED
    )


def cohort_lines(report: Report) -> tuple[CohortLine, ...]:
    """Every cohort now."""
    lines = []
    for cohort in report.cohorts:
        jobs = [job for job in report.jobs if job.cohort == cohort.cohort]
        patches = [patch for patch in report.patches if patch.cohort == cohort.cohort]
        ended = [job for job in jobs if job.state in _ENDED]
        lines.append(
            CohortLine(
                name=cohort.cohort,
                devices=len(cohort.devices),
                samples=cohort.samples,
                jobs=len(jobs),
                published=sum(job.state == "published" for job in jobs),
                rollout=patches[-1].stage if patches else "",
                verdict=verdict(ended[-1]) if ended else "",
            )
        )
    return tuple(lines)


def patch_names(report: Report) -> dict[str, str]:
    """What to call a generation that a device names by the first digits of its patch's digest."""
    return {patch.digest[:_NAME_DIGITS]: f"{patch.cohort} #{patch.serial}" for patch in report.patches}


def verdict(job: JobReport) -> str:
    """The gate's verdict in words: what failed, or that all passed."""
    if job.state == "published":
        return f"passed {len(job.evidence)} checks, #{job.serial}"
    failed = [line for line in job.evidence if not line.passed]
    reasons = ", ".join(f"{line.check} {line.value:.3g} (bound {line.bound:.3g})" for line in failed)
    return f"refused: {reasons or job.note}"


def cloud_state(report: Report | None) -> str:
    """One phrase for what the service is doing."""
    if report is None:
        return "starting"
    running = [job.cohort for job in report.jobs if job.state == "running"]
    doing = f"adapting {', '.join(running)}" if running else "waiting for samples"
    rejected = sum(report.quarantine.values())
    return doing + (f", {rejected} messages rejected" if rejected else "")


def facts(plan: DemoPlan, broker_kind: str) -> tuple[tuple[str, str], ...]:
    """What to know about the run."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        ("broker", broker_kind),
        ("data set", plan.dataset),
        ("student", plan.student),
        ("teacher", plan.teacher),
        ("strategy", plan.strategy),
        ("seed", str(plan.seed)),
        ("pace", f"{plan.frames_per_second:g} frames per second and device"),
        ("versions", f"edgeadapt {__version__}, Python {platform.python_version()}, {packages}"),
        ("machine", provenance.machine()),
    )


def mean_png_bytes(frames: Sequence[npt.NDArray[np.uint8]]) -> float:
    """Mean size as PNG of some frames, spread over the given streams [N, H, W, C]."""
    sizes = []
    for stream in frames:
        for index in np.linspace(0, len(stream) - 1, _PNG_SAMPLE).astype(int):
            image = np.asarray(stream[index])
            sink = io.BytesIO()
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(sink, format="PNG")
            sizes.append(sink.tell())
    return float(np.mean(sizes))


def _job_record(job: JobReport, patch: PatchReport | None) -> JobRecord:
    checks = tuple(
        Check(line.check, line.value, line.bound, line.passed, line.detail) for line in job.evidence
    )
    outcomes = ", ".join(f"{count} {state}" for state, count in patch.outcomes.items()) if patch else ""
    rollout = f"{patch.stage} ({outcomes})" if patch and outcomes else patch.stage if patch else ""
    return JobRecord(
        cohort=job.cohort,
        serial=job.serial,
        strategy=job.strategy,
        samples=job.samples,
        seconds=job.seconds,
        passed=job.state == "published",
        checks=checks,
        size_bytes=patch.size_bytes if patch else 0,
        rollout=rollout,
        note=job.note,
    )
