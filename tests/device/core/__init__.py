"""Tests of the device's decisions."""
