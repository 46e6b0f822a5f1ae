"""What the service is given must belong together: bundle, student, teacher and data set."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.errors import ConfigError
from edgeadapt_cloud.config import BundleSection, CloudConfig, SigningSection
from edgeadapt_cloud.wiring import build_adapter, check_dataset
from edgeadapt_models.compile import tiny_bundle
from edgeadapt_models.data import Dataset
from edgeadapt_models.zoo.weights import weights_card


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of no network of the zoo; it takes what those for fashion-mnist take."""
    return tiny_bundle(tmp_path_factory.mktemp("wiring") / "bundle")


def config(**section: str) -> CloudConfig:
    return CloudConfig(BundleSection("bundle", **section), SigningSection("key.pem"))


def test_a_bundle_of_a_model_from_elsewhere_is_refused_with_what_to_do(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"is not the student's network: .*`edgeadapt model list`.*enabled"):
        build_adapter(config(), bundle)


@pytest.mark.parametrize("key", ["student", "teacher"])
def test_networks_that_take_other_images_than_the_bundle_are_refused(bundle: Bundle, key: str) -> None:
    name = {"student": "cifar10/resnet8", "teacher": "cifar10/teacher"}[key]
    with pytest.raises(ConfigError, match=rf"bundle\.{key}: '{name}' takes images \(3, 32, 32\)"):
        build_adapter(config(**{key: name}), bundle)


@pytest.mark.parametrize(("side", "renamed"), [(32, False), (28, True)])
def test_other_data_than_the_networks_were_trained_on_is_refused(side: int, renamed: bool) -> None:
    section = config().bundle
    classes = weights_card(section.student).classes
    images, labels = np.zeros((20, 28, 28, 1), np.uint8), np.arange(20) % 10
    check_dataset(section, Dataset("fine", classes, images, labels, images, labels))
    odd = np.zeros((20, side, side, 1), np.uint8)
    other = tuple(f"kind {name}" for name in classes) if renamed else classes
    with pytest.raises(ConfigError, match=r"'fashion-mnist' is not what bundle\.student"):
        check_dataset(section, Dataset("odd", other, odd, labels, odd, labels))


def test_what_is_shipped_belongs_together() -> None:
    """Every student of the zoo with its teacher: what the check is for must not refuse the good ones."""
    for data in ("fashion-mnist", "cifar10"):
        cards = [weights_card(f"{data}/{name}") for name in ("resnet8", "teacher")]
        assert len({(card.classes, card.channels, card.height, card.width) for card in cards}) == 1
