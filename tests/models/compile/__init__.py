"""Tests of ``edgeadapt_models.compile``."""
