"""Names of data sets, and where a folder given by environment or argument goes."""

from pathlib import Path

import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_models.data import load, locations, names
from edgeadapt_models.data.registry import listings


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'mnist'; known: cifar10, fashion-mnist, image-folder"):
        load("mnist", cache_dir=tmp_path)
    assert names() == ("cifar10", "fashion-mnist", "image-folder")
    assert names() == tuple(listing.name for listing in listings())


def test_the_environment_names_the_folder_of_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(locations.CIFAR10_VARIABLE, str(tmp_path / "pictures"))
    with pytest.raises(ConfigError, match="pictures holds neither"):
        load("cifar10")
    assert locations.default_root("fashion-mnist") is None


def test_the_cache_follows_the_desktop_convention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert locations.default_cache_dir() == tmp_path / "edgeadapt"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert locations.default_cache_dir() == Path.home() / ".cache" / "edgeadapt"
