"""Two learning rates of the debug run, three seeds each: to try the command."""

from typing import Any

from trustee_jax.sweep import product

BASE = "configs/debug.py"


def sweep() -> list[dict[str, Any]]:
    return product({"learner.learning_rate": [1e-4, 1e-3], "seed": [0, 1, 2]})
