"""Tests of ``edgeadapt_models.train``."""
