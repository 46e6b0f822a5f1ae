"""Tests of the inference runtimes."""
