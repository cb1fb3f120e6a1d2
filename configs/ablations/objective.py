"""The objective of a paper: `objective.py:dapo`, `:gspo,debug`; see `config.OBJECTIVES`."""

from ml_collections import ConfigDict

from trustee_jax.ablations import ablate, split, wrong
from trustee_jax.config import OBJECTIVES


def get_config(parameter: str = "") -> ConfigDict:
    form = f"an objective: {', '.join(OBJECTIVES)}"
    name, base = split(parameter, form)
    if name not in OBJECTIVES:
        raise wrong(name, form)
    return ablate(__file__, base, OBJECTIVES[name])
