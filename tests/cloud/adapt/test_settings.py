"""Settings from plain tables."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_cloud.adapt import make_settings
from edgeadapt_cloud.adapt.settings import AnchoredSettings, CemaSettings, GateSettings


def test_options_reach_their_strategy() -> None:
    settings = make_settings(student="s", teacher="t", options={"steps": 7}, gate={"min_samples": 50})
    assert (settings.student, settings.teacher) == ("s", "t")
    assert (settings.anchored.steps, settings.gate.min_samples) == (7, 50)
    settings = make_settings(student="s", teacher="t", strategy="cema", options={"new_batch": 8})
    assert settings.cema.new_batch == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"options": {"stepz": 3}}, r"strategy\.options\.stepz: unknown key; known: steps, learning_rate"),
        ({"options": {"steps": "many"}}, r"strategy\.options\.steps: expected int, got 'many'"),
        ({"options": {"steps": -1}}, r"strategy\.options\.steps: expected int >= 1, got -1"),
        ({"options": {"batch": 0}}, r"strategy\.options\.batch: expected int >= 2, got 0"),
        ({"gate": {"bound": 1}}, r"gate\.options\.bound: unknown key; known: min_samples"),
        ({"gate": {"confidence_z": -50}}, r"gate\.options\.confidence_z: expected float >= 0\.0, got -50"),
        ({"gate": {"max_source_loss": 9}}, r"gate\.options\.max_source_loss: expected float <= 1\.0, got 9"),
        ({"gate": {"unseen_share_adapt": 1.5}}, r"gate\.options\.unseen_share_adapt: .* <= 0\.8, got 1\.5"),
        ({"strategy": "mine", "options": {"x": 1}}, "mine"),
    ],
)
def test_mistakes_name_their_key(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_settings(student="s", teacher="t", **arguments)


NUMBERS = [
    (strategy, name)
    for strategy, kind in (("anchored", AnchoredSettings), ("cema", CemaSettings), ("", GateSettings))
    for name, value in msgspec.structs.asdict(kind()).items()
    if isinstance(value, float)
]


@pytest.mark.parametrize(("strategy", "name"), NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_every_number_must_be_finite(strategy: str, name: str, value: float) -> None:
    section, table = ("strategy", "options") if strategy else ("gate", "gate")
    with pytest.raises(ConfigError, match=rf"{section}\.options\.{name}: expected .*, got -?(nan|inf)"):
        make_settings(student="s", teacher="t", strategy=strategy or "anchored", **{table: {name: value}})


@pytest.mark.parametrize("kind", [AnchoredSettings, CemaSettings, GateSettings])
def test_the_defaults_are_in_range(kind: type[msgspec.Struct]) -> None:
    assert msgspec.convert(msgspec.to_builtins(kind()), kind) == kind()
