"""A run as one HTML file: curves, accounting and every episode, to be opened from disk."""
