"""The difficulty moves at other mean rewards: `thresholds.py:-0.25/0.25` or `:-0.25/0.25,debug`.

It falls up to the first one and rises from the second one on (default 0/0.5).
"""

from ml_collections import ConfigDict

from trustee_jax.ablations import ablate, number, split

FORM = "two mean rewards, e.g. -0.25/0.25"


def get_config(parameter: str = "") -> ConfigDict:
    values, base = split(parameter, FORM)
    lower, _, upper = values.partition("/")
    options = {
        "curriculum.lower_at": number(lower, FORM),
        "curriculum.raise_at": number(upper, FORM),
    }
    return ablate(__file__, base, options)
