"""Tests of what goes wrong: kills, disks, brokers, bundles."""
