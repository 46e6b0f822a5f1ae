"""ResNet-8 of MLPerf Tiny (Banbury et al. 2021, arXiv 2106.07597): one block per stage, widths 16/32/64.

About 78 k parameters; the reference network for microcontroller-class image classification.
"""

from __future__ import annotations

from edgeadapt_models.zoo.base import Classifier, InputSpec
from edgeadapt_models.zoo.registry import network
from edgeadapt_models.zoo.residual import ResidualNetwork


@network("resnet8")
def resnet8(spec: InputSpec) -> Classifier:
    """Build an untrained ResNet-8; D = 64."""
    return ResidualNetwork(spec, stem_width=16, widths=(16, 32, 64), blocks_per_stage=1, norm_shortcut=False)
