"""Colours and words shared by all pictures: safe for colour-blind readers, dark on light."""

from __future__ import annotations

from collections.abc import Mapping

from edgeadapt_sim.records import EventKind, Method

COLOURS: Mapping[Method, str] = {"frozen": "#8a8f98", "statistics": "#e08214", "loop": "#0067a5"}
INK = "#1f2430"
GRID = "#e3e6eb"
EVENT_COLOURS: Mapping[EventKind, str] = {
    "trial": "#6f7782",
    "confirmed": "#117a43",
    "reverted": "#b3261e",
    "reapplied": "#6a3d9a",
    "refused": "#b3261e",
}
# Shape per event, in plotly's and in matplotlib's words.
EVENT_SYMBOLS: Mapping[EventKind, tuple[str, str]] = {
    "trial": ("circle-open", "o"),
    "confirmed": ("triangle-up", "^"),
    "reverted": ("x", "x"),
    "reapplied": ("star", "*"),
    "refused": ("diamond", "D"),
}
_TINTS = (
    "#dbe9f6", "#fdebd3", "#e2f0d9", "#f4dff0", "#fff6cc", "#d9f0ee",
    "#f9dcdc", "#e6e3f4", "#eadfd3", "#e0e7d3", "#f1f1f1", "#d7e3e8",
)  # fmt: skip


def tints(domains: tuple[str, ...]) -> dict[str, str]:
    """A light background colour per domain; the same domain has the same colour everywhere."""
    return {domain: _TINTS[number % len(_TINTS)] for number, domain in enumerate(domains)}


def words(domain: str) -> str:
    """A domain's name for people: `gaussian_noise:5` becomes `gaussian noise 5`."""
    return domain.replace("_", " ").replace(":", " ")


def bytes_text(size: float) -> str:
    """A number of bytes with a decimal unit: 12.3 kB."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
