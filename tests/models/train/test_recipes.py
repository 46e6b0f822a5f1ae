"""Recipes: names, ranges, and what they may refer to."""

from __future__ import annotations

import msgspec
import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_models.data.corruptions import CORRUPTIONS
from edgeadapt_models.train import recipes
from edgeadapt_models.train.augment import AUGMENTATIONS
from edgeadapt_models.train.material import material
from edgeadapt_models.train.recipe import Recipe
from edgeadapt_models.zoo import network_names


def test_the_promised_recipes_are_there() -> None:
    expected = {f"fashion-mnist/{model}" for model in ("resnet8", "resnet20", "vit-small", "teacher")}
    assert expected | {"cifar10/resnet8", "cifar10/resnet20", "cifar10/teacher"} <= set(recipes.names())


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_refers_to_things_that_exist(name: str) -> None:
    recipe = recipes.get(name)
    assert recipe.name == name
    assert recipe.network in network_names()
    assert {*recipe.augmentations, *recipe.strong_augmentations} <= set(AUGMENTATIONS.names())


def test_no_augmentation_is_a_test_corruption() -> None:
    assert {name.replace("-", "_") for name in AUGMENTATIONS.names()}.isdisjoint(CORRUPTIONS)


def test_an_unknown_recipe_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"nosuch.*fashion-mnist/resnet8"):
        recipes.get("nosuch")


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ConfigError, match="twice"):
        recipes.add(recipes.get("fashion-mnist/resnet8"))


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch": 1},
        {"learning_rate": 0.0},
        {"warmup": 1.0},
        {"ema_decay": 1.0},
        {"strong_share": 1.5},
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, float]) -> None:
    plain = msgspec.to_builtins(recipes.get("fashion-mnist/resnet8"))
    with pytest.raises(ConfigError, match="fashion-mnist/resnet8"):
        Recipe(**{**plain, **change})


def test_a_recipe_may_hold_classes_out() -> None:
    plain = recipes.get("fashion-mnist/resnet8")
    recipe = recipes.holding_out(plain, ("T-shirt/top", "Bag"), seed=3, epochs=2)
    assert recipe.name == "fashion-mnist/resnet8-without-bag-t-shirt-top"
    assert (recipe.held_out, recipe.seed, recipe.epochs) == (("Bag", "T-shirt/top"), 3, 2)
    assert recipe.network == plain.network
    known = material(recipe)
    assert known.classes == tuple(name for name in material(plain).classes if name not in recipe.held_out)
    assert len(known.train_labels) == 48_000
