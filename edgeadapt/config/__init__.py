"""Configurations: read from TOML and the environment, shown as they are in force, and by example."""

from __future__ import annotations

from edgeadapt.config.text import convert, located, origins, parse

__all__ = ["convert", "located", "origins", "parse"]
