"""The model zoo: networks by name.

Start at `edgeadapt_models.zoo.base` for the shape all networks share.
"""

from edgeadapt_models.zoo import resnet8, resnet20, tempered, vit_small, wide_resnet
from edgeadapt_models.zoo.base import Classifier, InputSpec, Normalize, parameter_count
from edgeadapt_models.zoo.registry import create, network, network_names
from edgeadapt_models.zoo.weights import Card, load_pretrained, pretrained_names, weights_card

__all__ = [
    "Card",
    "Classifier",
    "InputSpec",
    "Normalize",
    "create",
    "load_pretrained",
    "network",
    "network_names",
    "parameter_count",
    "pretrained_names",
    "weights_card",
]

NETWORK_MODULES = (resnet8, resnet20, tempered, vit_small, wide_resnet)
"""The modules whose import registers the built-in networks."""
