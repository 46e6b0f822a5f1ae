"""`anchored`: its loss, its weights, and what each anchor is for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from edgeadapt.bundle import Bundle
from edgeadapt_cloud.adapt.settings import AnchoredSettings
from edgeadapt_cloud.adapt.strategies.anchored import distillation_loss, sample_weights
from tests.cloud.adapt.conftest import SETTINGS as SETTINGS_OF_TESTS
from tests.cloud.adapt.conftest import Images, MakeAdapter, lanes_for, request_for

SETTINGS = AnchoredSettings(diversity_weight=0.0)


def test_weights_fall_with_the_teachers_entropy_and_are_capped() -> None:
    sure, torn = torch.eye(10)[:1], torch.full((1, 10), 0.1)
    weights = sample_weights(torch.cat([sure, torn]), SETTINGS)
    assert weights[0] == pytest.approx(math.exp(0.4 * math.log(10)), rel=1e-4)
    assert weights[1] == pytest.approx(math.exp(-0.6 * math.log(10)), rel=1e-4)
    capped = sample_weights(sure, AnchoredSettings(weight_cap=1.5))
    assert float(capped) == 1.5


def test_loss_is_divergence_plus_a_third_of_cross_entropy() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    labels = torch.tensor([[0.7, 0.3], [0.2, 0.8]])
    weights = torch.tensor([3.0, 1.0])
    p = logits.softmax(dim=1)
    divergence = (labels * (labels / p).log()).sum(dim=1)
    hard = -torch.stack([p[0, 0], p[1, 1]]).log()
    expected = (weights * (divergence + hard / 3)).sum() / 4
    torch.testing.assert_close(distillation_loss(logits, labels, weights, SETTINGS), expected)


def test_diversity_rewards_a_spread_mean_prediction() -> None:
    labels, weights = torch.full((4, 2), 0.5), torch.ones(4)
    settings = AnchoredSettings(diversity_weight=10.0, hard_label_weight=0.0)
    same = torch.tensor([[3.0, 0.0]] * 4)
    spread = torch.tensor([[3.0, 0.0], [0.0, 3.0]] * 2)
    assert distillation_loss(spread, labels, weights, settings) < distillation_loss(
        same, labels, weights, settings
    )


def outcome(
    make_adapter: MakeAdapter, bundle: Bundle, domain: tuple[Images, np.ndarray], **changes: float
) -> tuple[float, float]:
    """With the gate open and no rein: how far norm2's scale has gone, and what accuracy the source lost."""
    anchored = replace(SETTINGS_OF_TESTS.anchored, rein_loss=1.0, **changes)
    adapter = make_adapter(
        settings=replace(SETTINGS_OF_TESTS, anchored=anchored),
        max_source_loss=1.0,
        confidence_z=-9.0,
        min_agreement_gain=-9.0,
        min_class_spread=0.0,
    )
    result = adapter.run(request_for(bundle, domain[0]), domain[0], lanes_for(domain[0]))
    lost = next(entry.value for entry in result.verdict.evidence if entry.check == "source-holdout")
    way = result.values["norm2.weight"] - bundle.base_slots()["norm2.weight"]
    return float(np.linalg.norm(way)), lost


def test_ensembling_with_the_source_shortens_the_way(
    make_adapter: MakeAdapter, bundle: Bundle, domain: tuple[Images, np.ndarray]
) -> None:
    free, _ = outcome(make_adapter, bundle, domain, source_ensembling=1.0)
    held, _ = outcome(make_adapter, bundle, domain, source_ensembling=0.9)
    still, _ = outcome(make_adapter, bundle, domain, source_ensembling=0.0)
    assert still < 1e-6
    assert 0.01 * free < held < 0.7 * free


def test_labelled_replay_keeps_the_source(
    make_adapter: MakeAdapter, bundle: Bundle, domain: tuple[Images, np.ndarray]
) -> None:
    _, lost = outcome(make_adapter, bundle, domain, source_ensembling=1.0, replay_weight=0.0)
    _, kept = outcome(make_adapter, bundle, domain, source_ensembling=1.0, replay_weight=3.0)
    assert kept < lost - 0.03


def test_a_patch_goes_back_towards_the_source_as_far_as_its_loss_there_asks(
    make_adapter: MakeAdapter, bundle: Bundle, domain: tuple[Images, np.ndarray]
) -> None:
    base = bundle.base_slots()

    def moved(rein_loss: float) -> tuple[float, str]:
        eager = replace(
            SETTINGS_OF_TESTS.anchored, learning_rate=0.006, rein_loss=rein_loss, replay_weight=0.1
        )
        settings = replace(SETTINGS_OF_TESTS, anchored=eager)
        adapter = make_adapter(
            settings=settings, max_source_loss=1.0, confidence_z=-9.0, min_agreement_gain=-9.0
        )
        result = adapter.run(request_for(bundle, domain[0]), domain[0], lanes_for(domain[0]))
        way = result.values["norm2.weight"] - base["norm2.weight"]
        return float(np.linalg.norm(way)), result.note

    whole, note = moved(1.0)
    assert "1.00 of the way kept" in note
    part, note = moved(0.01)
    share = float(note.split(" of the way kept")[0].split()[-1])
    assert 0.0 < share < 0.9
    assert part == pytest.approx(share * whole, rel=0.1)
