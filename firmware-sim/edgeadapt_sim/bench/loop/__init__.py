"""The whole loop against its baselines: accuracy of a fleet that meets each domain once."""
