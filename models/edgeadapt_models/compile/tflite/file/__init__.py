"""The file: what is in it, and its bytes."""
