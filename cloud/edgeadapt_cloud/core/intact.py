"""Whether what the store holds fits together, before a core is built from it.

A database whose pages are whole can still lack a row or hold an array of the wrong length (a backup that
was put together by hand, a failing disk). Found here it is one clear error; found later it is a defect in
the middle of a decision.
"""

from __future__ import annotations

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.errors import ConfigError
from edgeadapt_cloud.core.rows import Snapshot


def check_whole(saved: Snapshot) -> None:
    """Raises ConfigError when a segment or a patch names a cohort that is not there."""
    known = {row.cohort for row in saved.cohorts}
    named = {row.cohort for row in saved.segments} | {row.cohort for row in saved.patches}
    if not named <= known:
        raise ConfigError(f"cohort {min(named - known)!r} is named, but is not there")


def check_sizes(saved: Snapshot, bundle: Bundle) -> None:
    """Raises ConfigError when an array of this bundle's cohorts does not have the bundle's length."""
    features, channels = len(bundle.calibration.signature_std), bundle.manifest.probe_channels
    placed = {(row.device, row.outbox, row.segment) for row in saved.segments}
    for cohort in saved.cohorts:
        if cohort.centroid.shape != (features,):
            raise ConfigError(f"cohort {cohort.cohort!r} does not have {features} features")
    for report in saved.signatures:
        if (report.origin.device, report.origin.outbox, report.segment) not in placed:
            continue
        if report.vector.shape != (features,) or {report.mean.shape, report.var.shape} != {(channels,)}:
            raise ConfigError(f"a report of {report.origin.device} does not have the bundle's sizes")
