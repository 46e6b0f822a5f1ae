"""What runs, and why."""
