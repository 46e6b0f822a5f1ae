"""Tests of ``edgeadapt_models.data.corruptions``."""
