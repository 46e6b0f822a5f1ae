"""Tests of `edgeadapt_cloud.io`."""
