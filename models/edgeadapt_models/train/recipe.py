"""What one training run is: a frozen value that is stored in the card of the weights it produced.

Running a recipe is not here (`loop`), nor are the recipes themselves (`recipes`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgeadapt.errors import ConfigError

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["onecycle", "cosine"]
Precision = Literal["bf16", "fp32"]


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One reproducible training run.

    Raises:
        ConfigError: a value is outside its range.
    """

    # Where its weights go and how it is called: "<dataset>/<model>".
    name: str
    dataset: str
    # Names of classes that are left out of it: what a model trained so has never seen.
    held_out: tuple[str, ...] = ()
    # Name in the zoo.
    network: str
    epochs: int
    batch: int
    # Highest learning rate of the schedule.
    learning_rate: float
    optimizer: Optimizer = "sgd"
    schedule: Schedule = "onecycle"
    # Share of all steps in which the learning rate rises.
    warmup: float = 0.25
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    # Decay per step of the averaged weights that are kept in the end; 0 keeps the last ones.
    ema_decay: float = 0.0
    # Gradients are scaled down to this norm; 0 leaves them.
    clip_norm: float = 0.0
    # Names in `augment`, applied in this order to every batch.
    augmentations: tuple[str, ...] = ("flip", "shift")
    # Names in `augment`, applied in this order, after those above, to the first `strong_share` of a batch.
    strong_augmentations: tuple[str, ...] = ()
    strong_share: float = 0.8
    # Arithmetic of convolutions and matrix products while training; weights and measurements are float32.
    precision: Precision = "bf16"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2:
            raise ConfigError(f"recipe {self.name!r}: epochs must be at least 1 and batch at least 2")
        if self.learning_rate <= 0 or not 0 <= self.warmup < 1 or not 0 <= self.ema_decay < 1:
            raise ConfigError(
                f"recipe {self.name!r}: learning_rate must be positive, warmup and ema_decay in [0, 1)"
            )
        if not 0 <= self.strong_share <= 1:
            raise ConfigError(
                f"recipe {self.name!r}: strong_share must be in [0, 1], not {self.strong_share}"
            )
