"""What goes up, and at what cost."""
