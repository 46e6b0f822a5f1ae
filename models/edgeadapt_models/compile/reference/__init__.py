"""What compiled models are compared with: torch, the file that was given, and the graph written out."""
