"""Measurements: how far the verifier can be trusted."""
