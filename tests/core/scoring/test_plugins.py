"""Scorers of other packages: real distributions on the path, found by their entry points."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeadapt.errors import ConfigError
from edgeadapt.scoring import Outputs, scorer_kind, scorer_names

_CODE = """
import numpy as np
class Loudness:
    name = "loudness"
    needs = frozenset({"logits"})
    semantic = False
    def fit(self, source): return self
    def load(self, tensors): return self
    def tensors(self): return {}
    def score(self, outputs): return np.abs(outputs.logits).max(axis=1)
LOUDNESS = Loudness()
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a distribution with one entry point on the path."""

    def put(package: str, point: str, code: str = _CODE) -> None:
        folder = tmp_path / package
        info = folder / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{package}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[edgeadapt.scorers]\n{point}\n")
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, package, raising=False)

    return put


def test_another_packages_scorer_is_found_and_loaded_when_asked_for(install: Install) -> None:
    install("loud_scores", "loudness = loud_scores:LOUDNESS")
    assert "loudness" in scorer_names()
    assert "loud_scores" not in sys.modules
    scores = scorer_kind("loudness").load({}).score(Outputs(np.array([[1.0, -3.0]], np.float32)))
    assert scores.tolist() == [3.0]
    assert scorer_kind("energy").name == "energy"


@pytest.mark.parametrize(
    ("point", "code", "message"),
    [
        (
            "loudness = bad_scores:LOUDNESS",
            "import nothing_of_the_kind",
            "cannot be loaded: ModuleNotFoundError",
        ),
        ("loudness = bad_scores:LOUDNESS", "raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("loudness = bad_scores:OTHER", _CODE, "cannot be loaded: AttributeError"),
        ("loudness = bad_scores:np", _CODE, "has no name, needs"),
        ("loudness = bad_scores:Loudness", _CODE, "expected an instance"),
        ("whisper = bad_scores:LOUDNESS", _CODE, "of that name"),
    ],
)
def test_a_broken_one_is_an_error_that_names_its_package(
    install: Install, point: str, code: str, message: str
) -> None:
    install("bad_scores", point, code)
    with pytest.raises(ConfigError, match=rf"package 'bad_scores' .*{message}"):
        scorer_kind(point.split(" = ")[0])


def test_no_package_takes_a_name_that_is_taken(install: Install) -> None:
    install("thief_scores", "energy = thief_scores:LOUDNESS")
    with pytest.raises(ConfigError, match="'energy' comes from several packages, edgeadapt, thief_scores"):
        scorer_kind("energy")
    install("one_scores", "loudness = one_scores:LOUDNESS")
    install("two_scores", "loudness = two_scores:LOUDNESS")
    with pytest.raises(ConfigError, match="several packages, one_scores, two_scores"):
        scorer_kind("loudness")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown scorer 'enregy'; known: abet, energy, .*vim"):
        scorer_kind("enregy")
