"""Which domain it is, and what is remembered of it."""
