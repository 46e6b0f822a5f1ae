"""One file for each kind of slot; each changes a `Workpiece` and declares its slots."""
