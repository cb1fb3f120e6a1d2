"""An update, the episodes of a step, and a whole step."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any, cast

import jax
import numpy as np

from trustee_jax import chat, streams
from trustee_jax.bench.machine import PeakMemory
from trustee_jax.bench.subject import Subject
from trustee_jax.bench.timing import Case, Figures, NotMeasurableError
from trustee_jax.curriculum import Curriculum
from trustee_jax.engine import Completion, Engine
from trustee_jax.environment import RecentTasks
from trustee_jax.progress import Progress
from trustee_jax.rl import PackedBatch, Sample, pack
from trustee_jax.streams import Purpose
from trustee_jax.training.collect import Group, PhaseStats, RolloutCollector, StepRollouts
from trustee_jax.training.loop import Trainer


def update_cases(subject: Subject) -> Iterator[Case]:
    """One optimizer update."""
    learner = subject.system.learner
    groups = random_groups(subject)
    batch = pack(groups, learner.config.row_length, learner.rows)
    rows, length = batch.tokens.shape
    parameters = {
        "sequences": sum(map(len, groups)),
        "rows": rows,
        "row_length": length,
        "tokens": batch.num_tokens,
        "trained_tokens": int(batch.loss_mask.sum()),
        "filled": round(batch.num_tokens / (rows * length), 4),
        "memory": PeakMemory().kind,
    }
    yield Case("update", parameters, lambda: _update(subject, batch))


def random_groups(subject: Subject) -> list[list[Sample]]:
    """Groups of an update, of random tokens: a shared prompt, then half sampled, half read.

    A prompt is an eighth to a quarter of engine.max_length, what follows an eighth to a half.
    """
    training, config = subject.training, subject.system.learner.config
    longest, vocab_size = subject.engine.max_length, subject.costs.model.vocab_size
    rng = streams.generator(Purpose.BENCHMARK, subject.seed)

    def sample(prompt: np.ndarray, advantage: float) -> Sample:
        new = int(rng.integers(longest // 8, longest // 2 + 1))
        tokens = np.concatenate([prompt, rng.integers(0, vocab_size, new, np.int32)])
        sampled = np.arange(len(tokens)) >= len(tokens) - max(1, new // 2)
        logprobs = np.where(sampled, np.float32(-np.log(vocab_size)), np.float32(0))
        return Sample(chat.TokenSequence(tokens, sampled, logprobs), advantage)

    groups = []
    for _ in range(-(-training.tasks_per_step // config.updates_per_step)):
        length = max(1, int(rng.integers(longest // 8, longest // 4 + 1)))
        prompt = rng.integers(0, vocab_size, length, np.int32)
        groups.append([sample(prompt, (-1.0) ** i) for i in range(training.group_size)])
    return groups


def _update(subject: Subject, batch: PackedBatch) -> Figures:
    learner, costs = subject.system.learner, subject.costs
    memory = PeakMemory()
    start = time.perf_counter()
    jax.block_until_ready(learner.update(batch))
    seconds = time.perf_counter() - start
    used = batch.segments > 0
    flops = costs.update_flops(
        batch.num_tokens,
        float((batch.positions[used] + 1).sum()),
        float(batch.loss_mask.sum()),
        kl=learner.config.kl_coef > 0,
    )
    return {
        "seconds": seconds,
        "tokens_per_second": batch.num_tokens / seconds,
        "utilisation": subject.roofline.utilisation(flops, seconds),
        "flops": flops,
        "peak_memory_bytes": memory.bytes(),
    }


class MeteredEngine:
    """An engine, and what passed through it.

    Attributes:
      seconds: In its steps.
      emitted: Tokens of all completions.
    """

    def __init__(self, engine: Engine):
        """Wraps it; everything else is the engine's own."""
        self._engine = engine
        self.seconds = 0.0
        self.emitted = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def step(self) -> list[tuple[int, Completion]]:
        """A step of the engine."""
        start = time.perf_counter()
        completed = self._engine.step()
        self.seconds += time.perf_counter() - start
        self.emitted += sum(len(completion.tokens) for _, completion in completed)
        return completed


class Episodes:
    """The tasks of a first step, written once, whose episodes are played again and again."""

    def __init__(self, subject: Subject):
        """Writes nothing yet."""
        self._system = subject.system
        self._curriculum = Curriculum(subject.curriculum)
        wrapped = {e: MeteredEngine(e) for e in dict.fromkeys(subject.system.engines.values())}
        self._engines = list(wrapped.values())
        engines = {role: cast(Engine, wrapped[e]) for role, e in subject.system.engines.items()}
        metered = dataclasses.replace(subject.system, engines=engines)
        # Refilled groups would be other episodes.
        training = dataclasses.replace(subject.training, refill_groups=0)
        self._collector = RolloutCollector(
            training, metered, subject.repository, _silent(), lambda: False, subject.seed
        )
        self._written: StepRollouts | None = None
        self._last = 0.0

    def run(self) -> Figures:
        """Plays the episodes once, from empty caches."""
        if self._written is None:
            options = self._system.environment.config
            recent = RecentTasks(options.recent_tasks, options.near_copy)
            self._written = self._collector.write_tasks(1, self._curriculum, recent)
        if not self._written.groups:
            raise NotMeasurableError("the simulator has written no usable task")
        self._system.refresh_policy()
        for engine in self._engines:
            engine.reset()
            engine.seconds, engine.emitted = 0.0, 0
        groups = [Group(group.task, group.index) for group in self._written.groups]
        work = PhaseStats()
        rollouts = dataclasses.replace(self._written, groups=groups, phases={"episodes": work})
        self._collector.play(rollouts, self._curriculum)
        self._last = work.seconds
        emitted = sum(engine.emitted for engine in self._engines)
        return {
            "seconds": work.seconds,
            "episodes": len(rollouts.episodes),
            "valid_episodes": sum(episode.valid for episode in rollouts.episodes),
            "prompt_tokens": work.prompt,
            "prefilled_share": work.prefilled / max(1, work.prompt),
            "sampled_tokens": work.sampled,
            "emitted_tokens": emitted,
            "sampled_share": work.sampled / max(1, emitted),
            "tokens_per_second": emitted / work.seconds,
            "host_share": 1 - sum(engine.seconds for engine in self._engines) / work.seconds,
        }

    def traced(self, busy: float) -> Figures:
        """What the trace of the last run says."""
        return {"device_idle_share": max(0.0, 1 - busy / self._last)}


def episode_cases(subject: Subject) -> Iterator[Case]:
    """The episodes of a step: all roles in turn, and nothing is learnt."""
    training, episodes = subject.training, Episodes(subject)
    parameters = {"tasks": training.tasks_per_step, "group_size": training.group_size}
    yield Case("episodes", parameters, episodes.run, episodes.traced)


def step_cases(subject: Subject) -> Iterator[Case]:
    """The first training step, with no tasks of a next one."""
    training = dataclasses.replace(subject.training, steps=1)

    def run() -> Figures:
        trainer = Trainer(
            training,
            subject.system,
            Curriculum(subject.curriculum),
            subject.repository,
            _silent(),
            lambda: False,
            subject.seed,
        )
        scalars = trainer.train_step(lambda *_: None).scalars
        phases = {name: scalars[f"seconds/{name}"] for name in ("tasks", "episodes", "learning")}
        return {
            "seconds": scalars["seconds/step"],
            **{f"{name}_seconds": seconds for name, seconds in phases.items()},
            "other_seconds": scalars["seconds/step"] - sum(phases.values()),
            "updates": scalars["learner/updates"],
            "learner_tokens": scalars["learner/tokens"],
        }

    parameters = {"tasks": training.tasks_per_step, "group_size": training.group_size}
    yield Case("step", parameters, run)


def _silent() -> Progress:
    return Progress(1, enabled=False)
