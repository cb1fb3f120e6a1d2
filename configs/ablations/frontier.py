"""A difficulty per aspect, each held where half of the valid episodes succeed."""

from ml_collections import ConfigDict

from trustee_jax.ablations import BASE, ablate


def get_config(base: str = BASE) -> ConfigDict:
    return ablate(__file__, base, {"curriculum.rule": "frontier"})
