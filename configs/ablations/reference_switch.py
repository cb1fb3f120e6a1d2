"""Ours, but for one switch of `trustee_jax.config.REFERENCE`: what is it worth?

`reference_switch.py:learner.zero_variance_groups` or `:learner.zero_variance_groups,debug`.
"""

from ml_collections import ConfigDict

from trustee_jax.ablations import ablate, split, wrong
from trustee_jax.config import REFERENCE


def get_config(parameter: str = "") -> ConfigDict:
    form = f"a switch: {', '.join(REFERENCE)}"
    name, base = split(parameter, form)
    if name not in REFERENCE:
        raise wrong(name, form)
    return ablate(__file__, base, {name: REFERENCE[name]})
