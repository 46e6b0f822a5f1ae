"""Every check of the gate, alone: one contest that passes, and one change that each check refuses."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from edgeadapt.bundle import Bundle
from edgeadapt.patch import Evidence
from edgeadapt_cloud.adapt import gate
from edgeadapt_cloud.adapt.gate import Contest, Material, SourceFigures
from edgeadapt_cloud.adapt.settings import GateSettings

SETTINGS = GateSettings()
COUNT = 200
TRUTH = torch.arange(COUNT) % 10


def says(classes: Tensor, confidence: float = 0.9) -> Tensor:
    """Probabilities [N, 10] that put `confidence` on the given classes."""
    rest = (1.0 - confidence) / 9
    return torch.full((len(classes), 10), rest).scatter(1, classes.unsqueeze(1), confidence)


def wrong_on(share: float) -> Tensor:
    """The truth, but off by one on a share of the samples spread over all classes."""
    classes = TRUTH.clone()
    count = int(COUNT * share)
    classes[:count] = (classes[:count] + 1) % 10
    return classes


def barely_better() -> Tensor:
    """Of 60 mistakes three are mended and two are new."""
    classes = wrong_on(0.285)
    classes[-2:] = (classes[-2:] + 1) % 10
    return classes


def contest(bundle: Bundle, **changes: object) -> Contest:
    fields: dict[str, object] = {
        "values": bundle.base_slots(),
        "manifest": bundle.manifest,
        "labels": says(TRUTH, 0.95),
        "weights": torch.full((COUNT,), 1.0 / COUNT),
        "candidate": says(wrong_on(0.1)),
        "statistics_only": says(wrong_on(0.3), 0.7),
        "serving": None,
        "source_candidate": SourceFigures(0.905, 0.9),
        "source_base": SourceFigures(0.91, 0.9),
        "source_teacher": SourceFigures(0.91, 0.9),
    }
    return Contest(**{**fields, **changes})  # type: ignore[arg-type]


def refused(evidence: tuple[Evidence, ...]) -> list[str]:
    return [entry.check for entry in evidence if not entry.passed]


def test_a_better_candidate_passes(bundle: Bundle) -> None:
    evidence = gate.judge(contest(bundle), SETTINGS)
    assert refused(evidence) == []
    gain = next(entry for entry in evidence if entry.check == "agreement-gain")
    assert 0.1 < gain.value < 0.2  # 20 points of 0.95 - 0.0056, less one standard error


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("source-holdout", {"source_candidate": SourceFigures(0.899, 0.9)}),
        ("teacher-better", {"labels": says(TRUTH, 0.5)}),
        ("agreement-gain", {"candidate": says(wrong_on(0.3))}),
        ("agreement-gain", {"candidate": says(barely_better())}),
        ("agreement-serving", {"serving": says(wrong_on(0.0))}),
        ("class-spread", {"candidate": says(torch.where(TRUTH < 6, TRUTH, 5))}),
    ],
)
def test_each_check_refuses(bundle: Bundle, check: str, changes: dict[str, object]) -> None:
    assert check in refused(gate.judge(contest(bundle, **changes), SETTINGS))


def test_weights_decide_which_samples_count(bundle: Bundle) -> None:
    """The candidate gains on a fifth of the samples; weighted to nothing, the gain is gone."""
    weights = torch.where(torch.arange(COUNT) < COUNT * 0.3, 0.0, 1.0)
    evidence = gate.judge(contest(bundle, weights=weights / weights.sum()), SETTINGS)
    assert "agreement-gain" in refused(evidence)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9])
def test_values_that_no_device_would_take(bundle: Bundle, value: float) -> None:
    values = bundle.base_slots()
    values["norm1.weight"] = np.full_like(values["norm1.weight"], value)
    evidence = gate.judge(contest(bundle, values=values), SETTINGS)
    assert [entry.check for entry in evidence] == ["within-bounds"]
    assert "norm1.weight" in evidence[0].detail


def test_unknown_slots_and_no_values_are_refused(bundle: Bundle) -> None:
    for values in ({}, {"other": np.zeros(3, dtype=np.float32)}):
        assert (
            refused(gate.judge(contest(bundle, values=values), SETTINGS)) == ["within-bounds"] or not values
        )
    assert "within-bounds" in refused(gate.judge(contest(bundle, values={}), SETTINGS))


def stuff(**changes: object) -> Material:
    fields: dict[str, object] = {
        "count": COUNT,
        "unseen": 60,
        "labels": says(TRUTH),
        "mean": np.zeros(20, dtype=np.float32),
        "var": np.ones(20, dtype=np.float32),
    }
    return Material(**{**fields, **changes})  # type: ignore[arg-type]


def test_good_material_passes() -> None:
    assert refused(gate.material(stuff(), SETTINGS)) == []


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("samples", {"count": 10}),
        ("unseen-samples", {"unseen": 3}),
        ("device-statistics", {"mean": np.full(20, np.nan, dtype=np.float32)}),
        ("device-statistics", {"var": np.zeros(20, dtype=np.float32)}),
        ("teacher-finite", {"labels": torch.full((COUNT, 10), torch.nan)}),
        ("teacher-class-share", {"labels": says(torch.full((COUNT,), 4))}),
    ],
)
def test_bad_material_is_refused(check: str, changes: dict[str, object]) -> None:
    assert check in refused(gate.material(stuff(**changes), SETTINGS))


def test_more_standard_errors_ask_for_more(bundle: Bundle) -> None:
    strict = msgspec.structs.replace(SETTINGS, confidence_z=50.0)
    assert "agreement-gain" in refused(gate.judge(contest(bundle), strict))


def test_estimated_accuracy_falls_with_confidence() -> None:
    assert gate.estimated_accuracy(0.7, SourceFigures(0.9, 0.95)) == pytest.approx(0.65)
