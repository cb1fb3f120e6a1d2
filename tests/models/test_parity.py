"""Logits against transformers, on tiny random checkpoints of every supported kind."""

import itertools

import jax
import numpy as np
import pytest
import torch

KINDS = (
    "llama-tied-1e4",
    "llama-untied-1e6",
    "llama-scaled-5e5",
    "qwen2-tied-1e6",
    "qwen2-untied-1e4",
    "qwen3-tied-1e6",
    "qwen3-untied-1e4",
)
REMATS = ("none", "blocks", "dots")


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.mark.parametrize("scan", [False, True], ids=["unrolled", "scanned"])
def test_logits_equal_transformers(kind, scan, tiny):
    hf = tiny.hf_model(kind)
    tokens = np.random.default_rng(1).integers(0, hf.config.vocab_size, (3, 100))
    with torch.no_grad():
        expected = hf(torch.tensor(tokens)).logits.float().numpy()
    actual = tiny.logits(tiny.ours(kind, scan_layers=scan), tokens)
    assert np.abs(actual - expected).max() < 1e-4
    assert np.abs(expected).max() > 0.5  # not two models that say nothing


def test_remat_and_scan_give_the_same_gradient(tiny):
    tokens = np.random.default_rng(0).integers(0, 320, (2, 24))

    def embedding_gradient(**options):
        model = tiny.ours("qwen3-tied-1e6", **options)
        graphdef, params = tiny.split(model)

        def loss(params):
            return (tiny.logits(tiny.merge(graphdef, params), tokens) ** 2).mean()

        return np.asarray(jax.grad(loss)(params)["embed"]["embedding"].get_value())

    plain = embedding_gradient()
    assert np.abs(plain).max() > 0
    for scan, remat in itertools.product((False, True), REMATS):
        options = {"scan_layers": scan, "remat": remat}
        np.testing.assert_allclose(embedding_gradient(**options), plain, rtol=1e-4, atol=1e-6)


def test_llama3_scaling_matters(tiny):
    """At positions past the original context, so the parity above would notice its absence."""
    tokens = np.random.default_rng(1).integers(0, 320, (1, 100))
    scaled = tiny.logits(tiny.ours("llama-scaled-5e5"), tokens)
    config = tiny.ours("llama-scaled-5e5").config
    assert config.rope_scaling is not None
    plain = tiny.logits(tiny.ours("llama-scaled-5e5", rope_scaling=None), tokens)
    assert np.abs(scaled - plain).max() > 1e-2
