"""Tests of the doctor, against real brokers, TLS, disks and runtimes."""
