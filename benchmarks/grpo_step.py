"""A whole GRPO step with SmolLM2-135M in float32: ours against TRL and Tunix, on this machine.

    python benchmarks/grpo_step.py [--runs=5] [--modes=lora,full] [--trl-python=VENV/bin/python]
        [--tunix-python=VENV/bin/python] [--output=FILE.json]

A step samples 4 completions of 64 tokens for each of 4 prompts of 128, at temperature 1, rewards a
completion with the share of its ids that are even, and makes one update with AdamW: of adapters of
rank 16 on all linear layers ("lora"), or of all weights ("full"). All sides load the same weights
and get the same prompts, which nobody has seen before. None has a KL term or computes anything
again in the backward pass, each computes gradients of four completions at a time, and none needs
log-probabilities of before the update, since there is one update to a step. Ours computes a prompt
once for its four completions, in sampling and in the update: 384 tokens where others have 768.

Ours are the engine and the learner of a run, put together as `build` does, and fed by
`update_policy`. TRL (`pip install trl peft`) is GRPOTrainer with transformers' generate, Tunix
(`pip install google-tunix`) its GRPOLearner with its own sampler; each has a process of its own,
and is left out where no Python is named that has it. They take turns: a step of each, then the next
of each, while the others wait, after one that compiles.

`update_seconds` are a step's without sampling, `cpu_seconds` what all threads together computed
from a call to its answer; `peak_memory_bytes` are the most that the process held, loading and
compiling included.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from side_by_side import (
    SOURCE,
    Worker,
    alternate,
    prompts,
    ratios,
    serve,
    spread,
    tunix_llama,
    write_weights,
)

TASKS, GROUP, PROMPT, NEW_TOKENS = 4, 4, 128, 64
RANK, ALPHA, LEARNING_RATE = 16, 32.0, 1e-5
MODES = ("lora", "full")
FIGURES = ("seconds", "sampling_seconds", "update_seconds", "cpu_seconds", "peak_memory_bytes")


def reward(ids: Sequence[int]) -> float:
    """The share of even ids."""
    return float(np.mean(np.asarray(ids) % 2 == 0))


def rewards(completions: Sequence[Sequence[int]]) -> list[float]:
    """Of completions, all of which must be of full length."""
    lengths = set(map(len, completions))
    assert lengths == {NEW_TOKENS}, lengths
    return [reward(ids) for ids in completions]


class Ours:
    packages = ("trustee-jax", "jax", "jaxlib")

    def __init__(self, folder: str, mode: str):
        import jax.numpy as jnp

        from trustee_jax.build import abstract_frozen, abstract_policy, load
        from trustee_jax.config import ModelOptions
        from trustee_jax.engine import Engine, EngineConfig
        from trustee_jax.models import make_mesh
        from trustee_jax.rl import Learner, LearnerConfig
        from trustee_jax.training.system import System
        from trustee_jax.weights import open_checkpoint

        checkpoint = open_checkpoint(folder)
        mesh = make_mesh(1, 1, 1)
        rank = RANK if mode == "lora" else 0
        options = ModelOptions(folder, dtype="float32", lora_rank=rank, lora_alpha=ALPHA)
        policy = load(checkpoint, abstract_policy(checkpoint.config, options), mesh, 0)
        config = LearnerConfig(
            LEARNING_RATE,
            updates_per_step=1,
            kl_coef=0.0,
            row_length=PROMPT + GROUP * NEW_TOKENS,
            logprob_chunk=128,
        )
        learner = Learner(policy, mesh, config)
        if mode == "full":
            policy = load(checkpoint, abstract_frozen(checkpoint.config, options), mesh, 0)
        engine = Engine(
            policy,
            mesh,
            EngineConfig(slots=TASKS * GROUP, max_length=PROMPT + NEW_TOKENS),
            checkpoint.tokenizer(),
        )
        environment: Any = None  # Nothing is played.
        self.system = System(learner, {"policy": engine}, environment, jnp.dtype(jnp.float32))

    def run(self, seed: int) -> dict[str, float]:
        from trustee_jax.chat import TokenSequence
        from trustee_jax.engine import Request
        from trustee_jax.rl import Trajectory, update_policy

        tokens = prompts(TASKS, PROMPT, seed)
        engine = self.system.engines["policy"]
        start = time.perf_counter()
        self.system.refresh_policy()
        completions = engine.run(
            [
                Request(row, NEW_TOKENS, (seed, task, episode), "policy")
                for task, row in enumerate(tokens)
                for episode in range(GROUP)
            ]
        )
        sampled = time.perf_counter()
        groups: list[list[Trajectory]] = [[] for _ in range(TASKS)]
        for i, completion in enumerate(completions):
            assert len(completion.tokens) == NEW_TOKENS
            prompt = tokens[i // GROUP]
            sequence = TokenSequence(
                np.concatenate([prompt, completion.tokens]),
                np.arange(PROMPT + NEW_TOKENS) >= PROMPT,
                np.concatenate([np.zeros(PROMPT, np.float32), completion.logprobs]),
            )
            groups[i // GROUP].append(Trajectory([sequence], reward(completion.tokens)))
        scalars, _ = update_policy(self.system.learner, groups, silent)
        end = time.perf_counter()
        assert scalars["learner/updates"] == 1
        return figures(start, sampled - start, end)


@contextlib.contextmanager
def silent(updates: int) -> Iterator[Callable[[int, int], None]]:
    yield lambda done, tokens: None


def figures(start: float, sampling: float, end: float) -> dict[str, float]:
    return {
        "seconds": end - start,
        "sampling_seconds": sampling,
        "update_seconds": end - start - sampling,
    }


class Timed:
    """A function whose seconds add up."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.seconds = 0.0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = self.function(*arguments, **options)
        self.seconds += time.perf_counter() - start
        return result


def ids_tokenizer(size: int) -> Any:
    """A tokenizer whose texts are ids, as numbers; <end> is 0, pads, and ends a text."""
    import tokenizers
    import transformers

    words = {"<end>": 0} | {str(i): i for i in range(1, size)}
    model = tokenizers.models.WordLevel(words, unk_token="<end>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<end>", eos_token="<end>", padding_side="left"
    )


def texts(seed: int) -> list[str]:
    return [" ".join(map(str, row)) for row in prompts(TASKS, PROMPT, seed).tolist()]


class Trl:
    packages = ("trl", "peft", "transformers", "torch")

    def __init__(self, folder: str, mode: str):
        import datasets
        import torch
        import transformers
        import trl

        self.new_dataset = datasets.Dataset.from_dict
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        adapter = None
        if mode == "lora":
            import peft

            adapter = peft.LoraConfig(
                r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"
            )
        config = trl.GRPOConfig(
            output_dir=os.path.join(folder, "trl"),
            per_device_train_batch_size=GROUP,
            gradient_accumulation_steps=TASKS,
            num_generations=GROUP,
            max_completion_length=NEW_TOKENS,
            generation_kwargs={"min_new_tokens": NEW_TOKENS},
            temperature=1.0,
            beta=0.0,
            learning_rate=LEARNING_RATE,
            max_steps=1,
            gradient_checkpointing=False,
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        )
        self.trainer = trl.GRPOTrainer(
            model,
            lambda completion_ids, **_: rewards(completion_ids),
            config,
            train_dataset=self.new_dataset({"prompt": texts(0)}),
            processing_class=ids_tokenizer(model.config.vocab_size),
            peft_config=adapter,
        )
        self.generate = self.trainer._generate = Timed(self.trainer._generate)
        steps = Timed(lambda: None)  # of the step itself, not of what `train` prepares for it

        class Clock(transformers.TrainerCallback):
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                steps.seconds -= time.perf_counter()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                steps.seconds += time.perf_counter()

        self.steps = steps
        self.trainer.add_callback(Clock())

    def run(self, seed: int) -> dict[str, float]:
        self.trainer.train_dataset = self.new_dataset({"prompt": texts(seed)})
        self.generate.seconds = self.steps.seconds = 0.0
        self.trainer.train()
        return figures(0.0, self.generate.seconds, self.steps.seconds)


class Tunix:
    packages = ("google-tunix", "qwix", "jax", "jaxlib")

    def __init__(self, folder: str, mode: str):
        import jax
        import optax
        from tunix.rl import rl_cluster
        from tunix.rl.grpo import grpo_learner
        from tunix.rl.rollout import base_rollout

        model, mesh = tunix_llama(folder)
        if mode == "lora":
            import qwix

            provider = qwix.LoraProvider(
                module_path=".*(q|k|v|o|kv|gate|up|down)_proj", rank=RANK, alpha=ALPHA
            )
            with jax.set_mesh(mesh):
                model = qwix.apply_lora_to_model(model, provider, **model.get_model_input())
        roles = rl_cluster.Role
        config = rl_cluster.ClusterConfig(
            role_to_mesh=dict.fromkeys((roles.ACTOR, roles.REFERENCE, roles.ROLLOUT), mesh),
            training_config=rl_cluster.RLTrainingConfig(
                actor_optimizer=optax.adamw(LEARNING_RATE),
                eval_every_n_steps=1_000_000,
                max_steps=1_000_000,
                mini_batch_size=TASKS,
                train_micro_batch_size=1,
                rollout_micro_batch_size=TASKS,
                compute_logps_micro_batch_size=1,
            ),
            rollout_config=base_rollout.RolloutConfig(
                max_tokens_to_generate=NEW_TOKENS,
                max_prompt_length=PROMPT,
                kv_cache_size=PROMPT + NEW_TOKENS,
                temperature=1.0,
                eos_tokens=[-1],
            ),
        )
        tokenizer = ids_tokenizer(model.config.vocab_size)
        self.cluster = rl_cluster.RLCluster(actor=model, tokenizer=tokenizer, cluster_config=config)
        self.generate = self.cluster.generate = Timed(self.cluster.generate)
        self.cluster.close = lambda: None  # after one step: there will be more
        self.learner = grpo_learner.GRPOLearner(
            rl_cluster=self.cluster,
            algo_config=grpo_learner.GRPOConfig(num_generations=GROUP, beta=0.0),
            reward_fns=lambda prompts, completions, **_: rewards(
                [tokenizer.convert_tokens_to_ids(text.split()) for text in completions]
            ),
        )

    def run(self, seed: int) -> dict[str, float]:
        import jax
        from flax import nnx

        self.generate.seconds = 0.0
        start = time.perf_counter()
        self.learner.train([{"prompts": texts(seed)}])
        jax.block_until_ready(nnx.state(self.cluster.actor_trainer.model))
        return figures(start, self.generate.seconds, time.perf_counter())


SIDES = {"ours": Ours, "trl": Trl, "tunix": Tunix}


def compare(pythons: dict[str, str], folder: str, mode: str, runs: int) -> dict[str, Any]:
    """The figures of all sides in one mode, and theirs over ours, step by step."""
    sides = {
        name: Worker(python, __file__, f"--worker={name}", f"--folder={folder}", f"--modes={mode}")
        for name, python in pythons.items()
    }
    found = alternate(sides, runs)
    case: dict[str, Any] = {"versions": {name: worker.versions for name, worker in sides.items()}}
    for worker in sides.values():
        worker.close()
    for name, results in found.items():
        case[name] = {figure: spread([r[figure] for r in results]) for figure in FIGURES}
    for name in found:
        if name != "ours":
            case[f"{name}/ours"] = {
                figure: ratios([r[figure] for r in found[name]], [r[figure] for r in found["ours"]])
                for figure in FIGURES
            }
    print(mode, json.dumps(case), flush=True)
    return case


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--trl-python")
    parser.add_argument("--tunix-python")
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        serve(SIDES[arguments.worker], arguments.folder, arguments.modes)
        return
    others = {"trl": arguments.trl_python, "tunix": arguments.tunix_python}
    pythons = {"ours": sys.executable} | {name: path for name, path in others.items() if path}

    from trustee_jax.bench import machine

    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / "weights"
        write_weights(folder)
        report = {
            **machine.describe(),
            "source": SOURCE,
            "runs": arguments.runs,
            "step": {
                "prompts": TASKS,
                "completions_of_each": GROUP,
                "prompt_tokens": PROMPT,
                "new_tokens": NEW_TOKENS,
            },
            "modes": {
                mode: compare(pythons, str(folder), mode, arguments.runs)
                for mode in arguments.modes.split(",")
            },
        }
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
