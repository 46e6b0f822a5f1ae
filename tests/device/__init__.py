"""Tests of `edgeadapt_device`."""
