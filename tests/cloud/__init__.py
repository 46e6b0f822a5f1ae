"""Tests of `edgeadapt_cloud`."""
