"""A demo removes files only from a folder of its own, and shares it with no other demo."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_sim.demo.folder import held, own
from edgeadapt_sim.demo.plan import DemoPlan
from edgeadapt_sim.demo.setup import prepare


def test_a_folder_of_somebody_else_is_refused_untouched(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "important.txt"
    log.parent.mkdir()
    log.write_text("keep me")
    with pytest.raises(ConfigError, match="not made by a demo"):
        prepare(DemoPlan(), tmp_path, lambda text: None)
    assert log.read_text() == "keep me"
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


def test_a_folder_is_recognised_the_second_time(tmp_path: Path) -> None:
    own(tmp_path / "new")
    (tmp_path / "new" / "logs").mkdir()
    own(tmp_path / "new")


def test_one_demo_at_a_time(tmp_path: Path) -> None:
    with (
        held(tmp_path / "out"),
        pytest.raises(ConfigError, match="another demo runs"),
        held(tmp_path / "out"),
    ):
        pass
    with held(tmp_path / "out"):
        pass


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="cannot use"):
        own(tmp_path / "out")


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (DemoPlan(strategy="nosuch"), "nosuch.*anchored"),
        (DemoPlan(student="fashion-mnist/nosuch"), "nosuch"),
        (DemoPlan(teacher="fashion-mnist/nosuch"), "nosuch"),
    ],
)
def test_names_are_checked_before_anything_is_made(tmp_path: Path, plan: DemoPlan, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(plan, tmp_path / "out", lambda text: None)
    assert not (tmp_path / "out").exists()
