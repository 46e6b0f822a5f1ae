"""Patches on trial."""
