"""The recipes by name. Invariants: a name is taken once; an unknown name is answered with the known ones.

Students get only the standard flip and shift: they are meant to be as fragile as fielded models are.
The teachers get broad augmentation (`augment`), none of it one of the fifteen test corruptions.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgeadapt.registry import Registry
from edgeadapt_models.train.recipe import Recipe

_RECIPES: Registry[Recipe] = Registry("recipe")


ROBUST = (
    "augmix", "amplitude-swap", "random-convolution", "fractal-shade", "picture-mix", "plane-wave", "cutout",
)  # fmt: skip
"""What the teachers see on most of every batch."""


def add(recipe: Recipe) -> None:
    """Make a recipe known under its own name.

    Raises:
        ConfigError: the name is taken.
    """
    _RECIPES.add(recipe.name, recipe)


def get(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    return _RECIPES.get(name)


def names() -> tuple[str, ...]:
    """All names, sorted."""
    return _RECIPES.names()


def holding_out(
    recipe: Recipe, classes: Sequence[str], *, seed: int = 0, epochs: int | None = None
) -> Recipe:
    """The recipe without some classes, under a name of its own ("fashion-mnist/resnet8-without-bag-dress").

    Args:
        recipe: which one.
        classes: names of the classes that are left out.
        seed: of the run.
        epochs: instead of the recipe's.
    """
    words = ("".join(c if c.isalnum() else "-" for c in name.lower()) for name in sorted(classes))
    return msgspec.structs.replace(
        recipe,
        name=f"{recipe.name}-without-{'-'.join(words)}",
        held_out=tuple(sorted(classes)),
        seed=seed,
        epochs=epochs or recipe.epochs,
    )


add(
    Recipe(
        name="fashion-mnist/resnet8",
        dataset="fashion-mnist",
        network="resnet8",
        epochs=14,
        batch=128,
        learning_rate=0.2,
    )
)
add(
    Recipe(
        name="fashion-mnist/resnet8-abet",
        dataset="fashion-mnist",
        network="resnet8_abet",
        epochs=14,
        batch=128,
        learning_rate=0.2,
    )
)
add(
    Recipe(
        name="fashion-mnist/resnet20",
        dataset="fashion-mnist",
        network="resnet20",
        epochs=14,
        batch=128,
        learning_rate=0.2,
    )
)
add(
    Recipe(
        name="fashion-mnist/teacher",
        dataset="fashion-mnist",
        network="wide_resnet",
        epochs=18,
        batch=128,
        learning_rate=0.1,
        ema_decay=0.998,
        strong_augmentations=ROBUST,
    )
)
add(
    Recipe(
        name="fashion-mnist/vit-small",
        dataset="fashion-mnist",
        network="vit_small",
        epochs=12,
        batch=128,
        learning_rate=1e-3,
        optimizer="adamw",
        schedule="cosine",
        warmup=0.15,
        weight_decay=0.05,
        clip_norm=1.0,
        ema_decay=0.998,
    )
)
add(
    Recipe(
        name="cifar10/resnet8",
        dataset="cifar10",
        network="resnet8",
        epochs=18,
        batch=128,
        learning_rate=0.2,
        augmentations=("flip", "shift-4"),
    )
)
add(
    Recipe(
        name="cifar10/resnet8-abet",
        dataset="cifar10",
        network="resnet8_abet",
        epochs=18,
        batch=128,
        learning_rate=0.2,
        augmentations=("flip", "shift-4"),
    )
)
add(
    Recipe(
        name="cifar10/resnet20",
        dataset="cifar10",
        network="resnet20",
        epochs=16,
        batch=128,
        learning_rate=0.2,
        augmentations=("flip", "shift-4"),
    )
)
add(
    Recipe(
        name="cifar10/teacher",
        dataset="cifar10",
        network="wide_resnet",
        epochs=12,
        batch=128,
        learning_rate=0.1,
        ema_decay=0.998,
        augmentations=("flip", "shift-4"),
        strong_augmentations=ROBUST,
    )
)
