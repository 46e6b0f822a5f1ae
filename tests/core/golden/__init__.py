"""The bytes of every message, as they were released; see `remake`."""
