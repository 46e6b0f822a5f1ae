"""What becomes of a patch: sealed, tried by a canary, released to its cohort, taken back, issued again."""
