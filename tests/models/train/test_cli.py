"""``edgeadapt model``: the commands on a tiny recipe and on the committed weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeadapt.errors import ConfigError
from edgeadapt_models.cli import group
from edgeadapt_models.train import recipes
from edgeadapt_models.zoo import load_pretrained, weights_card
from tests.models.train import tiny


def test_train_then_evaluate(tmp_path: Path) -> None:
    recipe, out = tiny.make_known(), tmp_path / "run"
    tiny.jpeg_copies(tmp_path)
    data = ["--cifar10-root", str(tmp_path)]
    trained = CliRunner().invoke(
        group, ["train", recipe.name, "--out", str(out), "--epochs", "1", *data], catch_exceptions=False
    )
    assert trained.exit_code == 0, trained.output
    assert "mean of corruptions" in trained.output
    assert "epoch 1/1: loss" in trained.stderr  # no terminal, no bar: a line per epoch
    assert weights_card(recipe.name, out).recipe.epochs == 1
    assert load_pretrained(recipe.name, out).head.out_features == 10
    arguments = ["evaluate", recipe.name, "--weights", str(out), "--limit", "64", "--severity", "1", *data]
    measured = CliRunner().invoke(group, arguments, catch_exceptions=False)
    assert measured.exit_code == 0
    assert "jpeg_compression" in measured.output


def test_list_shows_recipes_and_accuracies() -> None:
    result = CliRunner().invoke(group, ["list"], catch_exceptions=False)
    lines = {line.split()[0]: line for line in result.output.splitlines() if "/" in line}
    assert set(recipes.names()) <= set(lines)
    assert f"{weights_card('fashion-mnist/resnet8').measured.clean:.1%}" in lines["fashion-mnist/resnet8"]


def test_unknown_names_list_the_known_ones() -> None:
    for command in ("train", "evaluate"):
        with pytest.raises(ConfigError, match=r"nosuch.*fashion-mnist/resnet8"):
            CliRunner().invoke(group, [command, "nosuch"], catch_exceptions=False)


@pytest.mark.parametrize("command", ["train", "list", "evaluate"])
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(group, [command, "--help"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 4
