"""Tasks of all kinds from the first step to the last: nothing moves.

Tools, calls, persona, ambiguity and turns are drawn uniformly from their full ranges; strictness,
system prompt and turn limits are those of the greatest difficulty, which alone leaves room for all.
"""

from ml_collections import ConfigDict

from trustee_jax.ablations import BASE, ablate


def get_config(base: str = BASE) -> ConfigDict:
    options = {"curriculum.rule": "fixed", "curriculum.initial": 100.0, "curriculum.epsilon": 1.0}
    return ablate(__file__, base, options)
