"""One aspect pinned at its hardest from the first step on: `hardest.py:turns`, `:calls,debug`."""

from ml_collections import ConfigDict

from trustee_jax.ablations import ablate, split, wrong
from trustee_jax.curriculum import PROBED

# Many turns need limits that allow them.
TOGETHER = {"turns": ("turns", "user_turns", "assistant_turns", "tool_turns")}


def get_config(parameter: str = "") -> ConfigDict:
    form = f"an aspect: {', '.join(PROBED)}"
    aspect, base = split(parameter, form)
    if aspect not in PROBED:
        raise wrong(aspect, form)
    ramps = ablate(__file__, base, {}).curriculum
    pinned = TOGETHER.get(aspect, (aspect,))
    options = {f"curriculum.{name}.low": ramps[name].high for name in pinned}
    return ablate(__file__, base, options)
