"""Settings from plain tables."""

from __future__ import annotations

from typing import Any

import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_cloud.adapt import make_settings


def test_options_reach_their_strategy() -> None:
    settings = make_settings(student="s", teacher="t", options={"steps": 7}, gate={"min_samples": 5})
    assert (settings.student, settings.teacher) == ("s", "t")
    assert (settings.anchored.steps, settings.gate.min_samples) == (7, 5)
    settings = make_settings(student="s", teacher="t", strategy="cema", options={"new_batch": 8})
    assert settings.cema.new_batch == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"options": {"stepz": 3}}, r"strategy\.options.*stepz"),
        ({"options": {"steps": "many"}}, r"strategy\.options.*steps"),
        ({"gate": {"bound": 1}}, r"gate\.options.*bound"),
        ({"strategy": "mine", "options": {"x": 1}}, "mine"),
    ],
)
def test_mistakes_name_their_key(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_settings(student="s", teacher="t", **arguments)
