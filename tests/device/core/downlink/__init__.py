"""What comes down, and what is believed of it."""
