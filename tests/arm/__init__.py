"""The device under emulated ARM: `make arm`. Not part of the tests that run by default; start at `run`."""
