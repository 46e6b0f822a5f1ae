"""What runs, and why: domains, own statistics, patches on trial, the bank of those that are kept."""
