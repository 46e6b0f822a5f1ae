"""A named set of plug-ins that refuses duplicates and lists what it knows.

Used for scorers, strategies, gates, codecs, datasets and models. A registry is filled at import by
the modules of one package; it holds no other state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from edgeadapt.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to plug-ins of one kind.

    Example:
        >>> colours: Registry[int] = Registry("colour")
        >>> colours.add("red", 0xFF0000)
        >>> colours.get("blue")
        Traceback (most recent call last):
        ...
        edgeadapt.errors.ConfigError: unknown colour 'blue'; known: red
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def add(self, name: str, item: T) -> None:
        """Register `item`; raises ConfigError when the name is taken."""
        if name in self._items:
            raise ConfigError(f"{self.kind} {name!r} is registered twice")
        self._items[name] = item

    def register(self, name: str) -> Callable[[T], T]:
        """The same as a decorator."""

        def put(item: T) -> T:
            self.add(name, item)
            return item

        return put

    def get(self, name: str) -> T:
        """Return the plug-in; raises ConfigError that lists the known names."""
        try:
            return self._items[name]
        except KeyError:
            known = ", ".join(sorted(self._items)) or "none"
            raise ConfigError(f"unknown {self.kind} {name!r}; known: {known}") from None

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._items))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._items
