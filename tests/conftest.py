"""Eight virtual CPU devices for every test, set before JAX starts; tiny models for all rooms."""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest


@pytest.fixture(scope="session")
def tiny():
    """Tiny random models, ours and those of transformers with the same weights."""
    import tiny_models

    return tiny_models
