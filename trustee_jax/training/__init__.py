"""The outer loop, and what keeps its results: checkpoints, metrics, episode records."""
