"""The study of 8 bits: a small piece of it, and what is claimed of its rows."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from edgeadapt.errors import ConfigError
from edgeadapt_sim.bench.int8.output import claims, show, write
from edgeadapt_sim.bench.int8.study import Accuracies, Int8Plan, Row, measure, pieces

PLAN = Int8Plan(("fashion-mnist/resnet8",), ("contrast",), frames=200, settling=64, uploads=160, steps=4)


def row(domain: str, lost: float = 0.0, signature: float = 0.01, *, patched: bool = True) -> Row:
    pair = Accuracies(0.8, 0.8 - lost)
    same = Accuracies(0.9, 0.9)
    return Row("a/b", domain, same, same, pair if patched else None, signature, 0.02, 0.03, 1)


def test_a_piece_measures_both_models_of_one_bundle() -> None:
    found = measure(PLAN, "fashion-mnist/resnet8", "contrast")
    assert found.patched is not None
    for pair in (found.frozen, found.own, found.patched):
        assert 0.1 <= pair.float32 <= 1.0
        assert abs(pair.lost) < 0.05
    assert found.patched.float32 > found.frozen.float32 + 0.1
    assert 0 < found.signature < 0.1
    assert 0 < found.mean < 0.3
    assert 0 < found.deviation < 0.5


def test_every_network_meets_every_domain_and_clean_frames() -> None:
    assert pieces(PLAN) == [("fashion-mnist/resnet8", "clean"), ("fashion-mnist/resnet8", "contrast")]


def test_claims_are_about_the_worst_row() -> None:
    good = claims([row("clean", patched=False), row("fog", 0.009), row("snow", -0.02)])
    assert [claim.holds for claim in good] == [True] * 4
    bad = claims([row("fog", 0.011, signature=0.3), row("snow", -0.02)])
    assert [claim.holds for claim in bad] == [True, True, False, False]
    assert "+1.10 at most (a/b, fog)" in bad[2].figures
    assert len(claims([row("clean", patched=False)])) == 3


def test_what_is_left(tmp_path: Path) -> None:
    rows = (row("clean", patched=False), row("fog", 0.02))
    write(rows, PLAN, 12.5, tmp_path / "out")
    document = json.loads((tmp_path / "out" / "int8.json").read_text())
    assert document["rows"][1]["patched"] == {"float32": 0.8, "int8": 0.78}
    assert document["arguments"]["uploads"] == 160
    assert (tmp_path / "out" / "int8.png").stat().st_size > 10_000
    text = io.StringIO()
    show(rows, Console(file=text, width=80))
    assert "80.0 78.0" in text.getvalue()
    assert "MISSED: patched: int8 is within 1 point" in text.getvalue()


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="more than 96 uploads"):
        Int8Plan(uploads=96)
    with pytest.raises(ConfigError, match="has only 10000 test images"):
        measure(replace(PLAN, frames=9_990), "fashion-mnist/resnet8", "clean")
