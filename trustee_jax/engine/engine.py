"""Continuous batching over one model: requests in, completions out."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from trustee_jax import streams
from trustee_jax.engine.cache import KVCache, grow
from trustee_jax.engine.config import EngineConfig
from trustee_jax.engine.constraints import Constraint, ConstraintCompiler
from trustee_jax.engine.programs import MAX_REPORTED, MAX_STOP_IDS, DecodeOutput, Programs, Rows
from trustee_jax.engine.slots import Slot, choose_slot, common_prefix, longest_match
from trustee_jax.engine.types import Completion, Request, RequestError
from trustee_jax.errors import NonFiniteError
from trustee_jax.models.transformer import Transformer

if TYPE_CHECKING:
    import transformers


@dataclasses.dataclass(eq=False)
class _Job:
    """A request on its way through the engine."""

    ticket: int
    request: Request
    tokens: np.ndarray
    constraint: Constraint | None
    slot: Slot | None = None
    sampled: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[float] = dataclasses.field(default_factory=list)
    reported_logits: list[np.ndarray] = dataclasses.field(default_factory=list)

    @property
    def needed(self) -> int:
        return len(self.tokens) + self.request.max_new_tokens


@dataclasses.dataclass(frozen=True)
class _Copy:
    """`matched` cached tokens of one slot that another one starts with."""

    source: Slot
    target: Slot
    matched: int


@dataclasses.dataclass
class EngineStats:
    """Counts since the last `reset`.

    Attributes:
      prompt_tokens: Tokens of all contexts.
      prefilled_tokens: Of these, computed rather than found in the cache.
      sampled_tokens: Tokens drawn.
    """

    prompt_tokens: int = 0
    prefilled_tokens: int = 0
    sampled_tokens: int = 0


class Engine:
    """Serves policy and simulator requests from one device batch.

    Every request carries its whole context. Whatever prefix of it a slot already holds, for the
    same role, is reused: an episode's next turn continues in its slot, the episodes of a group copy
    their common prompt from the first, and simulator requests copy their fixed instructions.
    Nothing depends on wall-clock time, so equal requests in equal order give equal results.
    """

    def __init__(
        self,
        model: Transformer,
        mesh: Mesh,
        config: EngineConfig,
        tokenizer: transformers.PreTrainedTokenizerFast,
        seed: int = 0,
    ):
        """Takes the model's parameters as they are; `update` replaces some of them.

        Args:
          model: Its arrays are shared, not copied.
          mesh: Where it runs.
          config: Shapes.
          tokenizer: For schemas.
          seed: Folded into every request's key.
        """
        self.config = config
        self.max_length = config.max_length
        self._graphdef, self._params = nnx.split(model)
        self._vocab_size = model.config.vocab_size
        self._programs = Programs.create(model, mesh, config)
        self._tokenizer = tokenizer
        self._compiler: ConstraintCompiler | None = None
        self._seed = seed
        self._tickets = 0
        words = -(-self._vocab_size // 32)
        self._free_bits = jax.device_put(
            np.full((config.slots, words), -1, np.int32), self._programs.rules.replicated
        )
        self._cache: KVCache | None = None
        self.cancel()

    def reset(self) -> None:
        """Forgets every cached context; results then do not depend on what was served before.

        Raises:
          RuntimeError: Requests are under way.
        """
        # A dispatch may still be in flight whose rows have all ended.
        if self._pending or self._running:
            raise RuntimeError("the engine has requests; run it until it is idle, or cancel()")
        self.cancel()

    def cancel(self) -> None:
        """Drops every request and cached context."""
        self._pending: list[_Job] = []
        self._running: dict[int, _Job] = {}
        self._inflight: collections.deque[tuple[DecodeOutput, dict[int, _Job]]] = (
            collections.deque()
        )
        self._halted = np.zeros(self.config.slots, bool)  # rows to be ended by the next dispatch
        self._slots = [Slot(i) for i in range(self.config.slots)]
        self._clock = 0
        self.stats = EngineStats()
        self._rows = jax.device_put(Rows.zeros(self.config.slots), self._programs.rules.replicated)
        length = self.config.first_cache_length
        if self._cache is None or self._cache.length != length:
            self._cache = None  # Frees the old one first.
            self._cache = self._programs.cache.zeros(length)

    def update(self, params: nnx.State) -> None:
        """Replaces the parameters that `params` has (LoRA factors, say); forgets all contexts."""
        model = nnx.merge(self._graphdef, self._params)
        nnx.update(model, params)
        _, self._params = nnx.split(model)
        self.reset()

    @property
    def idle(self) -> bool:
        """Whether no request is waiting or running."""
        return not self._pending and not self._running and not self._inflight

    def submit(self, request: Request) -> int:
        """Queues a request; `step` returns its completion under the ticket that this returns.

        Raises:
          RequestError: It can never be served; the message says why.
        """
        tokens = np.asarray(request.tokens, np.int32)
        if tokens.ndim != 1 or not len(tokens):
            raise RequestError(
                f"tokens: shape {tokens.shape}; pass one row of at least one token id"
            )
        vocab_size = self._vocab_size
        if tokens.min() < 0 or tokens.max() >= vocab_size:
            raise RequestError(
                f"tokens: ids must be in [0, {vocab_size}); use this model's tokenizer"
            )
        if request.max_new_tokens < 1:
            raise RequestError(f"max_new_tokens={request.max_new_tokens}: must be at least 1")
        if len(tokens) + request.max_new_tokens > self.max_length:
            raise RequestError(
                f"the context of {len(tokens)} tokens and max_new_tokens={request.max_new_tokens} "
                f"exceed engine.max_length={self.max_length}; raise it or shorten one of them"
            )
        if len(request.stop_ids) > MAX_STOP_IDS:
            raise RequestError(
                f"stop_ids: {len(request.stop_ids)} given, at most {MAX_STOP_IDS} are supported"
            )
        reported = request.report_logits_of
        if len(reported) > MAX_REPORTED or not all(0 <= token < vocab_size for token in reported):
            raise RequestError(
                f"report_logits_of: {len(reported)} given; at most {MAX_REPORTED} ids in "
                f"[0, {vocab_size})"
            )
        constraint = None
        if request.schema is not None:
            if self._compiler is None:
                self._compiler = ConstraintCompiler(self._tokenizer, vocab_size)
            constraint = self._compiler.compile(request)
        self._tickets += 1
        self._pending.append(_Job(self._tickets, request, tokens, constraint))
        self.stats.prompt_tokens += len(tokens)
        return self._tickets

    def run(self, requests: Sequence[Request]) -> list[Completion]:
        """Serves all `requests` and returns their completions in the same order."""
        tickets = [self.submit(request) for request in requests]
        done: dict[int, Completion] = {}
        while not self.idle:
            done.update(self.step())
        return [done[ticket] for ticket in tickets]

    def step(self) -> list[tuple[int, Completion]]:
        """Prefills what fits, dispatches a round of decoding, returns what has been completed.

        Raises:
          NonFiniteError: The model's logits are infinite or NaN.
        """
        while self._pending and self._place():
            pass
        constrained = [job for job in self._running.values() if job.constraint is not None]
        if self._running:
            self._dispatch(constrained)
        # One dispatch stays in flight, so that the device works while the host reads the one
        # before. A schema's next mask needs the token just drawn, so then there is nothing to
        # overlap.
        keep = 1 if self._running and not constrained else 0
        completions = []
        while len(self._inflight) > keep:
            completions += self._collect(*self._inflight.popleft())
        return completions

    # Placing requests into slots.

    def _place(self) -> bool:
        """Moves pending requests into free slots and prefills them; False if there were none."""
        batch: list[_Job] = []
        free = [slot for slot in self._slots if not slot.busy]
        copies: list[_Copy] = []
        waiting: list[_Job] = []
        for job in self._pending:
            context, role = job.tokens[:-1], job.request.role
            source, matched = longest_match(self._slots, role, context)
            # A request that shares more with one placed in this round waits until that one is in
            # the cache.
            sharing = max(
                (common_prefix(o.tokens[:-1], context) for o in batch if o.request.role == role),
                default=0,
            )
            if not free or sharing > matched + self.config.min_shared_prefix:
                waiting.append(job)
                continue
            if matched < self.config.min_shared_prefix:
                source, matched = None, 0
            slot = choose_slot(free, source, matched)
            free.remove(slot)
            if source is not None and slot is not source:
                copies.append(_Copy(source, slot, matched))
            self._clock += 1
            slot.take(role, context, matched if slot is source else 0, self._clock)
            job.slot = slot
            batch.append(job)
        self._pending = waiting
        if batch:
            self._ensure_length(batch)
            self._copy(copies)
            self._prefill(batch)
            self._admit(batch)
        return bool(batch)

    def _ensure_length(self, batch: list[_Job]) -> None:
        assert self._cache is not None
        chunk = self.config.prefill_chunks[-1]
        needed = max(max(job.needed, len(job.tokens) - 1 + chunk) for job in batch)
        length = self._cache.length
        while length < needed:
            length = min(2 * length, self.config.last_cache_length)
        if length > self._cache.length:
            self._cache = grow(self._cache, length)

    def _copy(self, copies: list[_Copy]) -> None:
        width = self.config.prefill_rows
        for start in range(0, len(copies), width):
            sources, targets = (
                np.zeros(width, np.int32),
                np.full(width, self.config.slots, np.int32),
            )
            for i, copy in enumerate(copies[start : start + width]):
                sources[i], targets[i] = copy.source.index, copy.target.index
                copy.target.filled = copy.matched
            self._cache = self._programs.copy(self._cache, sources, targets)

    def _prefill(self, batch: list[_Job]) -> None:
        chunks, width = self.config.prefill_chunks, self.config.prefill_rows
        todo = [job.slot for job in batch if job.slot is not None and job.slot.missing]
        todo.sort(key=lambda slot: -slot.missing)
        while todo:
            part, todo = todo[:width], todo[width:]
            longest = max(slot.missing for slot in part)
            chunk = next((c for c in chunks if c >= longest), chunks[-1])
            # Rows are padded by repeating the first: it writes the same values twice.
            rows = part + [part[0]] * (width - len(part))
            tokens = np.zeros((width, chunk), np.int32)
            for i, slot in enumerate(rows):
                new = slot.tokens[slot.filled : slot.filled + chunk]
                tokens[i, : len(new)] = new
            self._cache = self._programs.prefill(
                self._params,
                self._cache,
                np.array([slot.index for slot in rows], np.int32),
                np.array([slot.filled for slot in rows], np.int32),
                tokens,
                np.array([slot.role == "policy" for slot in rows]),
            )
            for slot in part:
                new_filled = min(slot.filled + chunk, len(slot.tokens))
                self.stats.prefilled_tokens += new_filled - slot.filled
                slot.filled = new_filled
            todo = [slot for slot in part if slot.missing] + todo

    def _admit(self, batch: list[_Job]) -> None:
        width = self.config.prefill_rows
        for start in range(0, len(batch), width):
            part = batch[start : start + width]
            slots = np.full(width, self.config.slots, np.int32)
            new = Rows.zeros(width)
            for i, job in enumerate(part):
                request, slot = job.request, job.slot
                assert slot is not None
                slots[i] = slot.index
                new.token[i] = job.tokens[-1]
                new.position[i] = len(job.tokens) - 1
                new.active[i] = True
                new.limit[i] = request.max_new_tokens
                new.use_lora[i] = request.role == "policy"
                new.temperature[i] = request.sampling.temperature
                new.top_k[i] = request.sampling.top_k
                new.top_p[i] = request.sampling.top_p
                new.key[i] = streams.request_key(self._seed, request.key)
                if request.schema is None:
                    new.stop_ids[i, : len(request.stop_ids)] = request.stop_ids
                new.reported[i, : len(request.report_logits_of)] = request.report_logits_of
                self._running[slot.index] = job
                self._halted[slot.index] = False
            self._rows = self._programs.admit(self._rows, slots, new)

    # Decoding.

    def _dispatch(self, constrained: list[_Job]) -> None:
        bits, steps = self._free_bits, self.config.decode_steps
        if constrained:
            bits, steps = np.full(self._free_bits.shape, -1, np.int32), 1
            for job in constrained:
                assert job.slot is not None and job.constraint is not None
                job.constraint.fill(bits[job.slot.index])
        self._cache, self._rows, output = self._programs.decode(
            self._params, self._cache, self._rows, self._halted, bits, np.int32(steps)
        )
        self._halted = np.zeros_like(self._halted)
        self._inflight.append((output, dict(self._running)))

    def _collect(self, output: DecodeOutput, jobs: dict[int, _Job]) -> list[tuple[int, Completion]]:
        tokens, logprobs, valid, logits = jax.device_get(
            (output.tokens, output.logprobs, output.valid, output.reported_logits)
        )
        completions = []
        for index, job in jobs.items():
            if self._running.get(index) is not job:
                continue  # It ended in the dispatch before.
            rows = valid[:, index]
            new = tokens[rows, index].tolist()
            if not np.isfinite(logprobs[rows, index]).all():
                # What such logits draw means nothing.
                raise NonFiniteError(
                    f"the {job.request.role}'s logits are not finite: its weights are damaged, or "
                    "have diverged in training; if so, train in another workdir with a lower "
                    "learner.learning_rate"
                )
            job.sampled += new
            job.logprobs += logprobs[rows, index].tolist()
            if job.request.report_logits_of:
                job.reported_logits += list(
                    logits[rows, index, : len(job.request.report_logits_of)]
                )
            self.stats.sampled_tokens += len(new)
            complete = False
            if job.constraint is not None:
                complete = any([job.constraint.accept(token) for token in new])
                self._halted[index] |= complete
            elif job.sampled and job.sampled[-1] in job.request.stop_ids:
                complete = True
            if complete or len(job.sampled) == job.request.max_new_tokens:
                completions.append((job.ticket, self._finish(job, complete)))
        return completions

    def _finish(self, job: _Job, complete: bool) -> Completion:
        assert job.slot is not None
        sampled = np.array(job.sampled, np.int32)
        # The last token drawn was never fed, so its keys and values are not in the cache.
        job.slot.release(np.concatenate([job.tokens, sampled[:-1]]))
        del self._running[job.slot.index]
        return Completion(
            tokens=sampled,
            logprobs=np.array(job.logprobs, np.float32),
            finish="stop" if complete else "length",
            reported_logits=np.array(job.reported_logits, np.float32).reshape(
                len(sampled), len(job.request.report_logits_of)
            ),
        )
