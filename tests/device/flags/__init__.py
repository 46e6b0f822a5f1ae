"""The flag journal, and how it is read."""
