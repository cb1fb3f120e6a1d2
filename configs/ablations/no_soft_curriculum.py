"""All aspects follow the difficulty: none is ever redrawn."""

from ml_collections import ConfigDict

from trustee_jax.ablations import BASE, ablate


def get_config(base: str = BASE) -> ConfigDict:
    return ablate(__file__, base, {"curriculum.epsilon": 0.0})
