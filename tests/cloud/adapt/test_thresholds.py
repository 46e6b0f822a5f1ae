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
from edgeadapt_cloud.adapt.thresholds import (
    FEW,
    FEW_SHARES,
    FEW_TAUGHT,
    SURE,
    Frames,
    calibration_frames,
    patch_thresholds,
)
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
        (2 * FEW, FEW, 400, "unseen audit", FEW),
        (FEW_SHARES, FEW, 400, "unseen", FEW),
        (FEW, FEW - 1, 400, "audit", FEW),
        (FEW - 1, FEW - 1, FEW_TAUGHT, "uploaded", FEW_TAUGHT),
        (FEW - 1, FEW - 1, FEW_TAUGHT - 1, f"{FEW_TAUGHT - 1} frames of known classes are fewer", 0),
        (FEW_SHARES - 1, FEW, 400, f"{FEW_SHARES - 1} audit frames of known classes are fewer", 0),
    ],
)
def test_the_least_biased_frames_that_are_enough_are_taken(
    audit: int, unseen: int, total: int, says: str, count: int
) -> None:
    none = torch.zeros(total, dtype=torch.bool)

    frames = calibration_frames(_labels(total, 0), _mask(audit, total), _mask(unseen, total), none)

    assert int((frames.weights > 0).sum()) == count
    assert says in frames.note


def test_what_the_teacher_does_not_know_never_counts() -> None:
    every, none = torch.ones(300, dtype=torch.bool), torch.zeros(300, dtype=torch.bool)

    frames = calibration_frames(_labels(200, 100), every, none, none)

    assert frames.weights.nonzero().flatten().tolist() == list(range(200))


def test_what_was_strange_counts_as_often_as_the_audit_lane_saw_it() -> None:
    """40 audit frames, 10 of them strange, beside 360 of the adapt lane, which never has any."""
    frames = calibration_frames(_labels(400, 0), _mask(40, 400), _mask(0, 400), _mask(10, 400))

    assert float(frames.weights[:10].sum()) == pytest.approx(0.25)
    assert float(frames.weights.sum()) == pytest.approx(1.0)
    assert "10 of 40 drawn strange" in frames.note


def test_frames_that_were_called_strange_keep_thresholds_from_being_too_strict(
    bundle: Bundle, domain: Domain, student: Student
) -> None:
    """Without them, knots call more of what is known strange, and more still in the next round."""
    suite, images = Suite.of(bundle.calibration), as_tensor(domain[0])
    student.load({})
    reported = student.settle(images)
    statistics = DeviceStatistics(student, images, reported.mean.numpy(), reported.var.numpy())
    logits, embedding = outputs(student.network, images)
    scores = suite.score(Outputs(logits.numpy(), embedding.numpy()))
    name = "fdbd"
    column = scores[:, suite.names.index(name)]
    strange = torch.from_numpy(column < np.quantile(column, 0.3))
    sent = ~strange  # as the adapt lane sends it

    def alarms(frames: Frames) -> float:
        found = patch_thresholds(suite, student, {}, statistics, images[sent], frames).knots[name]
        return float((conformal.p_values(column, found) < 0.1).mean())

    assert alarms(Frames((~strange[sent]).float(), "as if they had been left out")) > 0.3
    for share, says in ((5, "from 120 audit frames"), (10, "of 60 drawn strange")):
        audit = torch.arange(len(images)) % share == 0
        sent = ~strange | audit
        none = torch.zeros(int(sent.sum()), dtype=torch.bool)
        frames = calibration_frames(_labels(len(none), 0), audit[sent], none, (strange & audit)[sent])
        assert says in frames.note
        assert 0.02 < alarms(frames) < 0.18


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
    nothing = Frames(torch.zeros(0), "no thresholds: why")
    found = patch_thresholds(suite, student, {}, None, empty, nothing)  # type: ignore[arg-type]

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
