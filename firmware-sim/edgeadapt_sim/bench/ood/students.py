"""Networks that have never seen some classes: trained here by the zoo's own recipes, and kept in a cache.

Invariants: a network is kept under everything its training depends on, and taken up again where it was
stopped; the classes that are left out take turns with the seed, so that no pair is picked for its figures and
five seeds leave out every class once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
import torch

from edgeadapt_models.data import Dataset, load
from edgeadapt_models.data.known import without
from edgeadapt_models.train import loop, recipes
from edgeadapt_models.train.publish import publish
from edgeadapt_models.train.recipe import Recipe
from edgeadapt_models.zoo import Classifier, load_pretrained, pretrained_names

NETWORKS = ("resnet8", "resnet8-abet")
_MEASURED = 200  # images of each domain for the card, which nobody reads here


@dataclass(frozen=True, slots=True)
class Student:
    """A network and what it knows.

    Attributes:
        recipe: how it was trained.
        network: in eval mode.
        known: the data set that it knows, labels renumbered.
        whole: the data set with all its classes.
        held_out: [2] numbers of the classes in `whole` that it has never seen.
    """

    recipe: Recipe
    network: Classifier
    known: Dataset
    whole: Dataset
    held_out: tuple[int, ...]


def held_out(dataset: Dataset, seed: int) -> tuple[int, ...]:
    """Which two of ten classes are left out: seed and seed + 5, over and over."""
    half = len(dataset.classes) // 2
    return seed % half, seed % half + half


def recipe_for(network: str, dataset: Dataset, seed: int, epochs: int) -> Recipe:
    """The zoo's recipe for this network without this seed's classes.

    Raises:
        ConfigError: there is no such recipe.
    """
    names = [dataset.classes[number] for number in held_out(dataset, seed)]
    base = recipes.get(f"{dataset.name}/{network}")
    return recipes.holding_out(base, names, seed=seed, epochs=epochs)


def student(
    network: str, dataset_name: str, seed: int, epochs: int, cache: Path, report: Callable[[str], None]
) -> Student:
    """Train a network, or find it in `cache`.

    Args:
        network: the second half of a recipe's name.
        dataset_name: as `edgeadapt_models.data.load` takes it.
        seed: of the training, and which classes are left out.
        epochs: of the training.
        cache: folder.
        report: told about every epoch.

    Raises:
        ConfigError: unknown names, or the data are not here.
    """
    whole = load(dataset_name)
    recipe = recipe_for(network, whole, seed, epochs)
    known = without(whole, recipe.held_out)
    folder = cache / _key(recipe)
    if recipe.name not in (pretrained_names(folder) if folder.is_dir() else ()):
        _train(recipe, known, folder, report)
    return Student(recipe, load_pretrained(recipe.name, folder), known, whole, held_out(whole, seed))


def _train(recipe: Recipe, known: Dataset, folder: Path, report: Callable[[str], None]) -> None:
    def observe(progress: loop.Progress) -> None:
        if progress.step == progress.steps:
            where = f"epoch {progress.epoch + 1} of {progress.epochs}"
            report(f"{recipe.name}: {where}, loss {progress.loss:.3f}")

    folder.mkdir(parents=True, exist_ok=True)
    publish(recipe, loop.train(recipe, known, folder, observe), known, folder, limit=_MEASURED)


def _key(recipe: Recipe) -> str:
    digest = sha256(msgspec.json.encode(recipe) + str(torch.__version__).encode()).hexdigest()
    return f"{recipe.network}-seed{recipe.seed}-{digest[:12]}"
