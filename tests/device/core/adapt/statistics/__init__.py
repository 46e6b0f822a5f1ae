"""A device's own statistics."""
