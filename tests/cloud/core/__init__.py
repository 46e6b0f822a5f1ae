"""Tests of `edgeadapt_cloud.core`."""
