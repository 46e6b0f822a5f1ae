"""What a person wants to see of slots: a table of what may change, and what a patch of it weighs."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from edgeadapt.bundle import Bundle
from edgeadapt.patch import MAX_PATCH_BYTES
from edgeadapt_models.compile.extras.sizes import patch_sizes


def slot_table(bundle: Bundle, cost: Mapping[str, float] | None = None) -> Table:
    """Groups of slots with the bytes of a patch of all of them.

    Args:
        bundle: any bundle.
        cost: time of a frame over that of the plain model, by group, for what does not fold; None: not
            measured.
    """
    table = Table(title="Slots (what a patch may change)", title_justify="left")
    table.add_column("slots of")
    for heading in ("slots", "values", "patch bytes"):
        table.add_column(heading, justify="right")
    table.add_column("time per frame")
    for size in patch_sizes(bundle.manifest.slots):
        if size.group == "all":
            table.add_section()
        weight = f"{size.patch_bytes:,}" + ("" if size.travels else f" (over {MAX_PATCH_BYTES >> 20} MiB)")
        table.add_row(size.group, f"{size.slots:,}", f"{size.values:,}", weight, _cost(size.group, cost))
    return table


def _cost(group: str, cost: Mapping[str, float] | None) -> str:
    if group == "all" or cost is None:
        return ""
    return f"{cost[group]:.2f} of the plain model's" if group in cost else "as before"
