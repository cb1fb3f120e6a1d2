"""Tools that a model writes for a named domain."""
