"""Committed weights: as good as their cards say, and refused when damaged."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest
from safetensors.torch import load as parse
from safetensors.torch import save as serialise

from edgeadapt.digest import sha256_hex
from edgeadapt.errors import ConfigError
from edgeadapt_models.data import Dataset, load
from edgeadapt_models.data.locations import CIFAR10_VARIABLE
from edgeadapt_models.train import recipes
from edgeadapt_models.train.evaluate import accuracy, corrupted_test
from edgeadapt_models.zoo import load_pretrained, parameter_count, pretrained_names, weights_card
from edgeadapt_models.zoo.weights import default_folder, stem

STUDENT = "fashion-mnist/resnet8"
IMAGES = 500


def dataset_of(name: str) -> Dataset:
    dataset = weights_card(name).recipe.dataset
    if dataset == "cifar10" and CIFAR10_VARIABLE not in os.environ:
        pytest.skip(f"{CIFAR10_VARIABLE} names no folder with CIFAR-10")
    return load(dataset)


@pytest.mark.parametrize("name", pretrained_names())
def test_a_network_is_as_good_as_its_card_says(name: str) -> None:
    card, dataset, network = weights_card(name), dataset_of(name), load_pretrained(name)
    assert not network.training
    labels = dataset.test_labels[:IMAGES]
    assert accuracy(network, dataset.test_images[:IMAGES], labels) == pytest.approx(
        card.measured.clean, abs=0.03
    )
    hardest = min(card.measured.domains, key=lambda domain: domain.frozen)
    images = corrupted_test(dataset, hardest.corruption, card.measured.severity, card.measured.domain_images)
    frozen = accuracy(network, images[:IMAGES], labels)
    assert frozen == pytest.approx(hardest.frozen, abs=0.06)


@pytest.mark.parametrize("name", pretrained_names())
def test_a_card_tells_what_is_stored(name: str) -> None:
    card, network = weights_card(name), load_pretrained(name)
    assert card.name == name
    assert card.parameters == parameter_count(network)
    assert network.head.out_features == len(card.classes)
    assert card.recipe == recipes.get(name)
    assert card.trained_s > 0
    assert len(card.measured.domains) == 15


def test_the_teachers_are_much_more_robust_than_the_students() -> None:
    names = pretrained_names()
    teachers = [name for name in names if name.endswith("/teacher")]
    assert teachers
    for teacher in teachers:
        frozen = weights_card(teacher).measured.mean_frozen
        students = [n for n in names if n.startswith(teacher.split("/")[0]) and "/resnet" in n]
        assert students
        assert all(frozen > weights_card(student).measured.mean_frozen + 0.10 for student in students)


def test_all_weights_together_are_small() -> None:
    sizes = [len(entry.read_bytes()) for entry in default_folder().iterdir() if "safetensors" in entry.name]
    assert 0 < sum(sizes) < 30e6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the student's weights that may be damaged."""
    for ending in (".json", ".safetensors"):
        with (tmp_path / (stem(STUDENT) + ending)).open("wb") as file:
            file.write((default_folder() / (stem(STUDENT) + ending)).read_bytes())
    return tmp_path


def replace_weights(folder: Path, data: bytes) -> None:
    """Put other weights in place, with a card that vouches for them."""
    card = msgspec.structs.replace(weights_card(STUDENT, folder), sha256=sha256_hex(data))
    (folder / f"{stem(STUDENT)}.safetensors").write_bytes(data)
    (folder / f"{stem(STUDENT)}.json").write_bytes(msgspec.json.encode(card))


def test_weights_that_are_not_the_cards_are_refused(folder: Path) -> None:
    path = folder / f"{stem(STUDENT)}.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="SHA-256"):
        load_pretrained(STUDENT, folder)


@pytest.mark.parametrize("data", [b"", b"\x10", b"\xff" * 4096])
def test_malformed_weights_are_a_typed_error(data: bytes, folder: Path) -> None:
    replace_weights(folder, data)
    with pytest.raises(ConfigError, match="do not fit"):
        load_pretrained(STUDENT, folder)


def test_tensors_of_another_network_are_a_typed_error(folder: Path) -> None:
    tensors = parse((folder / f"{stem(STUDENT)}.safetensors").read_bytes())
    tensors.pop("head.weight")
    replace_weights(folder, serialise(tensors))
    with pytest.raises(ConfigError, match=r"head\.weight"):
        load_pretrained(STUDENT, folder)


def test_missing_weights_are_a_typed_error(folder: Path) -> None:
    (folder / f"{stem(STUDENT)}.safetensors").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_pretrained(STUDENT, folder)


@pytest.mark.parametrize("text", ["{}", "not json", '{"name": 1}'])
def test_a_damaged_card_is_a_typed_error(text: str, folder: Path) -> None:
    (folder / f"{stem(STUDENT)}.json").write_text(text)
    with pytest.raises(ConfigError, match="unreadable"):
        load_pretrained(STUDENT, folder)


def test_an_unknown_name_is_answered_with_the_known_ones(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"nosuch.*fashion-mnist/resnet8"):
        weights_card("nosuch", folder)
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(ConfigError, match="none"):
        weights_card(STUDENT, folder)
