"""The learner against the engine, against itself unpacked, and at a task it can learn."""

import dataclasses
import re

import jax
import numpy as np
import pytest
from flax import nnx

from trustee_jax.chat import TokenSequence
from trustee_jax.engine import Engine, EngineConfig, Request
from trustee_jax.errors import ConfigError
from trustee_jax.rl import Learner, LearnerConfig, PackedBatch, Sample, group_status, pack
from trustee_jax.rl.programs import Programs, split_trainable

CONFIG = LearnerConfig(
    row_length=128, logprob_chunk=32, learning_rate=1e-3, updates_per_step=1, kl_coef=0.01
)
ENGINE = EngineConfig(slots=8, max_length=128, page_size=16, prefill_rows=4, prefill_tokens=16)


def _episodes(engine, groups=2, size=4, seed=0):
    """Two sampled turns with foreign tokens in between, from prompts shared by a group."""
    rng = np.random.default_rng(seed)
    samples = []
    for g in range(groups):
        prompt = rng.integers(0, 320, 10 + 13 * g).astype(np.int32)
        requests = [Request(prompt, 6 + e, (g, e, 0), "policy") for e in range(size)]
        first = engine.run(requests)
        between = [rng.integers(0, 320, 3 + e).astype(np.int32) for e in range(size)]
        contexts = [
            np.concatenate([prompt, f.tokens, b]) for f, b in zip(first, between, strict=True)
        ]
        second = engine.run([Request(c, 5, (g, e, 1), "policy") for e, c in enumerate(contexts)])
        group = []
        for e, context in enumerate(contexts):
            tokens = np.concatenate([context, second[e].tokens])
            sampled = np.zeros(len(tokens), bool)
            logprobs = np.zeros(len(tokens), np.float32)
            for start, part in ((len(prompt), first[e]), (len(context), second[e])):
                sampled[start : start + len(part.tokens)] = True
                logprobs[start : start + len(part.tokens)] = part.logprobs
            group.append(Sample(TokenSequence(tokens, sampled, logprobs), (-1.0) ** e))
        samples.append(group)
    return samples


@pytest.mark.parametrize("quantization", [None, "int8"])
@pytest.mark.parametrize("scan", [False, True], ids=["unrolled", "scanned"])
def test_engine_and_learner_agree_packed_and_unpacked(scan, quantization, tiny):
    options = {"scan_layers": scan, "quantization": quantization}
    model = tiny.with_lora("qwen3-untied-1e4", remat="blocks", **options)
    samples = _episodes(Engine(model, tiny.mesh, ENGINE, None))
    learner = Learner(model, tiny.mesh, CONFIG)
    packed = pack(samples, CONFIG.row_length)
    unpacked = pack([[sample] for group in samples for sample in group], CONFIG.row_length)
    assert packed.num_tokens < unpacked.num_tokens
    for batch in (packed, unpacked):
        values = learner.logprobs(batch)
        assert np.abs(values - batch.sampler_logprobs)[batch.loss_mask > 0].max() < 1e-4
    metrics = learner.update(packed)
    assert metrics["logprob_difference_max"] < 1e-4
    assert metrics["kl"] > 0  # these adapters are not zero


def _gradients(learner, batch):
    """d loss / d params, read off the first moment of AdamW after one update: mu = (1 - b1) g."""
    learner.update(batch)
    states = jax.tree.leaves(learner.state.optimizer, is_leaf=lambda x: hasattr(x, "mu"))
    (moments,) = [state for state in states if hasattr(state, "mu")]
    return jax.tree.map(lambda mu: np.asarray(mu) / (1 - learner.config.b1), moments.mu)


@pytest.mark.parametrize("rows", [1, 2])
def test_an_update_in_parts_is_the_same_but_for_rounding(rows, tiny):
    model = tiny.with_lora("qwen2-tied-1e6")
    samples = _episodes(Engine(model, tiny.mesh, ENGINE, None), groups=4)
    config = dataclasses.replace(CONFIG, rows_per_micro_batch=rows)
    whole, parts = (Learner(model, tiny.mesh, config) for _ in range(2))
    batch = pack(samples, CONFIG.row_length, whole.rows)
    for _ in range(2):
        expected = whole.update(batch)
        work, found, count = parts.update_in_parts(batch), None, 0
        while found is None:
            try:
                next(work)
                count += 1
            except StopIteration as end:
                found = end.value
        assert count == len(batch.tokens) // rows > 1
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name] == pytest.approx(float(value), rel=1e-4, abs=1e-6), name
    for one, other in zip(*map(jax.tree.leaves, (parts.state, whole.state)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert not found["skipped"]


# What is of a sequence or an episode as a whole, wherever it stands.
WHOLE = {"importance_ratio": "sequence", "aggregation": "sequence_mean"}


@pytest.mark.parametrize("options", [{}, WHOLE], ids=["tokens", "sequences"])
@pytest.mark.parametrize("rows", [1, 2])
def test_packing_and_micro_batches_leave_the_gradient_alone(rows, options, tiny):
    model = tiny.with_lora("qwen2-tied-1e6")
    samples = _episodes(Engine(model, tiny.mesh, ENGINE, None))
    config = dataclasses.replace(CONFIG, max_grad_norm=0.0, **options)

    def gradients(groups, rows):
        learner = Learner(model, tiny.mesh, dataclasses.replace(config, rows_per_micro_batch=rows))
        return _gradients(learner, pack(groups, config.row_length, rows))

    expected = gradients([[sample] for group in samples for sample in group], 1)
    actual = gradients(samples, rows)
    norm = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    assert norm > 1e-4
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(1, norm))


@pytest.mark.parametrize("options", [{}, WHOLE], ids=["tokens", "sequences"])
def test_eight_devices_compute_the_gradients_of_one(options, tiny):
    kind = "qwen3-untied-1e4"
    samples = _episodes(Engine(tiny.with_lora(kind), tiny.mesh, ENGINE, None))
    results = []
    for shape in ((1, 1, 1), (2, 2, 2)):
        mesh = tiny.make_mesh(*shape)
        config = dataclasses.replace(CONFIG, max_grad_norm=0.0, **options)
        learner = Learner(tiny.with_lora(kind, mesh=mesh), mesh, config)
        assert learner.rows == shape[0] * shape[1]
        results.append(_gradients(learner, pack(samples, config.row_length, learner.rows)))
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_full_fine_tuning_trains_every_parameter_against_a_reference(tiny):
    model = tiny.ours("qwen3-tied-1e6")
    samples = _episodes(Engine(model, tiny.mesh, ENGINE, None))
    _, reference = nnx.split(tiny.ours("qwen3-tied-1e6"))
    with pytest.raises(ConfigError, match="kl_coef"):
        Learner(model, tiny.mesh, CONFIG)
    learner = Learner(model, tiny.mesh, CONFIG, reference=reference)
    before = jax.tree.map(np.array, learner.state.params)
    batch = pack(samples, CONFIG.row_length)
    assert learner.update(batch)["kl"] < 1e-6
    after = learner.state.params
    moved = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - b).max() > 0, after, before)
    assert all(jax.tree.leaves(moved))
    # The policy has left the reference, which has stayed.
    assert learner.update(batch)["kl"] > 1e-6


def test_a_batch_for_another_mesh_is_refused(tiny):
    model = tiny.with_lora("qwen2-tied-1e6")
    config = dataclasses.replace(CONFIG, rows_per_micro_batch=6)
    with pytest.raises(ConfigError, match=r"rows_per_micro_batch = 6: .* multiple .* = 4"):
        Learner(model, tiny.make_mesh(2, 2, 2), config)


def bandit(tiny, steps=30):
    """Rewards 10 of 320 tokens; returns their rate before and after.

    The output layer is frozen and the hidden state's norm is fixed, which bounds how sure such a
    small model can become (at about 0.6).
    """
    model = tiny.ours("qwen3-tied-1e6", lora=tiny.LoRAConfig(8, 16.0))
    engine = Engine(model, tiny.mesh, dataclasses.replace(ENGINE, slots=64), None)
    config = dataclasses.replace(CONFIG, learning_rate=3e-2, kl_coef=0.0)
    learner = Learner(model, tiny.mesh, config)
    prompt = np.arange(5, dtype=np.int32)

    def play(step, count=64):
        draws = engine.run([Request(prompt, 1, (step, i), "policy") for i in range(count)])
        return draws, np.array([float(draw.tokens[0] % 32 == 7) for draw in draws])

    before = play(1000, 256)[1].mean()
    for step in range(steps):
        draws, rewards = play(step)
        if group_status(rewards.tolist()) != "trainable":
            continue
        (advantages,) = learner.objective.advantages([rewards.tolist()])
        group = [
            Sample(
                TokenSequence(
                    np.append(prompt, draw.tokens),
                    np.arange(6) == 5,
                    np.append(np.zeros(5, np.float32), draw.logprobs),
                ),
                float(advantage),
            )
            for draw, advantage in zip(draws, advantages, strict=True)
        ]
        learner.update(pack([group], config.row_length))
        engine.update(learner.state.params)
    return before, play(2000, 256)[1].mean()


def test_learns_a_bandit(tiny):
    before, after = bandit(tiny)
    assert before < 0.05
    assert after > 0.5


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_a_frozen_embedding_has_no_gradient(lora, tiny):
    """With adapters nothing of the (tied) embedding's size is made in an update, not even zeros."""
    kind = "qwen2-tied-1e6"
    model = tiny.with_lora(kind) if lora else tiny.ours(kind)
    programs = Programs(model, tiny.mesh, CONFIG)
    _, _, frozen = split_trainable(model)
    batch = jax.tree.map(lambda x: x[None], PackedBatch.empty(1, CONFIG.row_length))
    traced = programs.update.trace(programs.abstract_state(), frozen, batch, np.int32(1))
    made = re.findall(r":f32\[320,64\] = (\w+)", str(traced.jaxpr))
    assert bool(made) is not lora, made
