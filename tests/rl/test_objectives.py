"""Every option of the objective and every preset against float64 NumPy and against TRL's loss.

`pytest -s tests/rl/test_objectives.py -k table` prints the largest differences.
"""

import collections
import dataclasses
import functools
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trustee_jax import build
from trustee_jax.chat import TokenSequence
from trustee_jax.commands import main as cli
from trustee_jax.config import OBJECTIVES, parse
from trustee_jax.errors import ConfigError
from trustee_jax.rl import (
    Learner,
    LearnerConfig,
    Objective,
    Trajectory,
    group_status,
    pack,
    update_policy,
)
from trustee_jax.rl.learning import make_samples
from trustee_jax.rl.packing import PackedBatch

ROWS = {"row_length": 32, "logprob_chunk": 16}
# (rewards, truncated): plain; with an invalid one; without variance; a single survivor; a truncated
# one that stays in the mean; kept ones that are exactly at the mean; nothing but truncated ones.
GROUPS = [
    ([1.0, -1.0, 0.0, 1.0], [0, 1, 0, 0]),
    ([1.0, None, -1.0, -1.0], [0, 0, 0, 0]),
    ([0.0, 0.0, 0.0, None], [0, 0, 0, 0]),
    ([None, None, 1.0, None], [0, 0, 0, 0]),
    ([1.0, 0.0, 0.25], [1, 0, 0]),
    ([0.5, 0.0, 1.0], [0, 1, 1]),
    ([1.0, 0.0], [1, 1]),
]
CISPO = '''
import jax
import jax.numpy as jnp

def cispo(logprobs, ratio, batch, config):
    """CISPO (MiniMax-M1, arXiv 2506.13585, eq. 4)."""
    bound = config.clip_epsilon_high
    weight = jax.lax.stop_gradient(jnp.minimum(ratio, bound))
    return -weight * batch.advantages * logprobs, {"cispo_clipped": ratio > bound}
'''
CASES = {
    "trustee": {},
    "leave_one_out": {"advantage_baseline": "leave_one_out"},
    "batch_std": {"advantage_scale": "batch_std"},
    "none": {"advantage_scale": "none"},
    "sequence": {"importance_ratio": "sequence"},
    "sequence_mean": {"aggregation": "sequence_mean"},
    "fixed_length": {"aggregation": "fixed_length", "fixed_length": 40},
    "reinforce": {"loss": "reinforce"},
    "clip_epsilon_high": {"clip_epsilon_high": 0.35},
    "mask_truncated": {"mask_truncated": True},
    "mask_truncated, keep": {"mask_truncated": True, "zero_variance_groups": "keep"},
    "tis_cap": {"tis_cap": 1.1},
    "tis_cap, sequence": {"tis_cap": 1.1, "importance_ratio": "sequence", "kl_coef": 0.05},
    "zero_variance_groups": {"zero_variance_groups": "keep", "kl_coef": 0.05},
    "a user's (CISPO)": {"loss": "cispo.py:cispo", "clip_epsilon_high": 1.1},
} | {
    preset: {name.removeprefix("learner."): value for name, value in options.items()}
    for preset, options in OBJECTIVES.items()
}


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Log-probabilities of all targets, by token id: each token occurs once as a target."""

    logp: np.ndarray
    sampler: np.ndarray
    old: np.ndarray
    ref: np.ndarray


def make(config, sequences):
    """Groups with up to so many sequences an episode, and numbers that some clips bite on."""
    rng = np.random.default_rng(0)
    token, groups = 1, []
    for rewards, truncated in GROUPS:
        prompt, group = rng.integers(1000, 2000, 4), []
        for reward, cut in zip(rewards, truncated, strict=True):
            parts = []
            for _ in range(rng.integers(1, sequences + 1)):
                length = int(rng.integers(2, 9))
                sampled = np.append(rng.random(length - 1) < 0.7, True)
                tokens = np.concatenate([prompt, np.arange(token, token + length)])
                parts.append((tokens, np.concatenate([np.zeros(4, bool), sampled])))
                token += length
            group.append((reward, bool(cut), parts))
        groups.append(group)
    width = min(config.clip_epsilon, 0.2)

    def noise(scale):
        return rng.normal(0, scale, token)

    logp = rng.normal(-2, 0.5, token)
    old = logp + noise(2 * width)
    sampler = old + noise(0.1) if config.tis_cap else old
    ref = logp + noise(0.5)
    numbers = Numbers(*(x.astype(np.float32) for x in (logp, sampler, old, ref)))
    made = [
        [
            Trajectory(
                [
                    TokenSequence(
                        tokens.astype(np.int32),
                        sampled,
                        np.where(sampled, numbers.sampler[np.where(sampled, tokens, 0)], 0),
                    )
                    for tokens, sampled in parts
                ],
                reward,
                cut,
            )
            for reward, cut, parts in group
        ]
        for group in groups
    ]
    return made, numbers


def ours(config, groups, numbers):
    """Loss and its gradient by each log-probability, by token id."""
    objective = Objective(config)
    samples = make_samples(groups, objective, config)
    batch = pack(samples, config.row_length)
    assert len(batch.tokens) > 1
    batch = dataclasses.replace(
        batch,
        old_logprobs=np.where(batch.loss_mask > 0, numbers.old[batch.targets], 0),
        ref_logprobs=np.where(batch.loss_mask > 0, numbers.ref[batch.targets], 0),
    )

    def loss(logprobs):
        return objective(logprobs, batch)[0] / objective.denominator(batch)

    logprobs = jnp.where(batch.loss_mask > 0, numbers.logp[batch.targets], 0)
    value, gradient = jax.jit(jax.value_and_grad(loss))(logprobs)
    by_token = np.zeros(len(numbers.logp))
    np.add.at(by_token, batch.targets, np.where(batch.loss_mask > 0, gradient, 0))
    return float(value), by_token


# The formulas, in float64 and without arrays.


def reference_advantages(config, groups):
    """[(episode, advantage)] of those that are trained on."""
    everyone = [
        [e.reward for e in group if e.reward is not None]
        for group in groups
        if sum(e.reward is not None for e in group) >= 2
    ]
    found = []
    for group in groups:
        valid = [episode for episode in group if episode.reward is not None]
        if len(valid) < 2:
            continue
        rewards = [episode.reward for episode in valid]
        mean = sum(rewards) / len(rewards)
        kept = [e for e in valid if not (config.mask_truncated and e.truncated)]
        if all(e.reward == mean for e in kept) and config.zero_variance_groups == "drop":
            continue
        for episode in kept:
            others = (sum(rewards) - episode.reward) / (len(rewards) - 1)
            leave_one_out = config.advantage_baseline == "leave_one_out"
            advantage = episode.reward - (others if leave_one_out else mean)
            if config.advantage_scale == "group_std":
                advantage /= np.std(rewards) + 1e-6
            elif config.advantage_scale == "batch_std":
                advantage /= np.std(np.concatenate(everyone)) + 1e-6
            found.append((episode, advantage))
    return found


def reference_loss(config, advantages, numbers, logp):
    episodes = []
    for episode, advantage in advantages:
        terms = []
        for sequence in episode.sequences:
            tokens = sequence.tokens[sequence.sampled]
            old = numbers.old if config.tis_cap else numbers.sampler
            ratios = np.exp(logp[tokens] - old[tokens])
            if config.importance_ratio == "sequence":
                ratios = np.full(len(tokens), np.prod(ratios) ** (1 / len(tokens)))
            for token, ratio in zip(tokens, ratios, strict=True):
                low = 1 - config.clip_epsilon
                high = 1 + (config.clip_epsilon_high or config.clip_epsilon)
                if config.loss == "clip":
                    term = -min(ratio * advantage, min(max(ratio, low), high) * advantage)
                elif config.loss == "reinforce":
                    term = -advantage * logp[token]
                else:  # the weight has no gradient
                    fixed = np.exp(numbers.logp[token].astype(float) - old[token])
                    term = -min(fixed, config.clip_epsilon_high) * advantage * logp[token]
                if config.tis_cap:
                    weight = np.exp(numbers.old[token].astype(float) - numbers.sampler[token])
                    term *= min(weight, config.tis_cap)
                d = numbers.ref[token] - logp[token]
                terms.append(term + config.kl_coef * (np.exp(d) - d - 1))
        episodes.append(terms)
    if config.aggregation == "token_mean":
        return sum(map(sum, episodes)) / sum(map(len, episodes))
    if config.aggregation == "sequence_mean":
        return sum(sum(terms) / len(terms) for terms in episodes) / len(episodes)
    return sum(sum(terms) for terms in episodes) / (config.fixed_length or 32) / len(episodes)


def reference(config, groups, numbers):
    """Loss, and its gradient by central differences."""
    advantages = reference_advantages(config, groups)
    exact = numbers.logp.astype(np.float64)

    def loss(logp):
        return reference_loss(config, advantages, numbers, logp)

    gradient, step = np.zeros(len(exact)), 1e-6
    for token in {t for e, _ in advantages for s in e.sequences for t in s.tokens[s.sampled]}:
        shift = np.zeros(len(exact))
        shift[token] = step
        gradient[token] = (loss(exact + shift) - loss(exact - shift)) / (2 * step)
    return loss(exact), gradient


# TRL's own loss.


def trl(config, groups, numbers):
    """Loss and gradient of TRL on the same numbers, in float64; None where it has no such loss.

    It gets the episodes that are trained on.
    """
    torch = pytest.importorskip("torch")
    trainers = pytest.importorskip("trl.trainer.grpo_trainer")
    if config.loss == "reinforce":
        return trl_rloo(config, groups, numbers)
    kind = {"token_mean": "dapo", "sequence_mean": "grpo", "fixed_length": "dr_grpo"}
    if config.loss != "clip":
        kind = {"token_mean": "cispo"}
    tokens, mask, advantages = _padded(config, groups)
    trainer = _bare(trainers.GRPOTrainer, config, tokens.shape[1])
    trainer.loss_type = kind[config.aggregation]
    trainer.max_completion_length = config.fixed_length or config.row_length
    leaf = torch.tensor(numbers.logp[tokens].astype(np.float64), requires_grad=True)
    sampler, old, ref = (
        torch.tensor(x[tokens].astype(np.float64))
        for x in (numbers.sampler, numbers.old, numbers.ref)
    )
    inputs = {
        "prompt_ids": torch.zeros((len(tokens), 1)),
        "prompt_mask": torch.ones((len(tokens), 1)),
        "completion_ids": torch.tensor(tokens),
        "completion_mask": torch.tensor(mask),
        "advantages": torch.tensor(advantages),
        "old_per_token_logps": old if config.tis_cap else sampler,
        "ref_per_token_logps": ref,
        "num_items_in_batch": torch.tensor(mask.sum()),
        "importance_sampling_ratio": torch.exp(old - sampler).clamp(max=config.tis_cap or 1.0),
    }
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (
        leaf,
        torch.zeros(tokens.shape),
        None,
    )
    loss = trainer._compute_loss(None, inputs)
    loss.backward()
    gradient = np.zeros(len(numbers.logp))
    np.add.at(gradient, tokens, leaf.grad.numpy() * mask)
    return float(loss.detach()), gradient


def trl_rloo(config, groups, numbers):
    """TRL's RLOO clips a ratio of whole sequences; where it is 1, its gradient is REINFORCE's."""
    import torch
    from trl.trainer.rloo_trainer import RLOOTrainer

    if config.aggregation != "fixed_length" or config.kl_coef:
        return None
    tokens, mask, advantages = _padded(config, groups)
    trainer = _bare(RLOOTrainer, config, tokens.shape[1])
    leaf = torch.tensor(numbers.logp[tokens].astype(np.float64), requires_grad=True)
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (
        leaf,
        torch.zeros(tokens.shape),
        None,
    )
    inputs = {
        "prompt_ids": torch.zeros((len(tokens), 1)),
        "prompt_mask": torch.ones((len(tokens), 1)),
        "completion_ids": torch.tensor(tokens),
        "completion_mask": torch.tensor(mask),
        "advantages": torch.tensor(advantages),
        "old_logps": (leaf.detach() * torch.tensor(mask)).sum(1),
    }
    trainer._compute_loss(None, inputs).backward()
    gradient = np.zeros(len(numbers.logp))
    np.add.at(gradient, tokens, leaf.grad.numpy() * mask)
    return None, gradient / config.fixed_length


def _padded(config, groups):
    """Targets of each episode that is trained on, padded, and its advantage."""
    rows = [(e.sequences[0], a) for e, a in reference_advantages(config, groups)]
    length = max(int(sequence.sampled.sum()) for sequence, _ in rows)
    tokens, mask = np.zeros((len(rows), length), int), np.zeros((len(rows), length))
    for i, (sequence, _) in enumerate(rows):
        count = int(sequence.sampled.sum())
        tokens[i, :count], mask[i, :count] = sequence.tokens[sequence.sampled], 1
    return tokens, mask, np.array([advantage for _, advantage in rows])


def _bare(kind, config, length):
    """A trainer without model and data, with what its loss reads."""
    trainer = kind.__new__(kind)
    vars(trainer).update(
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level=config.importance_ratio,
        beta=config.kl_coef,
        args=types.SimpleNamespace(
            use_bias_correction_kl=False, delta=None, steps_per_generation=1
        ),
        epsilon_low=config.clip_epsilon,
        epsilon_high=config.clip_epsilon_high or config.clip_epsilon,
        use_vllm=config.tis_cap is not None,
        vllm_importance_sampling_correction=True,
        _entropy_bonus_enabled=False,
        model=types.SimpleNamespace(training=True),
        current_gradient_accumulation_steps=1,
        accelerator=types.SimpleNamespace(
            num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x
        ),
        _metrics={"train": collections.defaultdict(list)},
    )
    return trainer


# The comparison.


@pytest.fixture(scope="module", autouse=True)
def user_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    (folder / "cispo.py").write_text(CISPO)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder / "cispo.py"


@functools.cache
def differences(name):
    """Of loss and of gradient, the latter relative to its largest entry: NumPy's, then TRL's."""
    config = LearnerConfig(**ROWS | {"kl_coef": 0.01} | CASES[name])
    found = []
    for sequences, other in ((2, reference), (1, reference), (1, trl)):
        groups, numbers = make(config, sequences)
        value, gradient = ours(config, groups, numbers)
        expected = other(config, groups, numbers)
        if expected is None:
            found.append((None, None))
            continue
        assert np.abs(expected[1]).max() > 1e-4
        relative = np.abs(gradient - expected[1]).max() / np.abs(expected[1]).max()
        found.append((None if expected[0] is None else abs(value - expected[0]), relative))
    numpy_ = tuple(max(found[0][i], found[1][i]) for i in range(2))
    return (*numpy_, *found[2])


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_those_of_the_paper_and_of_trl(name):
    found = differences(name)
    assert found[0] is not None and found[1] is not None
    assert all(difference <= 1e-6 for difference in found if difference is not None), found


def test_the_table_of_differences():
    print(f"\n{'':22}{'NumPy':^20}{'TRL':^20}")
    print(f"{'':22}{'loss':>10}{'gradient':>10}{'loss':>10}{'gradient':>10}")
    compared = set()
    for name in CASES:
        cells = ["-" if d is None else f"{d:.1e}" for d in differences(name)]
        print(f"{name:22}" + "".join(f"{cell:>10}" for cell in cells))
        if cells[3] != "-":
            compared.add(name)
    assert compared >= set(OBJECTIVES) | {"trustee", "tis_cap", "a user's (CISPO)"}


def test_the_cases_differ_from_each_other():
    """A preset or an option that did nothing would agree with the formula all the same."""
    values = {}
    for name, options in CASES.items():
        # Of the same numbers.
        config = LearnerConfig(**ROWS | {"kl_coef": 0.01} | options)
        groups, numbers = make(LearnerConfig(**ROWS, tis_cap=1.1), 2)
        values[name] = ours(config, groups, numbers)[0]
    assert len({round(value, 6) for value in values.values()}) == len(values), values


# Which groups and episodes are trained on.


@pytest.mark.parametrize(
    ("group", "plain", "masked"),
    [
        (0, "trainable", "trainable"),
        (2, "zero_variance", "zero_variance"),
        (3, "insufficient", "insufficient"),
        (4, "trainable", "trainable"),
        (5, "trainable", "zero_variance"),
        (6, "trainable", "zero_variance"),
    ],
)
def test_truncated_episodes_alone_make_no_group_trainable(group, plain, masked):
    rewards, truncated = GROUPS[group]
    assert group_status(rewards) == plain
    assert group_status(rewards, trained=[not cut for cut in truncated]) == masked


def test_a_truncated_episode_counts_in_the_mean_and_is_not_packed():
    config = LearnerConfig(**ROWS, mask_truncated=True, advantage_scale="none")
    groups, _ = make(config, 1)
    samples = make_samples([groups[4]], Objective(config), config)
    (kept,) = samples
    np.testing.assert_allclose([sample.advantage for sample in kept], [-5 / 12, -1 / 6], rtol=1e-6)


# The whole way.

CONFIG = LearnerConfig(**ROWS, learning_rate=1e-3, updates_per_step=2, kl_coef=0.0)


def played(seed=0, noise=0.0):
    """Two groups; log-probabilities near those of a random model over 320 tokens."""
    rng = np.random.default_rng(seed)
    groups = []
    for _ in range(2):
        prompt = rng.integers(0, 320, 9)
        group = []
        for e in range(3):
            tokens = np.concatenate([prompt, rng.integers(0, 320, 5)]).astype(np.int32)
            sampled = np.arange(14) >= 9
            logprobs = np.where(sampled, rng.normal(-5.8, noise, 14), 0).astype(np.float32)
            group.append(Trajectory([TokenSequence(tokens, sampled, logprobs)], float(e - 1)))
        groups.append(group)
    return groups


class Display:
    """No display."""

    def __call__(self, updates):
        return self

    def __enter__(self):
        return lambda done, tokens: None

    def __exit__(self, *_):
        return None


def test_too_few_groups_to_compare_are_not_learnt_from(tiny):
    equal = [dataclasses.replace(one, reward=1.0) for one in played()[0]]
    groups = [equal, *played(noise=0.5)]
    learner = Learner(tiny.with_lora("qwen2-tied-1e6"), tiny.mesh, CONFIG)
    before = jax.tree.map(np.array, jax.tree.leaves(learner.state))
    metrics, skipped = update_policy(learner, groups, Display(), min_groups=3)
    assert metrics["learner/updates"] == skipped == metrics["learner/tokens"] == 0
    after = jax.tree.leaves(learner.state)
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    metrics, _ = update_policy(learner, groups, Display(), min_groups=2)
    assert metrics["learner/updates"] == 2


def test_one_function_in_a_users_file_is_a_new_loss(tiny, user_file):
    options = {"loss": f"{user_file}:cispo", "clip_epsilon_high": 1.1}
    metrics, trained = {}, {}
    for name, changes in (("clip", {}), ("cispo", options)):
        config = dataclasses.replace(CONFIG, **changes)
        learner = Learner(tiny.with_lora("qwen2-tied-1e6"), tiny.mesh, config)
        metrics[name], skipped = update_policy(learner, played(noise=0.5), Display())
        assert skipped == 0 and metrics[name]["learner/updates"] == 2
        trained[name] = jax.tree.leaves(jax.tree.map(np.asarray, learner.state.params))
    assert 0 < metrics["cispo"]["learner/cispo_clipped"] < 1
    assert "learner/clip_fraction" in metrics["clip"].keys() - metrics["cispo"].keys()
    assert any((a != b).any() for a, b in zip(*trained.values(), strict=True))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def mine(logprobs): ...", "it raised TypeError"),
        ("def mine(logprobs, ratio, batch, config):\n  return logprobs", "must return"),
        ("def mine(logprobs, ratio, batch, config):\n  return logprobs.sum(), {}", "must return"),
        ("def mine(l, r, batch, config):\n  return l, {'a': l.sum()}", "must return"),
        ("def yours(): ...", "no function 'mine'; the file's functions: yours"),
        ("def mine(l, r, batch, config):\n  return (l, {}) if r.sum() > 1 else (r, {})", "Tracer"),
        ("def mine(l, r, batch, config):\n  return -r, {'tokens': r}", "share 'tokens'"),
        ("def mine(l, r, batch, config):\n  return -r, {'r_max': r}", "share 'r_max'"),
        ("def mine(l, r, batch, config):\n  return -r, {1: r}", "share 1"),
    ],
)
def test_a_function_that_is_no_loss_is_refused(tmp_path, text, words):
    file = tmp_path / "mine.py"
    file.write_text(text)
    config = parse({"learner": {"loss": f"{file}:mine"}})
    with pytest.raises(ConfigError, match=words) as caught:
        Objective(config.learner)
    assert caught.value.field == "learner.loss"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scale", ["group_std", "batch_std", "none"])
def test_a_step_without_a_comparable_group_has_no_advantages(scale):
    assert Objective(LearnerConfig(advantage_scale=scale)).advantages([]) == []


@pytest.mark.parametrize(
    ("part", "text", "words"),
    [
        ("advantage_scale", "def mine(groups):\n  return [1.0] * 2", "must return"),
        ("advantage_baseline", "def mine(rewards):\n  return rewards[2]", "raised IndexError"),
        ("advantage_scale", "def mine(groups):\n  return [0.0] * len(groups)", "not finite"),
    ],
)
def test_a_function_of_advantages_is_tried_on_groups_of_other_sizes(tmp_path, part, text, words):
    file = tmp_path / "mine.py"
    file.write_text(text)
    config = parse({"learner": {part: f"{file}:mine"}}).learner
    with pytest.raises(ConfigError, match=words) as caught:
        Objective(config).advantages([[1.0, 1.0]])
    assert caught.value.field == f"learner.{part}"


def test_what_a_loss_makes_of_padding_does_not_count(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import jax.numpy as jnp\n"
        "def mine(logprobs, ratio, batch, config):\n"
        "  loss = -ratio * batch.advantages * jnp.log(batch.lengths)\n"
        "  return loss, {'mine': loss}"
    )
    objective = Objective(parse({"learner": {"loss": f"{file}:mine"}}).learner)
    loss, metrics = objective(jnp.zeros((1, 4)), PackedBatch.empty(1, 4))
    assert loss == 0 and metrics["mine"] == 0


def test_it_is_refused_before_a_weight_is_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(build, "load", None)
    debug = pathlib.Path(__file__).parents[2] / "configs" / "debug.py"
    arguments = ["train", f"--workdir={tmp_path / 'run'}", f"--config={debug}"]
    assert cli.main([*arguments, "--config.learner.loss=no.py:mine"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "learner.loss = 'no.py:mine': there is no file no.py" in error


def test_the_options_of_a_run_can_be_read_where_its_file_is_not():
    assert parse({"learner": {"loss": "no.py:mine"}}).learner.loss == "no.py:mine"


def test_truncated_importance_sampling_scores_all_before_the_first_update(tiny):
    config = dataclasses.replace(CONFIG, tis_cap=1.2)
    learner = Learner(tiny.with_lora("qwen2-tied-1e6"), tiny.mesh, config)
    first = Learner(tiny.with_lora("qwen2-tied-1e6"), tiny.mesh, config)
    batches, results, update = [], [], learner.update

    def spy(batch):
        batches.append(batch)
        results.append(update(batch))
        return results[-1]

    learner.update = spy
    metrics, _ = update_policy(learner, played(noise=0.5), Display())
    assert len(batches) == 2
    shares = []
    for batch in batches:
        expected = first.logprobs(batch)
        np.testing.assert_array_equal(batch.old_logprobs, expected)
        mask = batch.loss_mask > 0
        shares.append((np.exp(expected - batch.sampler_logprobs) > 1.2)[mask].mean())
    assert 0 < np.mean(shares) < 1
    assert metrics["learner/tis_truncated"] == pytest.approx(np.mean(shares))
    # The first update's ratio is of the same weights, although the engine's differ.
    assert results[0]["ratio"] == pytest.approx(1, abs=1e-5)
    assert results[0]["logprob_difference"] > 0.1
    assert results[1]["ratio"] != pytest.approx(1, abs=1e-5)


def test_without_it_nothing_is_scored(tiny):
    learner = Learner(tiny.with_lora("qwen2-tied-1e6"), tiny.mesh, CONFIG)
    learner.logprobs = None
    metrics, _ = update_policy(learner, played(), Display())
    assert "learner/tis_truncated" not in metrics


@pytest.mark.parametrize("loss", ["clip", "reinforce"])
def test_weighed_stale_samples_have_the_gradient_of_fresh_ones(loss):
    """In expectation, by enumeration: every token once, with its probability in its advantage."""
    rng = np.random.default_rng(0)
    logits, older, values = (jnp.asarray(rng.normal(size=8), jnp.float32) for _ in range(3))
    present, stale = jax.nn.log_softmax(logits), jax.nn.log_softmax(older)

    def gradient(cap, *, sampler, old):
        config = LearnerConfig(**ROWS, loss=loss, aggregation="token_mean", kl_coef=0, tis_cap=cap)
        batch = dataclasses.replace(
            jax.tree.map(jnp.asarray, PackedBatch.empty(1, 8)),
            loss_mask=jnp.ones((1, 8)),
            advantages=(values * jnp.exp(sampler))[None],
            sampler_logprobs=sampler[None],
            old_logprobs=old[None],
        )
        objective = Objective(config)
        return jax.grad(lambda x: objective(jax.nn.log_softmax(x)[None], batch)[0])(logits)

    weights = np.exp(present - stale)
    assert weights.max() > 3 and weights.min() < 1 / 3
    # The policy gradient: the sum of p A grad log p, downhill.
    probabilities = np.exp(present)
    advantages = np.asarray(values)
    expected = -probabilities * (advantages - probabilities @ advantages)
    fresh = gradient(None, sampler=present, old=present)
    np.testing.assert_allclose(fresh, expected, atol=1e-6)
    np.testing.assert_allclose(gradient(99.0, sampler=stale, old=present), expected, atol=1e-6)
    # The cap leaves out what is beyond it.
    kept = np.minimum(weights, 1.5) * np.exp(stale)
    capped = -kept * advantages + probabilities * (kept @ advantages)
    np.testing.assert_allclose(gradient(1.5, sampler=stale, old=present), capped, atol=1e-6)
    assert np.abs(capped - expected).max() > 1e-2
    # Uncorrected it is another one.
    assert np.abs(gradient(None, sampler=stale, old=present) - expected).max() > 1e-2


def test_in_parts_all_is_scored_before_the_first_update_too(tiny):
    config = dataclasses.replace(CONFIG, tis_cap=1.2, kl_coef=0.01)
    metrics, trained, parts = {}, {}, 0

    def between(dispatch):
        nonlocal parts
        if in_parts:
            before = learner.state
            # One row for each group: scored, and updated by; the second update ends with the work.
            for _ in range(3):
                dispatch()
                parts += 1
                assert learner.state is before
            dispatch()
            assert learner.state is not before

    for in_parts in (False, True):
        learner = Learner(tiny.with_lora("qwen2-tied-1e6"), tiny.mesh, config)
        metrics[in_parts], _ = update_policy(
            learner, played(noise=0.5), Display(), meanwhile=between, in_parts=in_parts
        )
        trained[in_parts] = jax.tree.leaves(jax.tree.map(np.asarray, learner.state.params))
    assert parts == 3
    assert metrics[True].keys() == metrics[False].keys()
    for name, value in metrics[True].items():
        if not name.startswith(("seconds/", "tokens_per_second/")):
            assert value == pytest.approx(metrics[False][name], rel=1e-4, abs=1e-6), name
    for one, other in zip(trained[True], trained[False], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
