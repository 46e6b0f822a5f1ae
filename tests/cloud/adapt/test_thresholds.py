"""Thresholds that belong to a patch: what they rest on, what they hold, and how they travel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch import Tensor

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.patch import TrustedKeys, open_envelope
from edgeadapt.scoring import Outputs, conformal
from edgeadapt.scoring.suite import Suite
from edgeadapt_cloud.adapt.statistics import DeviceStatistics
from edgeadapt_cloud.adapt.student import Student, outputs
from edgeadapt_cloud.adapt.thresholds import FEW, FEW_AUDIT, SURE, calibration_frames, patch_thresholds
from edgeadapt_cloud.adapt.views import as_tensor
from edgeadapt_cloud.core.rollout.sealing import Sealer
from edgeadapt_cloud.core.rollout.standing import Draft
from edgeadapt_cloud.core.rows import CohortRow
from tests.cloud.adapt.conftest import Images, MakeAdapter, lanes_for, request_for

Domain = tuple[Images, np.ndarray]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TRUSTED = TrustedKeys([KEY.public_key().public_bytes_raw()])


def _labels(sure: int, unsure: int) -> Tensor:
    rows = torch.full((sure + unsure, 10), (1.0 - SURE - 0.1) / 9)
    rows[:sure, 3] = SURE + 0.1
    return rows


def _mask(count: int, total: int) -> Tensor:
    return torch.arange(total) < count


@pytest.mark.parametrize(
    ("audit", "unseen", "total", "says", "count"),
    [
        (2 * FEW_AUDIT, FEW_AUDIT, 400, "unseen audit", FEW_AUDIT),
        (FEW_AUDIT, FEW_AUDIT - 1, 400, "audit", FEW_AUDIT),
        (FEW_AUDIT - 1, FEW, 400, "unseen", FEW),
        (FEW_AUDIT - 1, FEW - 1, FEW, "uploaded", FEW),
        (FEW_AUDIT - 1, FEW_AUDIT - 1, FEW - 1, "no thresholds", 0),
    ],
)
def test_the_least_biased_frames_that_are_enough_are_taken(
    audit: int, unseen: int, total: int, says: str, count: int
) -> None:
    none = torch.zeros(total, dtype=torch.bool)

    mask, note = calibration_frames(_labels(total, 0), _mask(audit, total), _mask(unseen, total), none)

    assert int(mask.sum()) == count
    assert says in note


def test_what_the_teacher_does_not_know_and_what_was_asked_about_never_counts() -> None:
    total = 300
    asked = torch.zeros(total, dtype=torch.bool)
    asked[:20] = True

    mask, _ = calibration_frames(_labels(200, 100), torch.ones(total, dtype=torch.bool), asked, asked)

    assert mask.nonzero().flatten().tolist() == list(range(20, 200))


def test_a_patch_brings_thresholds_that_hold_in_its_domain(
    make_adapter: MakeAdapter, bundle: Bundle, domain: Domain, student: Student
) -> None:
    """New frames of the domain are called strange as often as alpha says; under the base's, far more are."""
    images, lanes = domain[0], lanes_for(domain[0])
    taught, held = images[: len(images) // 2], images[len(images) // 2 :]
    request = request_for(bundle, taught)
    result = make_adapter().run(request, taught, lanes[: len(taught)])
    assert result.verdict.passed, result.verdict.evidence
    assert "thresholds from" in result.note

    suite = Suite.of(bundle.calibration)
    assert result.thresholds
    assert set(result.thresholds) == {
        n for n, needs in zip(suite.names, suite.needs, strict=True) if not needs & {"style", "temperature"}
    }
    student.load({})
    statistics = DeviceStatistics(student, as_tensor(taught), request.mean, request.var)
    student.load(result.values)
    statistics.settle(student)
    logits, embedding = outputs(student.network, as_tensor(held))
    scores = suite.score(Outputs(logits.numpy(), embedding.numpy()))
    for name, found in result.thresholds.items():
        column = suite.names.index(name)
        own = float((conformal.p_values(scores[:, column], found) < 0.05).mean())
        assert 0.0 <= own < 0.13, (name, own)


def test_the_tiniest_job_brings_none(bundle: Bundle, student: Student) -> None:
    suite = Suite.of(bundle.calibration)
    empty = torch.zeros(0, 1, 28, 28)
    found = patch_thresholds(suite, student, {}, None, empty, "no thresholds: why")  # type: ignore[arg-type]

    assert found.knots == {}
    assert found.note == "no thresholds: why"


def test_they_are_sealed_with_the_patch_and_go_on_with_its_renewal(bundle: Bundle) -> None:
    knots = {"energy": np.linspace(-1, 1, 64, dtype=np.float32)}
    slot = next(slot for slot in bundle.manifest.slots if slot.kind == "norm_bias")
    values = {slot.name: bundle.base_slots()[slot.name]}
    cohort = CohortRow("c-1", 1, bundle.digest, np.zeros(0, np.float32), 10)
    sealer = Sealer(bundle, KEY, 3600.0)
    draft = Draft(values, cohort.centroid, "anchored", 9, (), thresholds=knots)

    cohort, row = sealer.seal(cohort, draft, Instant(0.0, 1e9))
    cohort, renewed = sealer.renew(cohort, row, Instant(0.0, 1e9 + 5))
    _, back = sealer.restore(cohort, row, "why not", Instant(0.0, 1e9 + 9))

    for sealed in (row, renewed, back):
        found = open_envelope(sealed.sealed, TRUSTED).thresholds
        assert found["energy"].tolist() == knots["energy"].tolist()
