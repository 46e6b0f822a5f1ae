"""Which frames go up, and in which lane."""
