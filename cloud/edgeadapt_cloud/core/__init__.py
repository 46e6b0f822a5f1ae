"""The cloud's decisions: no I/O, no clock, no threads (see `core.core`)."""
