"""The course of a job, with a real student, bundle, strategy and gate."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.errors import ConfigError
from edgeadapt.patch import Patch, PatchHeader, check_fit
from edgeadapt_cloud.adapt import Adapter, LabelledSource, Networks
from edgeadapt_cloud.adapt.student import Student
from edgeadapt_cloud.adapt.views import as_tensor
from edgeadapt_cloud.core.jobs.job import JobResult
from edgeadapt_models.compile import tiny_module
from tests.cloud.adapt.conftest import (
    SETTINGS,
    Images,
    MakeAdapter,
    Oracle,
    lanes_for,
    norm_slots,
    request_for,
)

Domain = tuple[Images, np.ndarray]


def test_a_passed_patch_makes_unseen_frames_of_the_domain_more_accurate(
    make_adapter: MakeAdapter, bundle: Bundle, domain: Domain, student: Student
) -> None:
    pool, fresh = domain[0][:450], as_tensor(domain[0][450:])
    request = request_for(bundle, pool)
    result = make_adapter().run(request, pool, lanes_for(pool))
    assert result.verdict.passed, result.verdict.evidence
    assert (result.cohort, result.job, result.samples, result.strategy) == ("c-1", 1, 450, "anchored")

    def accuracy(values: dict[str, np.ndarray]) -> float:
        student.load(values)
        student.settle(as_tensor(domain[0]))
        return float((student.probabilities(fresh).argmax(dim=1).numpy() == domain[1][450:]).mean())

    assert accuracy(dict(result.values)) >= accuracy({}) + 0.04


def test_a_device_takes_the_values(make_adapter: MakeAdapter, bundle: Bundle, domain: Domain) -> None:
    result = make_adapter().run(request_for(bundle, domain[0]), domain[0], lanes_for(domain[0]))
    header = PatchHeader(bundle.digest, "c-1", 1, 0.0, 1.0, "anchored", 600, result.verdict.evidence)
    check_fit(Patch(header, result.values, np.zeros(3, dtype=np.float32), ""), bundle)
    assert set(result.values) == set(norm_slots(bundle))


def test_a_bundle_with_a_prompt_is_taught_as_one_without(
    make_adapter: MakeAdapter, prompt_bundle: Bundle, domain: Domain
) -> None:
    """Its devices report one first layer more, and its patches carry norm slots, as any other's."""
    manifest = prompt_bundle.manifest
    assert manifest.probe_channels > manifest.layer_channels
    copied = slice(0, manifest.norm_layers[0].channels)
    plain = request_for(prompt_bundle, domain[0])
    request = replace(
        plain,
        mean=np.concatenate([plain.mean, plain.mean[copied]]),
        var=np.concatenate([plain.var, plain.var[copied]]),
    )
    adapter = make_adapter(bundle=prompt_bundle)
    result = adapter.run(request, domain[0], lanes_for(domain[0]))
    assert result.verdict.passed, result.verdict.evidence
    assert set(result.values) == set(norm_slots(prompt_bundle))
    with pytest.raises(ConfigError, match=f"must have {manifest.probe_channels} entries"):
        adapter.run(plain, domain[0], lanes_for(domain[0]))


def test_the_same_request_gives_the_same_patch(
    make_adapter: MakeAdapter, bundle: Bundle, domain: Domain
) -> None:
    request = request_for(bundle, domain[0])
    first, second = (make_adapter().run(request, domain[0], lanes_for(domain[0])) for _ in range(2))
    assert first.verdict == second.verdict
    for name, value in first.values.items():
        np.testing.assert_array_equal(value, second.values[name])


def test_a_job_before_changes_nothing(make_adapter: MakeAdapter, bundle: Bundle, domain: Domain) -> None:
    """The teacher settles on each job's samples, so labels of an earlier job are not those of this one."""

    def run(adapter: Adapter, count: int) -> JobResult:
        images = domain[0][:count]
        return adapter.run(request_for(bundle, images), images, lanes_for(images))

    loose = {
        "confidence_z": 0.0,
        "min_agreement_gain": -1.0,
        "min_teacher_margin": -1.0,
        "min_class_spread": 0.0,
    }
    used, fresh = (make_adapter(tiny_module(), max_source_loss=1.0, **loose) for _ in range(2))
    run(used, 250)
    first, second = run(used, 500), run(fresh, 500)
    assert first.verdict == second.verdict
    assert first.values
    for name, value in first.values.items():
        np.testing.assert_array_equal(value, second.values[name])


OPEN = {"confidence_z": -9.0, "min_agreement_gain": -9.0, "max_source_loss": 1.0, "min_class_spread": 0.0}


def test_each_job_draws_anew(make_adapter: MakeAdapter, bundle: Bundle, domain: Domain) -> None:
    adapter = make_adapter(**OPEN)
    first, second = (
        adapter.run(request_for(bundle, domain[0], job=job), domain[0], lanes_for(domain[0]))
        for job in (1, 2)
    )
    assert first.values
    assert not np.array_equal(first.values["norm2.weight"], second.values["norm2.weight"])


def test_reports_made_under_the_served_patch_are_read_so(
    make_adapter: MakeAdapter, bundle: Bundle, domain: Domain, student: Student
) -> None:
    """They fit the uploads under the served values, so nothing is taken for selection bias."""
    serving = {**norm_slots(bundle), "norm1.bias": norm_slots(bundle)["norm1.bias"] + np.float32(0.5)}
    student.load(serving)
    reported = student.settle(as_tensor(domain[0]))
    request = replace(
        request_for(bundle, domain[0]),
        serving=serving,
        mean=reported.mean.numpy().copy(),
        var=reported.var.numpy().copy(),
    )
    settings = msgspec.structs.replace(SETTINGS, settle_images=len(domain[0]))
    result = make_adapter(settings=settings, **OPEN).run(request, domain[0], ["audit"] * len(domain[0]))
    student.load(result.values)
    settled = student.settle(as_tensor(domain[0])).mean[8:].numpy()
    np.testing.assert_allclose(result.values["norm2.running_mean"], settled, rtol=1e-3, atol=1e-3)


def test_a_refused_job_returns_no_values(make_adapter: MakeAdapter, bundle: Bundle, domain: Domain) -> None:
    adapter = make_adapter(confidence_z=100.0)
    result = adapter.run(request_for(bundle, domain[0]), domain[0], lanes_for(domain[0]))
    assert not result.verdict.passed
    assert result.values == {}
    assert "agreement-gain" in result.note


def test_a_study_sees_what_the_gate_holds_back(
    make_adapter: MakeAdapter, bundle: Bundle, domain: Domain
) -> None:
    request = request_for(bundle, domain[0])
    taught, evidence = make_adapter(confidence_z=100.0).propose(request, domain[0], lanes_for(domain[0]))
    assert [entry.check for entry in evidence if not entry.passed] == ["agreement-gain"]
    passed = make_adapter().run(request, domain[0], lanes_for(domain[0]))
    for name, value in passed.values.items():
        np.testing.assert_array_equal(taught.values[name], value)


def test_a_patch_has_to_be_no_worse_than_the_one_that_is_served(
    make_adapter: MakeAdapter, bundle: Bundle, domain: Domain
) -> None:
    adapter = make_adapter()
    first = adapter.run(request_for(bundle, domain[0]), domain[0], lanes_for(domain[0]))
    request = replace(request_for(bundle, domain[0], job=2), serving=first.values)
    second = adapter.run(request, domain[0], lanes_for(domain[0]))
    checks = {entry.check: entry for entry in second.verdict.evidence}
    assert "agreement-serving" in checks
    assert "agreement-serving" not in {entry.check for entry in first.verdict.evidence}
    assert abs(checks["agreement-serving"].value) < 0.1


def test_what_a_teacher_says_of_strange_frames_changes_nothing(
    make_adapter: MakeAdapter, bundle: Bundle, domain: Domain, source: LabelledSource
) -> None:
    images, lanes = domain[0], lanes_for(domain[0])
    strange = [index for index, lane in enumerate(lanes) if lane == "audit"][::4]
    for index in strange:
        lanes[index] = "strange"
    other = domain[1].copy()
    other[strange] = (other[strange] + 5) % 10
    results = []
    for labels in (domain[1], other):
        teacher = Oracle(
            np.concatenate([images, source.holdout.images]), np.concatenate([labels, source.holdout.labels])
        )
        results.append(make_adapter(teacher).run(request_for(bundle, images), images, lanes))
    first, second = results
    assert first.verdict.passed, first.verdict.evidence
    assert first.verdict == second.verdict
    counts = {entry.check: entry.value for entry in first.verdict.evidence}
    assert counts["samples"] == len(images) - len(strange)
    for name, value in first.values.items():
        np.testing.assert_array_equal(value, second.values[name])


def test_a_teacher_does_not_settle_on_strange_frames(
    make_adapter: MakeAdapter, bundle: Bundle, domain: Domain
) -> None:
    """What the labels are does not depend on what the strange frames show."""
    adapter, labels = make_adapter(tiny_module()), []
    for level in (0, 255):
        images, lanes = domain[0].copy(), lanes_for(domain[0])
        images[:200:5] = level
        lanes[:200:5] = ["strange"] * 40
        adapter.run(request_for(bundle, domain[0]), images, lanes)
        labels.append(adapter._teacher.probabilities(as_tensor(domain[0])))
    assert labels[0].equal(labels[1])


def test_misfits_are_errors(make_adapter: MakeAdapter, bundle: Bundle, domain: Domain) -> None:
    adapter, images = make_adapter(), domain[0]
    request = request_for(bundle, images)
    with pytest.raises(ConfigError, match="known: anchored, cema"):
        adapter.run(replace(request, strategy="magic"), images, lanes_for(images))
    with pytest.raises(ConfigError, match="bundle"):
        adapter.run(replace(request, bundle_digest="0" * 64), images, lanes_for(images))
    with pytest.raises(ConfigError, match="samples are"):
        adapter.run(request, images[:, :14], lanes_for(images))
    with pytest.raises(ConfigError, match="lanes"):
        adapter.run(request, images, ["adapt"])
    with pytest.raises(ConfigError, match="20 entries"):
        adapter.run(replace(request, mean=request.mean[:3]), images, lanes_for(images))


def test_the_student_must_be_the_bundles(bundle: Bundle, source: LabelledSource) -> None:
    with pytest.raises(ConfigError, match="not the student's network"):
        Adapter(SETTINGS, bundle, source, Networks(tiny_module(seed=5), tiny_module()))


def test_unknown_networks_are_named(bundle: Bundle, source: LabelledSource) -> None:
    settings = msgspec.structs.replace(SETTINGS, student="nowhere/resnet0")
    with pytest.raises(ConfigError, match="nowhere/resnet0"):
        Adapter(settings, bundle, source)
