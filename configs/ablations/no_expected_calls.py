"""The verifier does not know the expected calls."""

from ml_collections import ConfigDict

from trustee_jax.ablations import BASE, ablate


def get_config(base: str = BASE) -> ConfigDict:
    return ablate(__file__, base, {"environment.show_expected_calls": False})
