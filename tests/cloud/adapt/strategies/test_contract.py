"""The contract of every registered strategy: bad material has a defined outcome, good material a patch."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt_cloud.adapt import STRATEGIES, strategies
from edgeadapt_cloud.core.jobs.job import JobResult
from edgeadapt_models.compile import tiny_images, tiny_module
from tests.cloud.adapt.conftest import (
    SETTINGS,
    Constant,
    Images,
    MakeAdapter,
    Ranks,
    lanes_for,
    norm_slots,
    request_for,
    veiled,
)

Domain = tuple[Images, np.ndarray]
LOOSE = msgspec.structs.replace(SETTINGS, anchored=msgspec.structs.replace(SETTINGS.anchored, rein_loss=1.0))
every_strategy = pytest.mark.parametrize("name", strategies())


def refusals(result: JobResult) -> list[str]:
    assert not result.verdict.passed
    assert result.values == {}
    assert result.note
    return [entry.check for entry in result.verdict.evidence if not entry.passed]


def test_names_and_registry_agree() -> None:
    assert strategies() == ("anchored", "cema") == STRATEGIES.names()


@every_strategy
def test_empty_pool(name: str, make_adapter: MakeAdapter, bundle: Bundle, domain: Domain) -> None:
    empty = domain[0][:0]
    result = make_adapter().run(request_for(bundle, empty, strategy=name), empty, [])
    assert {"samples", "unseen-samples"} <= set(refusals(result))
    assert result.samples == 0


@every_strategy
@pytest.mark.parametrize("count", [1, 2, 40])
def test_tiny_pool(name: str, count: int, make_adapter: MakeAdapter, bundle: Bundle, domain: Domain) -> None:
    few = domain[0][:count]
    result = make_adapter().run(request_for(bundle, few, strategy=name), few, lanes_for(few))
    assert "samples" in refusals(result)


@every_strategy
@pytest.mark.parametrize("count", [2, 3, 5])
def test_tiny_pool_that_the_gate_lets_in(
    name: str, count: int, make_adapter: MakeAdapter, bundle: Bundle, domain: Domain
) -> None:
    """Without the floor on samples a strategy still ends, and with finite values if it passes."""
    few = domain[0][:count]
    adapter = make_adapter(min_samples=2, min_unseen=1, unseen_share_adapt=0.5, max_teacher_class_share=1.0)
    result = adapter.run(request_for(bundle, few, strategy=name), few, lanes_for(few))
    assert result.verdict.evidence
    assert all(np.isfinite(value).all() for value in result.values.values())


@every_strategy
def test_one_class_only(name: str, make_adapter: MakeAdapter, bundle: Bundle) -> None:
    images, labels = tiny_images(1500, seed=3)
    one = veiled(images[labels == 4])
    result = make_adapter(Constant(5.0)).run(request_for(bundle, one, strategy=name), one, lanes_for(one))
    assert "teacher-class-share" in refusals(result)


@every_strategy
@pytest.mark.parametrize(("logit", "check"), [(0.0, "teacher-class-share"), (np.nan, "teacher-finite")])
def test_teacher_that_says_nothing(
    name: str, logit: float, check: str, make_adapter: MakeAdapter, bundle: Bundle, domain: Domain
) -> None:
    result = make_adapter(Constant(logit)).run(
        request_for(bundle, domain[0], strategy=name), domain[0], lanes_for(domain[0])
    )
    assert check in refusals(result)


@every_strategy
def test_statistics_with_nan(name: str, make_adapter: MakeAdapter, bundle: Bundle, domain: Domain) -> None:
    request = request_for(bundle, domain[0], strategy=name)
    request.mean[0] = np.nan
    assert "device-statistics" in refusals(make_adapter().run(request, domain[0], lanes_for(domain[0])))


@every_strategy
def test_only_norm_slots_of_the_bundle_change(
    name: str, make_adapter: MakeAdapter, bundle: Bundle, domain: Domain
) -> None:
    adapter = make_adapter(confidence_z=-100.0, max_source_loss=1.0, min_class_spread=0.0)
    result = adapter.run(request_for(bundle, domain[0], strategy=name), domain[0], lanes_for(domain[0]))
    assert result.verdict.passed
    base = bundle.base_slots()
    assert set(result.values) == set(norm_slots(bundle))
    assert all(value.dtype == np.float32 for value in result.values.values())
    moved = [slot for slot, value in result.values.items() if not np.allclose(value, base[slot])]
    assert {"norm1.weight", "norm1.running_mean"} <= set(moved)


@every_strategy
def test_state_of_another_job_or_garbage_is_survived(
    name: str, make_adapter: MakeAdapter, bundle: Bundle, domain: Domain
) -> None:
    adapter = make_adapter()
    for state in (b"garbage", bytes(1000)):
        request = request_for(bundle, domain[0], strategy=name, state=state)
        assert adapter.run(request, domain[0], lanes_for(domain[0])).verdict.evidence


@every_strategy
def test_every_rank_of_batch_norm_is_taught(
    name: str, ranks_bundle: Bundle, make_adapter: MakeAdapter, domain: Domain
) -> None:
    adapter = make_adapter(
        bundle=ranks_bundle,
        student=Ranks(),
        settings=LOOSE,
        confidence_z=-100.0,
        max_source_loss=1.0,
        min_class_spread=0.0,
        min_teacher_margin=-1.0,
        min_agreement_gain=-1.0,
    )
    request = request_for(ranks_bundle, domain[0], strategy=name, network=Ranks())
    result = adapter.run(request, domain[0], lanes_for(domain[0]))
    assert result.verdict.passed, result.verdict.evidence
    base = ranks_bundle.base_slots()
    assert len(result.values) == 12
    for slot in ("plain.running_var", "flat.running_mean", "tied.running_mean", "tied.weight", "plain.bias"):
        assert not np.allclose(result.values[slot], base[slot]), slot


@every_strategy
def test_a_student_with_layer_norm_is_taught(
    name: str, layer_bundle: Bundle, make_adapter: MakeAdapter, domain: Domain
) -> None:
    adapter = make_adapter(
        bundle=layer_bundle,
        student=tiny_module(norm="layer"),
        confidence_z=-100.0,
        settings=LOOSE,
        max_source_loss=1.0,
        min_class_spread=0.0,
    )
    request = request_for(layer_bundle, domain[0], strategy=name, network=tiny_module(norm="layer"))
    result = adapter.run(request, domain[0], lanes_for(domain[0]))
    assert result.verdict.passed
    assert set(result.values) == set(norm_slots(layer_bundle))
