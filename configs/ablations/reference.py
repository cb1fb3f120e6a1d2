"""The published run's behaviour: every switch of `trustee_jax.config.REFERENCE`."""

from ml_collections import ConfigDict

from trustee_jax.ablations import BASE, ablate
from trustee_jax.config import REFERENCE


def get_config(base: str = BASE) -> ConfigDict:
    return ablate(__file__, base, REFERENCE)
