"""Benchmarks: the loop in virtual time, on real images, with real bytes between device and cloud."""
