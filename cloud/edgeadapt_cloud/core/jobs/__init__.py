"""Adaptation jobs: what one is (`job`), when one is due (`schedule`), what it starts with (`launch`)."""
