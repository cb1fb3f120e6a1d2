"""Which tokens may be drawn, against the logits processors of transformers, and how often."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.sharding import NamedSharding, PartitionSpec
from transformers import TopKLogitsWarper, TopPLogitsWarper

from trustee_jax.engine.sampling import cut_threshold, draw, sample

FEW = [(0, 1.0), (1, 1.0), (20, 0.95), (50, 0.5), (64, 1.0), (64, 0.9)]
MANY = [*FEW, (65, 0.9), (300, 1.0), (0, 0.7), (0, 0.999), (5000, 0.3)]


@pytest.fixture(params=["cpu", "default"])
def threshold(request, monkeypatch):
    """`cut_threshold` as it is compiled for a CPU, and for anything else."""
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *rows, **by: by[request.param](*rows))
    return jax.jit(lambda *options: cut_threshold(*options))


def expected(logits, top_k, top_p):
    """What transformers keeps."""
    scores = torch.tensor(logits[None])
    if top_k:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    return scores[0].numpy() > -np.inf


def kept(threshold, logits, options):
    top_k, top_p = (np.array(column) for column in zip(*options, strict=True))
    found = threshold(logits, top_k.astype(np.int32), top_p.astype(np.float32))
    return (logits >= np.asarray(found)[:, None]) & (logits > -np.inf)


@pytest.mark.parametrize("allowed", [1.0, 0.1, 0.02])
@pytest.mark.parametrize("vocab_size", [40, 64, 65, 997])
@pytest.mark.parametrize("options", [FEW, MANY])
def test_kept_tokens(options, vocab_size, allowed, threshold):
    """Whether selecting 64 logits is enough, or all are searched; with and without a mask."""
    rng = np.random.default_rng(vocab_size)
    logits = 3 * rng.standard_normal((len(options), vocab_size), np.float32)
    masked = rng.random(logits.shape) >= allowed
    masked[:, 7] = False
    logits[masked] = -np.inf
    for row, found in enumerate(kept(threshold, logits, options)):
        wanted = expected(logits[row], *options[row])
        np.testing.assert_array_equal(found, wanted, err_msg=str(options[row]))


@pytest.mark.parametrize("scale", [1.0, -1.0, 1e-3, 0.0])
def test_a_flat_nucleus_is_found(scale, threshold):
    """Which reaches far beyond the selected logits, at any sign and size."""
    rng = np.random.default_rng(0)
    logits = (5 * scale + 0.1 * abs(scale) * rng.standard_normal((4, 5000))).astype(np.float32)
    options = [(0, 0.5), (0, 0.95), (2000, 0.5), (2000, 1.0)]
    for row, found in enumerate(kept(threshold, logits, options)):
        if scale == 0:  # transformers would draw the line among equals
            assert found.all()
        else:
            np.testing.assert_array_equal(found, expected(logits[row], *options[row]))


@pytest.mark.parametrize("many", [10, 1250])
def test_equal_logits_are_kept_or_cut_together(many, threshold):
    """Four levels of `many` tokens each, whether or not a level exceeds the selected logits."""
    levels = np.repeat(np.float32([3, 2, 1, 0]), many)
    logits = np.random.default_rng(0).permutation(levels)[None]
    shares = np.cumsum(np.exp([3, 2, 1, 0]) / np.exp([3, 2, 1, 0]).sum())
    cases = [(0, shares[0] - 0.01, 1), (0, shares[0] + 0.01, 2), (0, shares[2] + 0.01, 4),
             (1, 1.0, 1), (many, 1.0, 1), (many + 1, 1.0, 2), (3 * many, 0.99, 3),
             # The nucleus is of all that the k keep: equals of the last one, too.
             (many + 1, 0.7, 1), (many + 1, 0.75, 2)]  # fmt: skip
    for top_k, top_p, number in cases:
        found = kept(threshold, logits, [(top_k, top_p)])
        np.testing.assert_array_equal(found, logits > 3 - number, err_msg=f"{top_k} {top_p}")
        if top_p == 1:
            np.testing.assert_array_equal(found[0], expected(logits[0], top_k, top_p))


@pytest.mark.parametrize("vocab_size", [5, 64, 1000, 1187])
def test_draws_have_the_weights_as_their_distribution(vocab_size):
    """Within five standard deviations and ten draws; what has no weight is never drawn."""
    rng = np.random.default_rng(vocab_size)
    weights = rng.random(vocab_size, np.float32) ** 4
    weights[rng.random(vocab_size) < 0.3] = 0
    weights[-1] = 0
    count = 200_000
    uniform = rng.random((count, 2), np.float32)
    drawn = jax.jit(jax.vmap(lambda u: draw(weights[None], u[None])[0]))(uniform)
    shares = np.bincount(drawn, minlength=vocab_size) / count
    wanted = weights / weights.sum(dtype=np.float64)
    assert np.all(np.abs(shares - wanted) <= 5 * np.sqrt(wanted / count) + 10 / count)
    assert not shares[weights == 0].any()


def test_samples_have_the_softmax_as_their_distribution():
    """Through keys and counts: each token of a request has numbers of its own."""
    logits = np.random.default_rng(0).standard_normal(320).astype(np.float32)
    rows, count = 500, 100
    keys = np.random.default_rng(1).integers(0, 2**32, (rows, 2), dtype=np.uint32)
    options = np.full(rows, 0.7, np.float32), np.zeros(rows, np.int32), np.ones(rows, np.float32)
    several = jax.jit(
        lambda i: sample(jnp.tile(logits, (rows, 1)), keys, jnp.full(rows, i), *options)[0]
    )
    drawn = np.stack([several(i) for i in range(count)])
    wanted = np.exp(logits / 0.7) / np.exp(logits / 0.7).sum()
    total = rows * count
    shares = np.bincount(drawn.ravel(), minlength=320) / total
    assert np.all(np.abs(shares - wanted) <= 5 * np.sqrt(wanted / total) + 10 / total)
    # Of two draws of one request, and of neighbours, no more are equal than chance has it.
    chance = np.sum(wanted**2)
    for first, second in ((drawn[1:], drawn[:-1]), (drawn[:, 1:], drawn[:, :-1])):
        assert abs(np.mean(first == second) - chance) < 5 * np.sqrt(chance / total)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_the_ends_of_the_unit_interval_draw_what_has_weight(uniform):
    weights = np.zeros((3, 1000), np.float32)
    weights[0, 17], weights[1, [3, 900]], weights[2, 999] = 1e-30, (1e-8, 1.0), 3e38 / 1000
    first, last = np.argmax(weights > 0, axis=-1), 999 - np.argmax(weights[:, ::-1] > 0, axis=-1)
    found = np.asarray(draw(weights, np.full((3, 2), uniform, np.float32)))
    np.testing.assert_array_equal(found, last if uniform else first)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("options", [(0, 1.0), (20, 0.95), (0, 0.5)])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_show_in_the_logprob(temperature, options, broken):
    """Also where a mask hides them; the token is one of the vocabulary, the other row is whole."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((3, 1187)).astype(np.float32)
    logits[0, 1000], logits[1] = broken, broken
    tokens, logprobs = jax.jit(sample)(
        logits, np.zeros((3, 2), np.uint32), np.arange(3), np.full(3, temperature, np.float32),
        np.full(3, options[0]), np.full(3, options[1], np.float32),
        np.arange(1187) < np.full((3, 1), 900),
    )  # fmt: skip
    assert np.all((tokens >= 0) & (tokens < 1187))
    np.testing.assert_array_equal(np.isfinite(logprobs), [False, False, True])


def _rows(vocab_size):
    """Logits, keys and options of rows of every kind."""
    rng = np.random.default_rng(0)
    logits = 3 * rng.standard_normal((8, vocab_size)).astype(np.float32)
    logits[0, [30, 70]] = 90.0
    logits[6] *= 0.1
    keys = rng.integers(0, 2**32, (8, 2), dtype=np.uint32)
    options = (
        np.arange(8, dtype=np.int32),
        np.float32([0, 1, 1, 0.5, 2, 1, 1, 0.1]),
        np.int32([0, 0, 5, 100, 0, 0, 0, 3]),
        np.float32([1, 1, 0.9, 1, 0.3, 1, 0.9, 1]),
        rng.random((8, vocab_size)) < 0.8,
    )
    options[-1][0] = True
    return logits, keys, options


@pytest.mark.parametrize("masked", [True, False])
def test_a_sample_depends_on_its_own_row_alone(masked):
    """Bit for bit, whatever company it has; greedy rows take the first of the highest logits."""
    logits, keys, options = _rows(997)
    arrays = (logits, keys, *(options if masked else options[:-1]))
    jitted = jax.jit(sample)
    tokens, logprobs = map(np.asarray, jitted(*arrays))
    assert tokens[0] == 30
    assert not masked or options[-1][range(8), tokens].all()
    orders = [np.roll(np.arange(8), shift) for shift in (1, 3)]
    orders += [np.full(8, row) for row in range(8)]
    for order in orders:
        others = jitted(*(array[order] for array in arrays))
        np.testing.assert_array_equal(others[0], tokens[order])
        np.testing.assert_array_equal(others[1], logprobs[order])
    scaled = torch.tensor(logits / np.where(options[1] == 0, 1, options[1])[:, None])
    wanted = torch.log_softmax(scaled, -1).numpy()[range(8), tokens]
    np.testing.assert_allclose(logprobs, wanted, atol=2e-5)


@pytest.mark.parametrize("platform", ["cpu", "default"])
@pytest.mark.parametrize("shape", [(2, 4), (1, 8)])
def test_a_sharded_vocabulary_gives_the_same_sample(shape, platform, monkeypatch):
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *rows, **by: by[platform](*rows))
    logits, keys, options = _rows(64 * 19)
    mesh = jax.make_mesh(shape, ("data", "tensor"))
    large, small = (NamedSharding(mesh, PartitionSpec("data", *rest)) for rest in (("tensor",), ()))
    shardings = (large, small, small, small, small, small, large)
    one = jax.jit(lambda *arrays: sample(*arrays))(logits, keys, *options)
    sharded = jax.jit(lambda *arrays: sample(*arrays), in_shardings=shardings)
    eight = sharded(logits, keys, *options)
    np.testing.assert_array_equal(eight[0], one[0])
    np.testing.assert_allclose(eight[1], one[1], atol=1e-5)
    # Selecting the first few gathers the logits on a CPU; nothing else does.
    lines = sharded.lower(logits, keys, *options).compile().as_text().splitlines()
    gathered = [line for line in lines if "all-gather(" in line and f"{64 * 19}]" in line]
    assert all("top_k" in line for line in gathered)
