"""Structures by name: a name is registered once, and an unknown one is answered with the known ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

from edgeadapt.registry import Registry
from edgeadapt_models.zoo.structures.base import Structure, StructureSpec

_STRUCTURES: Registry[Structure] = Registry("structure")

Maker = Callable[[StructureSpec], nn.Module]


def register(
    name: str, *, full: StructureSpec, small: StructureSpec, kind: Literal["image", "array"] = "image"
) -> Callable[[Maker], Maker]:
    """Register a maker under ``name``; raises ConfigError when the name is taken."""

    def put(make: Maker) -> Maker:
        _STRUCTURES.add(name, Structure(name, kind, full, small, make))
        return make

    return put


def structure_names() -> tuple[str, ...]:
    """The registered names, sorted."""
    return _STRUCTURES.names()


def structure(name: str) -> Structure:
    """Look one up; raises ConfigError that lists the known names."""
    return _STRUCTURES.get(name)
