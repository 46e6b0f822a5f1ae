"""Tests of what a device is told."""
