"""Strategies: ways to make a patch from samples, one file each.

Third parties register theirs in `STRATEGIES` at import.
"""

from edgeadapt_cloud.adapt.strategies import anchored, cema
from edgeadapt_cloud.adapt.strategies.base import STRATEGIES, Lesson, Strategy, Taught

__all__ = ["STRATEGIES", "Lesson", "Strategy", "Taught"]

STRATEGY_MODULES = (anchored, cema)
"""The modules whose import registers the built-in strategies."""
