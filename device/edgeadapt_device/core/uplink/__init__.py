"""What goes up: which frames are worth their bytes, what they cost, and when they are sent again."""
