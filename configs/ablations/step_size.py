"""The difficulty moves by another step, up and down: `step_size.py:1` or `:1,debug` (default 3)."""

from ml_collections import ConfigDict

from trustee_jax.ablations import ablate, number, split

FORM = "a step size, e.g. 1 or 10"


def get_config(parameter: str = "") -> ConfigDict:
    size, base = split(parameter, FORM)
    step = number(size, FORM)
    return ablate(__file__, base, {"curriculum.increase": step, "curriculum.decrease": step})
