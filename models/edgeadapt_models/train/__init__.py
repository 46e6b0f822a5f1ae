"""Training: recipes as code, one loop, augmentations on tensors.

Start at `edgeadapt_models.train.recipes` for what is trained how, then `loop` for the training itself.
"""

from edgeadapt_models.train import augment_robust, augmix

AUGMENTATION_MODULES = (augmix, augment_robust)
"""The modules whose import registers the robust augmentations."""
