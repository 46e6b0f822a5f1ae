"""Scorers by name, from this package or from others.

Another package registers a `ScorerKind` (an instance, not a class) under the entry point group:

    [project.entry-points."edgeadapt.scorers"]
    my-score = "my_package.scores:MY_SCORE"

It is imported when a bundle or a person asks for it by name, and not before. Names of this package cannot be
taken, and nothing is silently replaced.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from edgeadapt.errors import ConfigError
from edgeadapt.scoring import scorers
from edgeadapt.scoring.base import SCORERS, ScorerKind

GROUP = "edgeadapt.scorers"
_PARTS = ("name", "needs", "semantic", "fit", "load")

assert scorers  # imported to fill the registry


def scorer_names() -> tuple[str, ...]:
    """All names, sorted; other packages' are listed without importing them."""
    return tuple(sorted({*SCORERS.names(), *(point.name for point in entry_points(group=GROUP))}))


def scorer_kind(name: str) -> ScorerKind:
    """The scorer of that name.

    Raises:
        ConfigError: unknown, given by two packages, or its package cannot be imported or gives something
            else; names the package.
    """
    points = [point for point in entry_points(group=GROUP, name=name) if point.name == name]
    given = [_package(point) for point in points] + (["edgeadapt"] if name in SCORERS else [])
    if len(set(given)) > 1:
        raise ConfigError(f"scorer {name!r} comes from several packages, {', '.join(sorted(set(given)))}")
    if name in SCORERS:
        return SCORERS.get(name)
    if not points:
        known = ", ".join(scorer_names())
        raise ConfigError(f"unknown scorer {name!r}; known: {known}; others come with packages of their own")
    return _loaded(points[0])


def _loaded(point: EntryPoint) -> ScorerKind:
    where = f"scorer {point.name!r} of package {_package(point)!r} ({point.value})"
    try:
        kind = point.load()
    except Exception as error:  # whatever another package's import raises
        raise ConfigError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    missing = [part for part in _PARTS if not hasattr(kind, part)]
    if isinstance(kind, type) or missing or kind.name != point.name:
        found = f"has no {', '.join(missing)}" if missing else f"is {kind!r}"
        raise ConfigError(f"{where} {found}; expected an instance of a scorer kind of that name")
    checked: ScorerKind = kind
    return checked


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.module
