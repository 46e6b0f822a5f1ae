"""Networks by name: a name is registered once, and an unknown one is answered with the known ones."""

from __future__ import annotations

from collections.abc import Callable

from edgeadapt.registry import Registry
from edgeadapt_models.zoo.base import Classifier, InputSpec

Builder = Callable[[InputSpec], Classifier]

_BUILDERS: Registry[Builder] = Registry("network")


def network(name: str) -> Callable[[Builder], Builder]:
    """Register a builder under ``name``.

    Raises:
        ConfigError: the name is taken.
    """
    return _BUILDERS.register(name)


def network_names() -> tuple[str, ...]:
    """The registered names, sorted."""
    return _BUILDERS.names()


def create(name: str, spec: InputSpec) -> Classifier:
    """Build an untrained network.

    Raises:
        ConfigError: no network has this name, or the network cannot take this input.
    """
    return _BUILDERS.get(name)(spec)
