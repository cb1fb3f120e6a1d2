"""A control: rewards in random order among the episodes that are learnt from."""

from ml_collections import ConfigDict

from trustee_jax.ablations import BASE, ablate


def get_config(base: str = BASE) -> ConfigDict:
    return ablate(__file__, base, {"training.shuffle_rewards": True})
