"""Continuous batching over one model: requests in, completions out."""

from __future__ import annotations

import collections
import dataclasses
import functools
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from trustee_jax import streams
from trustee_jax.engine.cache import KVCache
from trustee_jax.engine.config import EngineConfig
from trustee_jax.engine.constraints import Constraint, ConstraintCompiler, fill_masks
from trustee_jax.engine.jobs import Job, OnTokens
from trustee_jax.engine.programs import MAX_REPORTED, MAX_STOP_IDS, DecodeOutput, Programs, Rows
from trustee_jax.engine.scheduler import Scheduler
from trustee_jax.engine.types import Completion, EngineStats, Request, RequestError
from trustee_jax.errors import NonFiniteError
from trustee_jax.models import LoRAParam
from trustee_jax.models.transformer import Transformer

if TYPE_CHECKING:
    import transformers


class Engine:
    """Serves policy and simulator requests from one device batch.

    Every request carries its whole context. What of it the cache holds, for the same role, is
    shared and not computed again: the prompt of a group, a role's instructions, an episode's turns
    before. Keys and values that decoding computed are not shared, since a prompt's are rounded
    otherwise: a request's answer is then the same, in every bit, whatever else the engine serves
    or has served, and however large the cache is. Nothing depends on wall-clock time.

    `submit` and `cancel` of a ticket may be called from any thread, all else from one.
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
        self._lock = threading.Lock()
        self._compiling = threading.Lock()
        self._cache: KVCache | None = None
        self._clear()

    def _clear(self) -> None:
        spec, slots = self._programs.cache, self._programs.slots
        self._submitted: list[Job] = []
        self._cancelled: set[int] = set()
        self.stats = EngineStats()
        self._scheduler = Scheduler(
            slots, spec.parts, spec.pages, spec.page_size, self.config.pages_per_row, self.stats
        )
        # Dispatched, but not read: what was drawn, and the logits that are drawn from next.
        self._drawn: collections.deque[tuple[DecodeOutput, dict[int, Job]]] = collections.deque()
        self._logits: tuple[jax.Array, dict[int, Job]] | None = None
        self._done: list[Job] = []
        self._rows = jax.device_put(Rows.zeros(slots), self._programs.rules.replicated)

    def reset(self) -> None:
        """Forgets every cached context.

        Raises:
          RuntimeError: Requests are under way.
        """
        self._check_unused()
        self._clear()

    def cancel(self, ticket: int | None = None) -> None:
        """Drops a request, if it is still under way.

        Args:
          ticket: Of the request; None: all of them, and every cached context.
        """
        if ticket is None:
            self._clear()
            # Whatever went wrong may have left numbers in it that are none.
            self._cache = None
        else:
            with self._lock:
                self._cancelled.add(ticket)

    def release(self) -> None:
        """Frees the cache's memory until the next request; forgets every context.

        Raises:
          RuntimeError: Requests are under way.
        """
        self.reset()
        for buffer in jax.tree.leaves(self._cache):
            buffer.delete()
        self._cache = None

    def update(self, params: nnx.State) -> None:
        """Replaces the parameters that `params` has, and forgets the contexts that they made.

        The simulator's stay where all of these are LoRA factors, which it does not use.

        Raises:
          RuntimeError: Requests are under way.
        """
        self._check_unused()
        # Variables of its own, or another engine of the same model would have them replaced, too.
        model = nnx.merge(self._graphdef, self._params, copy=True)
        nnx.update(model, params)
        _, self._params = nnx.split(model)
        self._scheduler.forget("policy")
        variables = jax.tree.leaves(params, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
        if not all(isinstance(variable, LoRAParam) for variable in variables):
            self._scheduler.forget("simulator")

    def _check_unused(self) -> None:
        # A dispatch may still be in flight whose rows have all ended.
        if self._submitted or not self._scheduler.idle:
            raise RuntimeError("the engine has requests; run it until it is idle, or cancel()")

    @property
    def idle(self) -> bool:
        """Whether no request is waiting or running."""
        unread = self._drawn or self._logits or self._done
        return not unread and not self._submitted and self._scheduler.idle

    @property
    def cache_use(self) -> tuple[int, int]:
        """Tokens of requests that have a row, and of pages that requests hold. In any thread."""
        return self._scheduler.usage

    def submit(self, request: Request, on_tokens: OnTokens | None = None) -> int:
        """Queues a request; `step` returns its completion under the ticket that this returns.

        Args:
          request: What is asked for.
          on_tokens: Called by `step` with what the answer gains, as it comes; must not raise.

        Raises:
          RequestError: It can never be served; the message says why.
        """
        self._check(request)
        make = None
        if request.schema is not None:
            make = functools.partial(self._constraint, request)
        with self._lock:
            self._tickets += 1
            ticket = self._tickets
        # A schema may take a while to compile: `step` need not wait for it.
        job = Job(ticket, request, make, on_tokens)
        with self._lock:
            self._submitted.append(job)
        return ticket

    def _constraint(self, request: Request) -> Constraint:
        with self._compiling:
            if self._compiler is None:
                self._compiler = ConstraintCompiler(self._tokenizer, self._vocab_size)
            return self._compiler.compile(request)

    def _check(self, request: Request) -> None:
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
        if not 0 <= request.top_logprobs <= self.config.top_logprobs:
            raise RequestError(
                f"top_logprobs={request.top_logprobs}: must be from 0 to engine.top_logprobs="
                f"{self.config.top_logprobs}"
            )
        reported = request.report_logits_of
        if len(reported) > MAX_REPORTED or not all(0 <= token < vocab_size for token in reported):
            raise RequestError(
                f"report_logits_of: {len(reported)} given; at most {MAX_REPORTED} ids in "
                f"[0, {vocab_size})"
            )

    def run(self, requests: Sequence[Request]) -> list[Completion]:
        """Serves all `requests` and returns their completions in the same order."""
        tickets = [self.submit(request) for request in requests]
        done: dict[int, Completion] = {}
        while not self.idle:
            done.update(self.step())
        return [done[ticket] for ticket in tickets]

    def step(self) -> list[tuple[int, Completion]]:
        """Computes prompts, decodes a while, and returns what has been completed.

        Raises:
          NonFiniteError: The model's logits are infinite or NaN.
        """
        self._receive()
        if self._logits is None and not self._held():
            self._fill()
            if not self._held():
                self._decode()
                # One dispatch stays in flight, so that the device works while the host reads the
                # one before.
                self._read(keep=1 if self._scheduler.running else 0)
                return self._completions()
        # A schema says what may come next only when the last token is known: the device computes
        # the logits meanwhile, and already the next ones when the caller goes on.
        if self._logits is None:
            self._forward()
        self._read(keep=0)
        self._draw()
        self._fill()
        if self._held():
            self._forward()
        return self._completions()

    def _held(self) -> bool:
        return any(job.held for job in self._scheduler.running.values())

    def _receive(self) -> None:
        """Takes in what other threads have asked for."""
        with self._lock:
            cancelled, self._cancelled = self._cancelled, set()
            submitted, self._submitted = self._submitted, []
        scheduler = self._scheduler
        for job in submitted:
            self.stats.prompt_tokens += job.prompt_length
            (self._done if job.finish else scheduler.waiting).append(job)
        if not cancelled:
            return
        self._done = [job for job in self._done if job.ticket not in cancelled]
        scheduler.waiting = [job for job in scheduler.waiting if job.ticket not in cancelled]
        for job in list(scheduler.rows.values()):
            if job.ticket in cancelled:
                scheduler.drop(job)

    def _completions(self) -> list[tuple[int, Completion]]:
        done, self._done = self._done, []
        for job in done:
            job.tell()
            self.stats.forced_tokens += job.num_forced
        return [(job.ticket, job.completion()) for job in done]

    # Prompts.

    def _fill(self) -> None:
        """Places requests and computes their prompts, as far as the budget goes."""
        if self._cache is None:
            self._cache = self._programs.cache.zeros()
        scheduler = self._scheduler
        budget = self.config.prefill_budget
        while True:
            scheduler.place()
            self._copy()
            self._admit()
            pieces = self._pieces()
            if not pieces or budget <= 0:
                return
            self._prefill(pieces)
            budget -= sum(count for _, _, count in pieces.values())

    def _copy(self) -> None:
        copies = self._scheduler.copies
        width = self._programs.prefill_rows
        while any(copies):
            sources = np.zeros((len(copies), width), np.int32)
            targets = np.full((len(copies), width), -1, np.int32)
            for part, pairs in enumerate(copies):
                for i, (source, target) in enumerate(pairs[:width]):
                    sources[part, i], targets[part, i] = source, target
                del pairs[:width]
            self._cache = self._programs.copy(self._cache, sources, targets)

    def _pieces(self) -> dict[int, tuple[Job, int, int]]:
        """What the rows of the next prefill compute: row -> (request, first token, tokens)."""
        parts = len(self._scheduler.copies)
        rows, length = self._programs.prefill_rows // parts, self.config.prefill_tokens
        free = [list(range(part * rows, (part + 1) * rows))[::-1] for part in range(parts)]
        pieces = {}
        for job in self._scheduler.filling:
            start, end = job.filled, len(job.context) - 1
            left = free[self._scheduler.part(job)]
            while start < end and left:
                count = min(length, end - start)
                pieces[left.pop()] = (job, start, count)
                start += count
        return pieces

    def _prefill(self, pieces: dict[int, tuple[Job, int, int]]) -> None:
        scheduler = self._scheduler
        rows, length = self._programs.prefill_rows, self.config.prefill_tokens
        tables = np.zeros((rows, scheduler.tables.shape[1]), np.int32)
        offsets, counts = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
        tokens, use_lora = np.zeros((rows, length), np.int32), np.zeros(rows, bool)
        for row, (job, start, count) in pieces.items():
            tables[row] = scheduler.tables[job.slot]
            offsets[row], counts[row] = start, count
            tokens[row, :count] = job.context[start : start + count]
            use_lora[row] = job.request.role == "policy"
            job.filled = start + count
            self.stats.prefilled_tokens += count
        self._cache = self._programs.prefill(
            self._params, self._cache, tables, offsets, counts, tokens, use_lora
        )
        for job in {job.slot: job for job, _, _ in pieces.values()}.values():
            scheduler.mark_computed(job)

    def _admit(self) -> None:
        """Moves requests whose contexts are complete into the decoding rows."""
        scheduler, width = self._scheduler, self._programs.slots
        ready = [job for job in scheduler.filling if not job.missing]
        if not ready:
            return
        scheduler.filling = [job for job in scheduler.filling if job.missing]
        slots = np.full(width, width, np.int32)
        new = Rows.zeros(width)
        for i, job in enumerate(ready):
            request = job.request
            slots[i] = job.slot
            new.token[i] = job.context[-1]
            new.position[i] = len(job.context) - 1
            new.active[i] = True
            new.num_generated[i] = job.num_generated
            new.limit[i] = job.limit
            new.use_lora[i] = request.role == "policy"
            new.temperature[i] = request.sampling.temperature
            new.top_k[i] = request.sampling.top_k
            new.top_p[i] = request.sampling.top_p
            new.key[i] = streams.request_key(self._seed, request.key)
            new.stop_ids[i, : len(job.stop_ids)] = job.stop_ids
            new.reported[i, : len(request.report_logits_of)] = request.report_logits_of
            new.tops[i] = request.top_logprobs > 0
            scheduler.running[job.slot] = job
            scheduler.mark_computed(job)  # Of a page that was copied nothing is prefilled.
        self._rows = self._programs.admit(self._rows, slots, new)

    # Decoding.

    def _enabled(self, jobs: dict[int, Job]) -> np.ndarray:
        enabled = np.zeros(self._programs.slots, bool)
        enabled[list(jobs)] = True
        return enabled

    def _decode(self) -> None:
        """Dispatches several steps for rows that are free to draw what they like."""
        scheduler, steps = self._scheduler, self.config.decode_steps
        scheduler.extend(steps)
        jobs = dict(scheduler.running)
        if not jobs:
            return
        self._cache, self._rows, output = self._programs.decode(
            self._params, self._cache, self._rows, scheduler.tables.copy(), self._enabled(jobs)
        )
        self._note_drawn(output, jobs, steps)

    def _forward(self) -> None:
        """Dispatches the logits of the running rows' next tokens."""
        scheduler = self._scheduler
        scheduler.extend(1)
        jobs = dict(scheduler.running)
        if jobs:
            self._cache, logits = self._programs.forward(
                self._params, self._cache, self._rows, scheduler.tables.copy(), self._enabled(jobs)
            )
            self._logits = logits, jobs

    def _draw(self) -> None:
        """Dispatches the drawing of one token from the logits that were dispatched before."""
        if self._logits is None:
            return
        logits, jobs = self._logits
        self._logits = None
        running = self._scheduler.running
        jobs = {slot: job for slot, job in jobs.items() if running.get(slot) is job}
        if not jobs:
            return
        bits = np.full((self._programs.slots, -(-self._vocab_size // 32)), -1, np.int32)
        held = {s: job.constraint for s, job in jobs.items() if job.constraint and job.held}
        masks = bits[list(held)]
        fill_masks(list(held.values()), masks)
        bits[list(held)] = masks
        self._rows, output = self._programs.draw(self._rows, logits, self._enabled(jobs), bits)
        self._note_drawn(output, jobs, 1)

    def _note_drawn(self, output: DecodeOutput, jobs: dict[int, Job], steps: int) -> None:
        for job in jobs.values():
            job.steps_ahead += steps
        self._drawn.append((output, jobs))

    def _read(self, keep: int) -> None:
        """Reads what was drawn, but for the youngest `keep` dispatches."""
        while len(self._drawn) > keep:
            output, jobs = self._drawn.popleft()
            self._take(output, jobs)

    def _take(self, output: DecodeOutput, jobs: dict[int, Job]) -> None:
        scheduler = self._scheduler
        # What nobody asked for stays on the device.
        tops = any(job.request.top_logprobs for job in jobs.values())
        wanted = output if tops else dataclasses.replace(output, top_tokens=None, top_logprobs=None)
        read: Any = jax.device_get(wanted)  # arrays of NumPy
        tokens, logprobs, valid = read.tokens, read.logprobs, read.valid
        for slot, job in jobs.items():
            job.steps_ahead -= len(tokens)
            if scheduler.running.get(slot) is not job:
                continue  # It ended in the dispatch before.
            steps = valid[:, slot]
            if not np.isfinite(logprobs[steps, slot]).all():
                # What such logits draw means nothing.
                raise NonFiniteError(
                    f"the {job.request.role}'s logits are not finite: its weights are damaged, or "
                    "have diverged in training; if so, train in another workdir with a lower "
                    "learner.learning_rate"
                )
            new = tokens[steps, slot].tolist()
            self.stats.sampled_tokens += len(new)
            if not new:
                continue
            held = job.held
            if job.request.top_logprobs:
                job.take_tops(read.top_tokens[steps, slot], read.top_logprobs[steps, slot])
            job.take(new, logprobs[steps, slot].tolist(), read.reported_logits[steps, slot])
            if job.finish:
                scheduler.drop(job)
                self._done.append(job)
                continue
            job.tell()
            if job.missing or job.held != held:
                # It goes on with tokens that it need not draw.
                scheduler.refill(job)
