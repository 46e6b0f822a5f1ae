"""Watching a demo: what devices predict, what is on the wire, what the cloud stores, and what is right."""
