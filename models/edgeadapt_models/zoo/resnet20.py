"""ResNet-20 for small images (He et al. 2016, arXiv 1512.03385, section 4.2): three blocks per stage.

About 272 k parameters (shortcut option B: a normalised 1x1 convolution where the shape changes).
"""

from __future__ import annotations

from edgeadapt_models.zoo.base import Classifier, InputSpec
from edgeadapt_models.zoo.registry import network
from edgeadapt_models.zoo.residual import ResidualNetwork


@network("resnet20")
def resnet20(spec: InputSpec) -> Classifier:
    """Build an untrained ResNet-20; D = 64."""
    return ResidualNetwork(spec, stem_width=16, widths=(16, 32, 64), blocks_per_stage=3)
