"""Benchmarks: official data and checkers, answered by an engine, compared in pairs."""
