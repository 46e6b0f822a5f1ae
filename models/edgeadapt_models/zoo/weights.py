"""Trained weights and their cards: what was trained, how, and how good it was measured to be.

Invariants: weights are used only if their SHA-256 is the card's; half-precision storage is widened to
float32 on loading; a loaded network is in eval mode. Measuring and writing are in `edgeadapt_models.train`
(a card is only written by the code that measured it).
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Literal

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load as parse

from edgeadapt.digest import sha256_hex
from edgeadapt.errors import ConfigError
from edgeadapt_models.train.recipe import Recipe
from edgeadapt_models.zoo.base import Classifier, InputSpec
from edgeadapt_models.zoo.registry import create

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


class DomainAccuracy(msgspec.Struct, frozen=True, kw_only=True):
    """Share of images classified rightly (0 to 1) under one corruption."""

    corruption: str
    # The network as trained.
    frozen: float
    # The same weights with normalisation statistics re-estimated on this domain's unlabelled images
    # (AdaBN, Li et al. 2016, arXiv 1603.04779); None for a network without running statistics.
    own_statistics: float | None


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy on the test split, clean and under every corruption at one severity."""

    severity: int
    clean: float
    clean_images: int
    # Images of each corrupted domain: the first so many of the test split.
    domain_images: int
    domains: tuple[DomainAccuracy, ...]

    @property
    def mean_frozen(self) -> float:
        """Mean over the corruptions of the accuracy as trained."""
        return sum(domain.frozen for domain in self.domains) / len(self.domains)

    @property
    def mean_own_statistics(self) -> float | None:
        """Mean over the corruptions with own statistics; None for a network without any."""
        values = [domain.own_statistics for domain in self.domains if domain.own_statistics is not None]
        return sum(values) / len(values) if values else None


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All there is to know about one file of weights."""

    name: str
    recipe: Recipe
    # Input the network was built for.
    channels: int
    height: int
    width: int
    classes: tuple[str, ...]
    parameters: int
    # Number type of the stored tensors; the measurement was made after storing.
    storage: Literal["float32", "float16"]
    sha256: str
    measured: Measurement
    trained_s: float
    threads: int
    # ISO 8601 date, UTC.
    date: str
    python: str
    torch: str


def default_folder() -> Traversable:
    """The weights that come with the package."""
    return files("edgeadapt_models") / "weights"


def stem(name: str) -> str:
    """File name, without its ending, of the weights called ``name`` ("fashion-mnist/resnet8")."""
    return name.replace("/", "-")


def pretrained_names(folder: Traversable | None = None) -> tuple[str, ...]:
    """Names of all weights with a card, sorted.

    Raises:
        ConfigError: a card is unreadable.
    """
    entries = (folder or default_folder()).iterdir()
    return tuple(sorted(_read_card(entry).name for entry in entries if entry.name.endswith(".json")))


def weights_card(name: str, folder: Traversable | None = None) -> Card:
    """The card of the weights called ``name``.

    Raises:
        ConfigError: there are none of this name (the message lists those there are), or the card is damaged.
    """
    folder = folder or default_folder()
    entry = folder / f"{stem(name)}.json"
    if not entry.is_file():
        known = ", ".join(pretrained_names(folder)) or "none"
        raise ConfigError(f"no trained weights for {name!r}; there are: {known}")
    return _read_card(entry)


def load_pretrained(name: str, folder: Traversable | None = None) -> Classifier:
    """A trained network in eval mode, float32, on the CPU.

    Raises:
        ConfigError: unknown name, or a file that is missing, damaged, or not the one its card describes.
    """
    folder = folder or default_folder()
    card = weights_card(name, folder)
    entry = folder / f"{stem(name)}.safetensors"
    try:
        data = entry.read_bytes()
    except OSError as error:
        raise ConfigError(f"weights {entry.name} of {name!r} cannot be read: {error}") from error
    if sha256_hex(data) != card.sha256:
        raise ConfigError(f"weights {entry.name} are not those of their card: SHA-256 is {sha256_hex(data)}")
    return network_from(data, card)


def network_from(data: bytes, card: Card) -> Classifier:
    """Build the card's network and fill it with the tensors of a safetensors file.

    Raises:
        ConfigError: the file is malformed, or its tensors are not those of the network.
    """
    spec = InputSpec(card.channels, card.height, card.width, len(card.classes))
    network = create(card.recipe.network, spec)
    try:
        tensors = parse(data)
        network.load_state_dict(
            {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
        )
    except (SafetensorError, RuntimeError) as error:
        raise ConfigError(f"weights of {card.name!r} do not fit {card.recipe.network}: {error}") from error
    return network.eval()


def _read_card(entry: Traversable) -> Card:
    try:
        return msgspec.json.decode(entry.read_bytes(), type=Card)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"card {entry.name} is unreadable: {error}") from error
