"""The loop: seeded, resumable, blind to the holdout, and it learns."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from edgeadapt.errors import ConfigError
from edgeadapt_models.train import checkpoint, loop
from edgeadapt_models.train.evaluate import accuracy
from edgeadapt_models.train.recipe import Recipe
from edgeadapt_models.train.split import split
from tests.models.train import tiny

AVERAGED = msgspec.structs.replace(
    tiny.RECIPE, ema_decay=0.9, strong_augmentations=("augmix", "plane-wave"), clip_norm=1.0
)


def state_after(recipe: Recipe, steps: int) -> dict[str, Tensor]:
    run = loop.Run(recipe, tiny.dataset(), holdout=tiny.HOLDOUT)
    run.train_epoch(lambda progress: None, limit=steps)
    return run.result().network.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_three_steps_are_determined_by_the_seed() -> None:
    first = state_after(AVERAGED, 3)
    assert same(first, state_after(AVERAGED, 3))
    assert not same(first, state_after(msgspec.structs.replace(AVERAGED, seed=4), 3))


@pytest.mark.parametrize("recipe", [tiny.RECIPE, AVERAGED], ids=["plain", "averaged"])
def test_a_resumed_run_equals_an_uninterrupted_one(recipe: Recipe, tmp_path: Path) -> None:
    dataset = tiny.dataset()
    whole = loop.train(recipe, dataset, tmp_path / "whole", holdout=tiny.HOLDOUT)

    class Stopped(Exception):
        pass

    def stop_in_second_epoch(progress: loop.Progress) -> None:
        if progress.epoch == 1 and progress.step == 2:
            raise Stopped

    with pytest.raises(Stopped):
        loop.train(recipe, dataset, tmp_path / "cut", stop_in_second_epoch, holdout=tiny.HOLDOUT)
    assert [path.name for path in (tmp_path / "cut").iterdir()] == [checkpoint.FILE]
    resumed = loop.train(recipe, dataset, tmp_path / "cut", holdout=tiny.HOLDOUT)
    assert same(whole.network.state_dict(), resumed.network.state_dict())


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = loop.train(tiny.RECIPE, tiny.dataset(), tmp_path, holdout=tiny.HOLDOUT)
    steps: list[loop.Progress] = []
    again = loop.train(tiny.RECIPE, tiny.dataset(), tmp_path, steps.append, holdout=tiny.HOLDOUT)
    assert steps == []
    assert again.trained_s == first.trained_s
    assert same(first.network.state_dict(), again.network.state_dict())


def test_it_learns(tmp_path: Path) -> None:
    recipe = msgspec.structs.replace(tiny.RECIPE, epochs=8, augmentations=(), precision="fp32")
    dataset = tiny.dataset()
    trained = loop.train(recipe, dataset, tmp_path, holdout=tiny.HOLDOUT)
    assert not trained.network.training
    assert accuracy(trained.network, dataset.test_images, dataset.test_labels) > 0.9


def test_progress_counts_every_step(tmp_path: Path) -> None:
    seen: list[loop.Progress] = []
    loop.train(tiny.RECIPE, tiny.dataset(), tmp_path, seen.append, holdout=tiny.HOLDOUT)
    assert [(p.epoch, p.step) for p in seen] == [(epoch, step) for epoch in range(2) for step in range(1, 7)]
    assert all(p.steps == 6 and p.loss > 0 and p.images_per_s > 0 for p in seen)


def test_the_holdout_is_not_read() -> None:
    dataset = tiny.dataset()
    dataset.train_images[-tiny.HOLDOUT :] = 255
    run = loop.Run(tiny.RECIPE, dataset, holdout=tiny.HOLDOUT)
    assert len(run.images) == len(dataset.train_labels) - tiny.HOLDOUT
    assert run.images.max() < 255


def test_split_keeps_order_and_needs_something_to_learn_from() -> None:
    dataset = tiny.dataset()
    parts = split(dataset, holdout=tiny.HOLDOUT)
    assert np.array_equal(np.concatenate([parts.fit.labels, parts.holdout.labels]), dataset.train_labels)
    with pytest.raises(ConfigError, match="232"):
        split(dataset)


def test_the_input_carries_the_moments_of_the_fit_split() -> None:
    dataset = tiny.dataset()
    spec = loop.input_spec(dataset, split(dataset, holdout=tiny.HOLDOUT).fit)
    assert (spec.channels, spec.height, spec.width, spec.classes) == (1, 12, 12, 3)
    assert spec.mean[0] == pytest.approx(dataset.train_images[: -tiny.HOLDOUT].mean() / 255, abs=1e-5)
    assert spec.std[0] == pytest.approx(dataset.train_images[: -tiny.HOLDOUT].std() / 255, abs=1e-5)


@pytest.mark.parametrize("schedule", ["onecycle", "cosine"])
def test_the_learning_rate_rises_then_falls_to_nothing(schedule: str) -> None:
    recipe = msgspec.convert({**msgspec.to_builtins(tiny.RECIPE), "schedule": schedule}, Recipe)
    rates = [loop.learning_rate(recipe, step, 100) for step in range(100)]
    peak = rates.index(max(rates))
    assert peak == 25
    assert rates[peak] == pytest.approx(recipe.learning_rate)
    assert rates[:26] == sorted(rates[:26])
    assert rates[25:] == sorted(rates[25:], reverse=True)
    assert rates[-1] < 0.02 * recipe.learning_rate


def test_norm_parameters_and_biases_are_not_decayed() -> None:
    run = loop.Run(tiny.RECIPE, tiny.dataset(), holdout=tiny.HOLDOUT)
    decayed, plain = run.optimizer.param_groups
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert all(parameter.ndim == 1 for parameter in plain["params"])
    assert (decayed["weight_decay"], plain["weight_decay"]) == (5e-4, 0.0)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    loop.train(tiny.RECIPE, tiny.dataset(), tmp_path, holdout=tiny.HOLDOUT)
    other = msgspec.structs.replace(tiny.RECIPE, learning_rate=0.06)
    with pytest.raises(ConfigError, match="another recipe"):
        loop.train(other, tiny.dataset(), tmp_path, holdout=tiny.HOLDOUT)


@pytest.mark.parametrize("damage", ["cut", "foreign", "empty"])
def test_a_damaged_checkpoint_is_a_typed_error(damage: str, tmp_path: Path) -> None:
    loop.train(tiny.RECIPE, tiny.dataset(), tmp_path, holdout=tiny.HOLDOUT)
    path = tmp_path / checkpoint.FILE
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "foreign": b"hello" * 99, "empty": b""}[damage])
    with pytest.raises(ConfigError, match="checkpoint"):
        loop.train(tiny.RECIPE, tiny.dataset(), tmp_path, holdout=tiny.HOLDOUT)
