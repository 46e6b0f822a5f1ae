"""The study of unknown classes: a real network in one domain, and what its figures are made of."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from rich.console import Console

from edgeadapt.errors import ConfigError
from edgeadapt.scoring import scorer_names
from edgeadapt_models.data import load
from edgeadapt_models.data.known import without
from edgeadapt_models.data.registry import listings
from edgeadapt_models.train import recipes
from edgeadapt_models.zoo import load_pretrained
from edgeadapt_sim.bench.ood import metrics, study
from edgeadapt_sim.bench.ood.output import show, write
from edgeadapt_sim.bench.ood.pictures import far_sets, in_shape
from edgeadapt_sim.bench.ood.plan import CLEAN, QUICK, OodPlan, Study
from edgeadapt_sim.bench.ood.students import NETWORKS, Student, held_out, recipe_for
from edgeadapt_sim.bench.ood.summary import summarise

PLAN = replace(
    QUICK,
    corruptions=("contrast",),
    known=200,
    unknown=100,
    settling=96,
    uploads=128,
    fitting=600,
    steps=6,
    windows=40,
    timing_s=0.001,
)


def stand_in(network: str, dataset_name: str, seed: int, epochs: int, cache: Path, report: object) -> Student:
    """The zoo's network with the rows of two classes cut from its head: real, without a training.

    It has seen the classes that it cannot name, so it is no judge of scorers; all else is as in the study.
    """
    whole = load(dataset_name)
    pair = held_out(whole, seed)
    recipe = recipe_for(network, whole, seed, epochs)
    trained = load_pretrained(f"{dataset_name}/{network}")
    stays = [number for number in range(10) if number not in pair]
    trained.head.weight.data = trained.head.weight.data[stays].clone()
    trained.head.bias.data = trained.head.bias.data[stays].clone()
    return Student(recipe, trained, without(whole, recipe.held_out), whole, pair)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, list[str], Path]:
    """One study, what it said, and its cache."""
    said: list[str] = []
    cache = tmp_path_factory.mktemp("ood")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "student", stand_in)
        result = study.run_study(PLAN, cache, lambda _: None, said.append)
        before = {path: path.stat().st_mtime_ns for path in (cache / "seen").iterdir()}
        again = study.run_study(PLAN, cache, lambda _: None, lambda _: None)
    assert before == {path: path.stat().st_mtime_ns for path in (cache / "seen").iterdir()}
    assert again.rows == result.rows
    assert again.spectra == result.spectra
    return result, said, cache


def test_every_scorer_is_measured_in_every_state(found: tuple[Study, list[str], Path]) -> None:
    rows = found[0].rows
    assert found[1] == ["seed 0, resnet8, clean", "seed 0, resnet8, contrast 5"]
    scorers = set(scorer_names()) - {"abet"}
    for domain, states in ((CLEAN, {"base", "own"}), ("contrast", {"base", "own", "patched"})):
        mine = [row for row in rows if row.domain == domain]
        assert {row.scorer for row in mine if row.state == "base"} == scorers
        assert {row.state for row in mine if row.scorer == "energy"} == states
        assert {row.state for row in mine if row.scorer == "style"} == {"base"}
    for row in rows:
        shares = [row.near, row.far, row.fpr95_near, row.fpr95_far, row.shift, row.window, row.misrouted]
        assert all(0 <= share <= 1 for share in shares)
        assert [at.knots for at in row.at] == ["base", "source", "known", "uploads"]


def test_figures_are_what_they_should_be(found: tuple[Study, list[str], Path]) -> None:
    rows = {(row.domain, row.state, row.scorer): row for row in found[0].rows}
    home, away = rows[CLEAN, "base", "energy"], rows["contrast", "base", "energy"]
    patched = rows["contrast", "patched", "energy"]
    assert home.accuracy > 0.85
    assert away.accuracy < patched.accuracy - 0.1
    assert home.far > 0.7
    assert home.at[0].known < 0.12
    assert patched.at[2].known < patched.at[0].known, "knots of the domain hold where the base's do not"
    style = {row.domain: row.window for row in found[0].style}
    assert style["contrast"] == 1.0
    assert style[CLEAN] < 0.6


def test_references_agree(found: tuple[Study, list[str], Path]) -> None:
    compared = {cost.scorer: cost.difference for cost in found[0].costs if cost.difference is not None}
    assert {"energy", "gen", "entropy", "max-softmax", "fdbd", "vim", "rmds", "rmds-normalised"} == set(
        compared
    )
    assert max(compared.values()) < 1e-6
    assert all(min(cost.single_s, cost.batch_s) > 0 for cost in found[0].costs)


def test_what_is_left(found: tuple[Study, list[str], Path], tmp_path: Path) -> None:
    summary = summarise(found[0])
    write(summary, PLAN, 12.5, tmp_path / "out")
    document = json.loads((tmp_path / "out" / "ood.json").read_text())
    assert document["arguments"]["uploads"] == 128
    assert len(document["claims"]) == 5
    assert any(line["name"] == "energy" for line in document["summary"]["lines"])
    assert all("+" in line["name"] for line in document["summary"]["combinations"])
    assert (tmp_path / "out" / "ood.png").stat().st_size > 10_000
    text = io.StringIO()
    show(summary, Console(file=text, width=150))
    for words in ("full spectrum", "flagged at nominal", "prototype-mixture", "contrast 5", "holds: "):
        assert words in text.getvalue()


def test_seeds_are_averaged(found: tuple[Study, list[str], Path]) -> None:
    first = found[0]
    second = [replace(row, seed=1, near=row.near / 2, at=row.at[::1]) for row in first.rows]
    lines = [replace(line, seed=1, auroc=line.auroc - 0.1) for line in first.spectra]
    summary = summarise(replace(first, rows=(*first.rows, *second), spectra=(*first.spectra, *lines)))
    assert len(summary.rows) == len(first.rows)
    assert summary.rows[0].near == pytest.approx(first.rows[0].near * 0.75, abs=1e-4)
    assert summary.lines[0].auroc == pytest.approx(first.spectra[0].auroc - 0.05, abs=1e-4)
    assert summary.lines[0].spread == pytest.approx(0.1 / np.sqrt(2), abs=1e-4)


def test_areas_and_rates_of_known_values() -> None:
    known, unknown = np.array([3, 4, 5, 6], np.float32), np.array([1, 2, 3, 7], np.float32)
    assert metrics.auroc(known, unknown) == pytest.approx((2 * 4 + 3.5 + 0) / 16)
    many = np.arange(100, dtype=np.float32)
    assert metrics.fpr95(many, np.array([0, 4, 10, 200], np.float32)) == 0.5
    assert metrics.below(np.array([0.01, 0.05, 0.06], np.float32)) == pytest.approx(2 / 3)
    drawn = metrics.windows(100, 7, 0)
    assert drawn.shape == (7, 64)
    assert all(len(set(row)) == 64 for row in drawn.tolist())
    assert metrics.window_rate(many - 50, many, drawn) == 1.0
    assert metrics.window_rate(many + 50, many, drawn) == 0.0


def test_style_moves_by_the_standard_error_of_a_window() -> None:
    rng = np.random.default_rng(0)
    style = rng.normal(2.0, 3.0, (200, 64, 10)).astype(np.float32)
    mean, std = np.full(10, 2.0, np.float32), np.full(10, 3.0, np.float32)
    assert metrics.style_statistic(style, mean, std).mean() == pytest.approx(1.0, abs=0.1)
    moved = metrics.style_statistic(style + 3.0, mean, std)
    assert moved.mean() == pytest.approx(65.0, rel=0.1)


def test_far_pictures_are_in_the_shape_asked_for_and_differ() -> None:
    there = {listing.name for listing in listings() if listing.folder is not None}
    for dataset, other, shape in (
        ("fashion-mnist", "cifar10", (28, 28, 1)),
        ("cifar10", "fashion-mnist", (32, 32, 3)),
    ):
        sets = far_sets(dataset, shape, 90, 0)
        assert set(sets) == {"textures", "noise"} | ({other} & there)
        for images in sets.values():
            assert images.shape == (len(images), *shape)
            assert images.dtype == np.uint8
            assert len({image.tobytes() for image in images}) == len(images)
    grey = in_shape(np.full((2, 32, 32, 3), 9, np.uint8), (28, 28, 1))
    assert grey.shape == (2, 28, 28, 1)
    framed = in_shape(np.full((1, 28, 28, 1), 9, np.uint8), (32, 32, 3))
    assert framed[0, :, :, 0].sum() == 28 * 28 * 9


def test_five_seeds_hold_out_every_class_once() -> None:
    dataset = load("fashion-mnist")
    assert sorted(number for seed in range(5) for number in held_out(dataset, seed)) == list(range(10))
    for network in NETWORKS:
        recipe = recipe_for(network, dataset, 1, 3)
        assert recipe.held_out == ("Shirt", "Trouser")
        assert recipe.network == recipes.get(f"fashion-mnist/{network}").network


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="more than 96 uploads"):
        OodPlan(uploads=96)
    with pytest.raises(ConfigError, match=r"foreign frames must be 0 to 0\.5"):
        OodPlan(foreign=0.6)
