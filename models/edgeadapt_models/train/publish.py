"""From a trained network to a file of weights with its card.

Invariants: the card describes the stored file: the network that is measured is the one read back from the
bytes that are written; each file is replaced in one rename, the card last.
"""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import torch
from safetensors.torch import save as serialise

from edgeadapt.digest import sha256_hex
from edgeadapt_models.data import Dataset
from edgeadapt_models.train.atomic import replace_bytes
from edgeadapt_models.train.evaluate import measure
from edgeadapt_models.train.loop import Trained
from edgeadapt_models.train.recipe import Recipe
from edgeadapt_models.zoo.base import parameter_count
from edgeadapt_models.zoo.weights import Card, DomainAccuracy, Measurement, network_from, stem

HALF_PRECISION_FROM = 1_000_000
"""Networks with at least this many parameters are stored as float16."""

_UNMEASURED = Measurement(severity=5, clean=0.0, clean_images=0, domain_images=0, domains=())


def publish(
    recipe: Recipe,
    trained: Trained,
    dataset: Dataset,
    folder: Path,
    *,
    limit: int = 2000,
    observe: Callable[[DomainAccuracy], None] = lambda domain: None,
) -> Card:
    """Store the weights in ``folder``, measure what was stored, and write its card.

    Raises:
        OSError: the folder cannot be written.
    """
    half = parameter_count(trained.network) >= HALF_PRECISION_FROM
    data = encode(trained, torch.float16 if half else torch.float32)
    card = describe(recipe, trained, dataset, data, "float16" if half else "float32")
    measured = measure(network_from(data, card), dataset, limit=limit, observe=observe)
    card = msgspec.structs.replace(card, measured=measured)
    text = msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"
    replace_bytes(folder / f"{stem(recipe.name)}.safetensors", data)
    replace_bytes(folder / f"{stem(recipe.name)}.json", text)
    return card


def encode(trained: Trained, dtype: torch.dtype) -> bytes:
    """The network's tensors as a safetensors file; floating-point ones in ``dtype``."""
    state = trained.network.state_dict()
    return serialise(
        {
            name: (value.to(dtype) if value.is_floating_point() else value).contiguous()
            for name, value in state.items()
        }
    )


def describe(
    recipe: Recipe, trained: Trained, dataset: Dataset, data: bytes, storage: Literal["float32", "float16"]
) -> Card:
    """The card without its measurement."""
    height, width, channels = dataset.image_shape
    return Card(
        name=recipe.name,
        recipe=recipe,
        channels=channels,
        height=height,
        width=width,
        classes=dataset.classes,
        parameters=parameter_count(trained.network),
        storage=storage,
        sha256=sha256_hex(data),
        measured=_UNMEASURED,
        trained_s=round(trained.trained_s, 1),
        threads=torch.get_num_threads(),
        date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        python=platform.python_version(),
        torch=str(torch.__version__),
    )
