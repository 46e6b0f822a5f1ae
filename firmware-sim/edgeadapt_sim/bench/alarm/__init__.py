"""Does the drift alarm keep its word, and what does it see? `study` runs, `output` writes; see `plan`."""
