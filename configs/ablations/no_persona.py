"""User and verifier do not know the persona."""

from ml_collections import ConfigDict

from trustee_jax.ablations import BASE, ablate


def get_config(base: str = BASE) -> ConfigDict:
    return ablate(__file__, base, {"environment.show_persona": False})
