"""The fifteen standard common corruptions (Hendrycks and Dietterich, ICLR 2019), written for any image size.

Functions take and give uint8 NHWC batches with 1 or 3 channels. Severity constants are those published for
CIFAR-10-C on images of up to 64 pixels and those of ImageNet-C at 224 pixels (see ``scale``). These are
evaluation conditions: nothing here may be used to train a teacher or a student.
"""

from edgeadapt_models.data.corruptions.registry import CORRUPTIONS, SEVERITIES, corrupt

__all__ = ["CORRUPTIONS", "SEVERITIES", "corrupt"]
