"""One aspect pinned at its hardest from the first step on: `hardest.py:turns`, `:calls,debug`."""

from ml_collections import ConfigDict

from trustee_jax.ablations import ablate, split, wrong
from trustee_jax.curriculum import ASPECTS

NEEDS = {aspect.name: aspect.needs for aspect in ASPECTS if not aspect.follows}


def get_config(parameter: str = "") -> ConfigDict:
    form = f"an aspect: {', '.join(NEEDS)}"
    aspect, base = split(parameter, form)
    if aspect not in NEEDS:
        raise wrong(aspect, form)
    ramps = ablate(__file__, base, {}).curriculum
    pinned = (aspect, *NEEDS[aspect])
    options = {f"curriculum.{name}.low": ramps[name].high for name in pinned}
    return ablate(__file__, base, options)
