"""Networks as people bring them: published structures by hand, untrained, to compile, convert and time.

Each is as published at full size (a test holds the parameter counts against the published ones) and can be
made narrower, shallower and smaller, so that a test can afford it. Start at
`edgeadapt_models.zoo.structures.base`. Networks that come with trained weights are in `edgeadapt_models.zoo`.
"""

from edgeadapt_models.zoo.structures import (
    convnext,
    deit,
    densenet,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
    sensors,
)
from edgeadapt_models.zoo.structures.base import Structure, StructureSpec, build, examples
from edgeadapt_models.zoo.structures.registry import structure, structure_names

__all__ = ["Structure", "StructureSpec", "build", "examples", "structure", "structure_names"]

STRUCTURE_MODULES = (convnext, deit, densenet, mobilenet_v2, mobilenet_v3, resnet, sensors)
"""The modules whose import registers the structures."""
