"""Which requests have a row and which pages, on the host."""

from __future__ import annotations

import numpy as np

from trustee_jax.engine.jobs import Job
from trustee_jax.engine.pages import Match, PagePool
from trustee_jax.engine.types import EngineStats

# Fewer tokens of a page are computed again rather than copied.
_FEWEST_COPIED = 16


class Scheduler:
    """Gives requests rows and pages, first come, first served.

    A request that waits gets a row when its prompt fits. Pages for its answer are taken as it
    grows; when there are none left, the youngest request gives its own back and begins again
    later: its answer will be the same.

    Attributes:
      waiting: Requests without a row, in order.
      filling: Requests with a row that miss tokens in the cache, in order.
      rows: Requests that have a row, by row.
      running: Of these, those that decode.
      tables: int32[slots, pages_per_row], pages of each row, 0 where there are none yet.
      copies: (source, target) pages to be copied, by part.
    """

    def __init__(
        self,
        slots: int,
        parts: int,
        pages: int,
        page_size: int,
        pages_per_row: int,
        stats: EngineStats,
    ):
        """Everything is empty.

        Args:
          slots: Rows; a multiple of `parts`.
          parts: Parts of the mesh that have rows and pages of their own.
          pages: Pages of each part.
          page_size: Tokens in a page.
          pages_per_row: Pages of the longest context.
          stats: Where restarts are counted.
        """
        self.waiting: list[Job] = []
        self.filling: list[Job] = []
        self.rows: dict[int, Job] = {}
        self.running: dict[int, Job] = {}
        self.tables = np.zeros((slots, pages_per_row), np.int32)
        self.copies: list[list[tuple[int, int]]] = [[] for _ in range(parts)]
        self._stats = stats
        self._pools = [PagePool(pages, page_size) for _ in range(parts)]
        self._rows_per_part = slots // parts
        self._page_size = page_size
        self._free = list(range(slots))

    def part(self, job: Job) -> int:
        """The part of the mesh where a request's row is."""
        return job.slot // self._rows_per_part

    @property
    def idle(self) -> bool:
        """Whether no request waits or has a row."""
        return not (self.waiting or self.rows)

    @property
    def usage(self) -> tuple[int, int]:
        """Tokens of requests that have a row, and tokens of the pages that requests hold.

        In any thread.
        """
        tokens: dict[tuple[int, int], int] = {}
        for job in list(self.rows.values()):  # a step may change them meanwhile
            for i, page in enumerate(job.pages):
                start = i * self._page_size
                used = min(len(job.context) - start, self._page_size)
                key = (self.part(job), page.index)
                tokens[key] = max(used, tokens.get(key, 0))
        held = sum(pool.referenced for pool in self._pools)
        return sum(tokens.values()), held * self._page_size

    def place(self) -> None:
        """Gives rows and pages to requests that wait, as far as there are any."""
        waiting, self.waiting = self.waiting, []
        for i, job in enumerate(waiting):
            if not self._free:
                self.waiting += waiting[i:]
                return
            placed = self._place(job)
            if placed is None:
                self.waiting.append(job)
            elif not placed:
                # Those behind it wait, too: what is large must not wait for ever.
                self.waiting += waiting[i:]
                return

    def _place(self, job: Job) -> bool | None:
        """Whether there is room; None if it should wait for what another request computes."""
        role, tokens = job.request.role, job.shared_tokens
        parts = dict.fromkeys(slot // self._rows_per_part for slot in self._free)
        matches = {part: self._pools[part].match(role, tokens) for part in parts}
        longest = max(match.length for match in matches.values())
        for part in parts:
            pending = self._pools[part].match(role, tokens, pending=True)
            if pending.length >= longest + _FEWEST_COPIED:
                return None
        order = sorted(
            parts, key=lambda part: (-matches[part].length, -self._pools[part].available)
        )
        taken = next((part for part in order if self._take_pages(job, part, matches[part])), None)
        if taken is None:
            return False
        job.slot = next(slot for slot in self._free if slot // self._rows_per_part == taken)
        self._free.remove(job.slot)
        self._pools[taken].share(role, job.pages, tokens)
        self._set_table(job)
        self.rows[job.slot] = job
        self.filling.append(job)
        return True

    def _take_pages(self, job: Job, part: int, match: Match) -> bool:
        pool, tail = self._pools[part], match.tail
        copied = match.length % self._page_size
        if copied < _FEWEST_COPIED:
            tail, copied = None, 0
        found = list(match.pages)
        held = [*found, *([] if tail is None else [tail])]
        pool.hold(held)
        wanted = -(-len(job.context) // self._page_size) - len(found)
        # The others must be able to go on for a while.
        spare = sum(self.part(other) == part for other in self.running.values())
        new = pool.allocate(wanted) if wanted + spare <= pool.available else None
        if new is None:
            pool.release(held)
            # The page to be copied may be the one that is needed.
            whole = Match(match.pages, None, len(found) * self._page_size)
            return tail is not None and self._take_pages(job, part, whole)
        if tail is not None:
            self.copies[part].append((tail.index, new[0].index))
            pool.release([tail])
        job.pages = found + new
        job.filled = len(found) * self._page_size + copied
        return True

    def _set_table(self, job: Job) -> None:
        self.tables[job.slot, : len(job.pages)] = [page.index for page in job.pages]

    def extend(self, steps: int) -> None:
        """Takes the pages that running requests may need in so many more decoding steps."""
        for job in sorted(self.running.values(), key=lambda job: job.ticket):
            self._extend(job, job.tokens_ahead(steps))

    def refill(self, job: Job) -> None:
        """Takes a running request out, because it misses tokens in the cache."""
        del self.running[job.slot]
        self.filling.append(job)
        self._extend(job, len(job.context))

    def _extend(self, job: Job, tokens: int) -> None:
        wanted = -(-tokens // self._page_size) - len(job.pages)
        while wanted > 0 and self.rows.get(job.slot) is job:
            new = self._pools[self.part(job)].allocate(wanted)
            if new is not None:
                job.pages += new
                self._set_table(job)
                return
            self._restart_youngest(self.part(job))

    def _restart_youngest(self, part: int) -> None:
        rows = (job for job in self.rows.values() if self.part(job) == part)
        job = max(rows, key=lambda job: job.ticket)
        self.drop(job)
        drawn = job.num_generated - job.num_forced
        self._stats.restarts += 1
        self._stats.lost_tokens += drawn
        self._stats.sampled_tokens -= drawn
        self.waiting.insert(0, job.again())

    def mark_computed(self, job: Job) -> None:
        """Notes that the request's first `filled` tokens have been sent to the device."""
        for i, page in enumerate(job.pages):
            end = i * self._page_size + len(page.tokens)
            page.computed |= page.parent is not None and end <= job.filled

    def drop(self, job: Job) -> None:
        """Takes a request's row and pages away."""
        del self.rows[job.slot]
        if self.running.pop(job.slot, None) is None:
            self.filling.remove(job)
        self._pools[self.part(job)].release(job.pages)
        self._free = sorted([*self._free, job.slot])

    def forget(self, role: str) -> None:
        """Forgets all contexts of a role."""
        for pool in self._pools:
            pool.forget(role)
