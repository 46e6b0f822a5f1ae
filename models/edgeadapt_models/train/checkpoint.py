"""Checkpoints of a running training: one file, replaced atomically after every epoch.

Invariant: the file is always a whole checkpoint of the recipe it names, so a run that is stopped at any
moment continues from its last whole epoch. Finished weights are not here (`edgeadapt_models.zoo.weights`).
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from edgeadapt.errors import ConfigError
from edgeadapt_models.train.atomic import replace_bytes
from edgeadapt_models.train.recipe import Recipe

FILE = "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State after ``epoch`` whole epochs, ``trained_s`` seconds of training in all."""

    epoch: int
    trained_s: float
    network: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, Any]


def save(folder: Path, recipe: Recipe, checkpoint: Checkpoint) -> None:
    """Write the checkpoint to ``folder``; the one before stays until the new one is whole."""
    content = {
        "recipe": msgspec.json.encode(recipe).decode(),
        "epoch": checkpoint.epoch,
        "trained_s": checkpoint.trained_s,
        "network": checkpoint.network,
        "average": checkpoint.average,
        "optimizer": checkpoint.optimizer,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    replace_bytes(folder / FILE, buffer.getvalue())


def load(folder: Path, recipe: Recipe) -> Checkpoint | None:
    """The checkpoint in ``folder``, or None when there is none.

    Raises:
        ConfigError: the file is not a checkpoint, or one of another recipe.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        stored = msgspec.json.decode(content.pop("recipe"), type=Recipe)
        checkpoint = Checkpoint(**content)
    except (
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
        KeyError,
        TypeError,
        msgspec.MsgspecError,
    ) as error:
        raise ConfigError(f"{path} is not a checkpoint of this version: {error}") from error
    if stored != recipe:
        raise ConfigError(
            f"{path} belongs to another recipe ({stored.name!r} with other settings); name another --out"
        )
    return checkpoint
