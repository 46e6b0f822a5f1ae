"""Tests of ``edgeadapt_models.zoo``."""
