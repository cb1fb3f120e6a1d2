"""A run as one HTML file: curves, accounting and every episode, to be opened from disk."""

from trustee_jax.report.run import ReportError

__all__ = ["ReportError"]
