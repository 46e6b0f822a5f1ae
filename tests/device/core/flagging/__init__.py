"""What a frame is to the model, and what becomes of it."""
