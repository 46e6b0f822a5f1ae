"""Data sets by name. A name is taken once; an unknown one is answered with the known ones."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from edgeadapt.errors import ConfigError
from edgeadapt.registry import Registry
from edgeadapt_models.data import cifar10, fashion_mnist, image_folder
from edgeadapt_models.data.base import Dataset
from edgeadapt_models.data.locations import default_cache_dir, default_root

Loader: TypeAlias = Callable[[Path | None, Path], Dataset]
"""``loader(root, cache_dir)``: ``root`` is the folder the user named, ``cache_dir`` where downloads go."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One data set for people to choose from.

    Attributes:
        name: as :func:`load` takes it.
        about: what it is, in a few words.
        folder: where it lies already; None when it has to be got first.
        how_to_get: what to do then, as a phrase.
    """

    name: str
    about: str
    folder: Path | None
    how_to_get: str


_LOADERS: Registry[Loader] = Registry("data set")


def names() -> tuple[str, ...]:
    """The known names, sorted."""
    return _LOADERS.names()


def listings(cache_dir: Path | None = None) -> tuple[Listing, ...]:
    """Every data set, sorted by name, with whether it is here; ``cache_dir`` as in :func:`load`."""
    cache = cache_dir or default_cache_dir()
    return tuple(
        Listing(m.NAME, m.ABOUT, m.find(default_root(m.NAME), cache), m.HOW_TO_GET)
        for m in (cifar10, fashion_mnist, image_folder)
    )


def load(
    name: str,
    *,
    root: Path | None = None,
    cache_dir: Path | None = None,
    size: tuple[int, int] | None = None,
) -> Dataset:
    """Read data set ``name`` into memory, downloading it once where it has a public home.

    Args:
        name: one of :func:`names`.
        root: the folder that holds it; None: the place it is usually installed, else the cache.
        cache_dir: where downloads are kept; None: :func:`default_cache_dir`.
        size: ``(height, width)`` that the pictures of an image-folder are resized to.

    Raises:
        ConfigError: unknown name, a size for a set that has its own, or files not as they should be.
        TransportError: it had to be downloaded and could not be.
    """
    loader = _LOADERS.get(name)
    root, cache_dir = root or default_root(name), cache_dir or default_cache_dir()
    if size is None:
        return loader(root, cache_dir)
    if name != image_folder.NAME:
        raise ConfigError(f"data set {name!r} has a size of its own; a size is for {image_folder.NAME}")
    return image_folder.load(root, cache_dir, size)


_LOADERS.add(fashion_mnist.NAME, fashion_mnist.load)
_LOADERS.add(cifar10.NAME, cifar10.load)
_LOADERS.add(image_folder.NAME, image_folder.load)
