"""Tests of `edgeadapt_device.io`, against the real runtime, disk and broker."""
