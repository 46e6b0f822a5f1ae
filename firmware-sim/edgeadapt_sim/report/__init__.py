"""What a reader gets from a run: `report.html` (one file), `report.png` and `summary.json`."""
