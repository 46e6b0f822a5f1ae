"""Data sets by name. A name is taken once; an unknown one is answered with the known ones."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from edgeadapt.errors import ConfigError
from edgeadapt_models.data import fashion_mnist
from edgeadapt_models.data.base import Dataset
from edgeadapt_models.data.locations import default_cache_dir, default_root

Loader: TypeAlias = Callable[[Path | None, Path], Dataset]
"""``loader(root, cache_dir)``: ``root`` is the folder the user named, ``cache_dir`` where downloads go."""

_LOADERS: dict[str, Loader] = {}


def register(name: str, loader: Loader) -> None:
    """Add a data set.

    Raises:
        ConfigError: the name is taken.
    """
    if name in _LOADERS:
        raise ConfigError(f"data set {name!r} is registered twice")
    _LOADERS[name] = loader


def names() -> tuple[str, ...]:
    """The known names, sorted."""
    return tuple(sorted(_LOADERS))


def load(name: str, *, root: Path | None = None, cache_dir: Path | None = None) -> Dataset:
    """Read data set ``name`` into memory, downloading it once where it has a public home.

    Args:
        name: one of :func:`names`.
        root: the folder that holds it; None: the place it is usually installed, else the cache.
        cache_dir: where downloads are kept; None: :func:`default_cache_dir`.

    Raises:
        ConfigError: unknown name, or files that are not what they should be.
        TransportError: it had to be downloaded and could not be.
    """
    try:
        loader = _LOADERS[name]
    except KeyError:
        raise ConfigError(f"unknown data set {name!r}; known: {', '.join(names())}") from None
    return loader(root or default_root(name), cache_dir or default_cache_dir())


register("fashion-mnist", fashion_mnist.load)
