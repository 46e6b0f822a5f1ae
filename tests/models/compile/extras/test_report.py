"""What compiling prints of slots: what they weigh, what costs time, and what was passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from edgeadapt.bundle import Bundle
from edgeadapt.errors import CompileError
from edgeadapt_models.compile.compiler import Compilation
from edgeadapt_models.compile.extras.report import slot_table
from edgeadapt_models.compile.targets import TargetRequest
from tests.models.compile.extras import networks


def printed(bundle: Bundle, costs: dict[str, float] | None) -> dict[str, str]:
    """Lines of the table by their first words."""
    console = Console(width=120, record=True)
    console.print(slot_table(bundle, costs))
    cells = [[cell.strip() for cell in line.split("│")[1:]] for line in console.export_text().splitlines()]
    return {line[0]: " | ".join(line[1:]) for line in cells if len(line) > 2}


@pytest.fixture(scope="module")
def compilation(tmp_path_factory: pytest.TempPathFactory) -> Compilation:
    request = networks.wanted("full", "tokens:2", "lowrank:all")
    return networks.compilation("deit_tiny", request, tmp_path_factory.mktemp("report") / "b")


def test_costs_are_those_of_what_does_not_fold(compilation: Compilation) -> None:
    assert set(compilation.costs) == {"input prompt", "tokens and bottlenecks"}
    assert all(ratio > 0 for ratio in compilation.costs.values())
    lines = printed(compilation.bundle, dict(compilation.costs))
    for group in ("input prompt", "tokens and bottlenecks"):
        assert f"{compilation.costs[group]:.2f} of the plain model's" in lines[group]
    for group in ("norm layers", "head", "low-rank adapters", "embedding shift"):
        assert "as before" in lines[group]


def test_every_number_of_a_group_is_counted(compilation: Compilation) -> None:
    lines = printed(compilation.bundle, None)
    assert lines["input prompt"].startswith("1 | 3,072 | ")
    assert lines["head"].startswith("2 | 490 | ")
    values = sum(value.size for value in compilation.bundle.slots.values())
    assert lines["all"].startswith(f"{len(compilation.bundle.slots)} | {values:,} | ")
    assert "as before" not in lines["head"]  # nothing was measured


def test_notes_say_what_was_added_and_what_was_passed_over(tmp_path: Path) -> None:
    notes = networks.compilation("convnext_tiny", networks.wanted("full", "conv:all"), tmp_path / "b").notes
    assert any("one Add was put behind it" in note for note in notes)
    assert any("features.4 gets none: its kernel (2, 2) has no centre" in note for note in notes)


def test_a_bundle_for_int8_takes_no_adapters(tmp_path: Path) -> None:
    targets = TargetRequest(int8=True)
    with pytest.raises(CompileError, match="no adapters"):
        networks.compilation("resnet18", networks.wanted("", "conv"), tmp_path / "b", targets=targets)
    assert not (tmp_path / "b").exists()
