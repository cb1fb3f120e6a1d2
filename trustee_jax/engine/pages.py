"""Which page of the cache holds which tokens, on the host.

Pages form a tree for each role: the path from its root to a page spells the context whose keys and
values the page ends. A request that begins as another one did walks down and shares what it finds
(the block tables of arXiv 2309.06180, the prefix tree of 2312.07104).
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Hashable, Sequence

import numpy as np


@dataclasses.dataclass(eq=False)
class Page:
    """A page, and what is known of it.

    Attributes:
      index: Its place in the cache.
      parent: What its tokens continue: a page or a root; None while its content is private.
      tokens: int32[n], the shared content; at most a page's worth.
      children: Pages that continue it, by the bytes of their tokens.
      computed: Whether the shared content has been sent to the device.
      references: Requests that need it.
      used: When it was needed last, on the pool's clock.
    """

    index: int
    parent: Page | None = None
    tokens: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
    children: dict[bytes, Page] = dataclasses.field(default_factory=dict)
    computed: bool = False
    references: int = 0
    used: int = 0

    @property
    def idle(self) -> bool:
        """Whether it holds something that may be forgotten, and nothing depends on it."""
        return self.parent is not None and not self.references and not self.children


@dataclasses.dataclass(frozen=True)
class Match:
    """What the pool holds of a context.

    Attributes:
      pages: Whole pages from the context's start.
      tail: A page whose first tokens come next, or None.
      length: Tokens of both together.
    """

    pages: tuple[Page, ...] = ()
    tail: Page | None = None
    length: int = 0


class PagePool:
    """Allocates the pages of one cache, and finds again what they hold.

    When there are no free ones, pages that no request refers to are forgotten, those unused for
    longest first. A page that a request refers to stays, and so does the path to it.
    """

    def __init__(self, count: int, size: int):
        """All pages are free.

        Args:
          count: Pages.
          size: Tokens in each.
        """
        self.count = count
        self.size = size
        self._roots: dict[Hashable, Page] = {}
        self._free = list(range(count))[::-1]
        self._clock = 0
        # (used, index) of pages that were idle then; checked when they are taken.
        self._oldest: list[tuple[int, int]] = []
        self._known: dict[int, Page] = {}
        self._referenced = 0

    @property
    def available(self) -> int:
        """Pages that are free or may be forgotten."""
        return self.count - self._referenced

    @property
    def referenced(self) -> int:
        """Pages that requests need."""
        return self._referenced

    def match(self, root: Hashable, tokens: np.ndarray, *, pending: bool = False) -> Match:
        """The longest known beginning of a context.

        Args:
          root: Whose parameters make the keys and values.
          tokens: int32[n].
          pending: Whether pages count, too, whose content has not been sent to the device yet.
        """
        pages: list[Page] = []
        node = self._roots.get(root)
        while node is not None:
            start = len(pages) * self.size
            child = node.children.get(tokens[start : start + self.size].tobytes())
            if child is None or len(child.tokens) < self.size:
                break
            if not (child.computed or pending):
                break
            pages.append(child)
            node = child
        length = len(pages) * self.size
        tail, longest = None, 0
        rest = tokens[length : length + self.size]
        for child in node.children.values() if node is not None and len(rest) else ():
            if child.computed or pending:
                shared = common_prefix(child.tokens, rest)
                if shared > longest:
                    tail, longest = child, shared
        return Match(tuple(pages), tail, length + longest)

    def hold(self, pages: Sequence[Page]) -> None:
        """A request needs these."""
        self._clock += 1
        for page in pages:
            self._referenced += not page.references
            page.references += 1
            page.used = self._clock

    def release(self, pages: Sequence[Page]) -> None:
        """A request needs these no longer; what nobody may share is free."""
        for page in reversed(pages):
            page.references -= 1
            if page.references:
                continue
            self._referenced -= 1
            if page.parent is not None and not page.computed:
                self._forget(page)
            elif page.parent is None:
                self._free.append(page.index)
            elif page.idle:
                heapq.heappush(self._oldest, (page.used, page.index))

    def allocate(self, count: int) -> list[Page] | None:
        """That many pages with private content, held by the caller; None if there are not."""
        if count > self.available:
            return None
        while len(self._free) < count:
            self._forget_oldest()
        pages = [Page(self._free.pop()) for _ in range(count)]
        self.hold(pages)
        return pages

    def share(self, root: Hashable, pages: Sequence[Page], tokens: np.ndarray) -> None:
        """Makes a context known under which its pages, shared or new, are going to be found.

        Args:
          root: Whose parameters make the keys and values.
          pages: Of a request; enough for the tokens.
          tokens: int32[n], what is computed as one context from its start.
        """
        node = self._roots.setdefault(root, Page(-1))
        for start in range(0, len(tokens), self.size):
            page = pages[start // self.size]
            if page.parent is None:
                content = tokens[start : start + self.size]
                if content.tobytes() in node.children:
                    return  # Somebody else computes the same at the same time.
                page.parent, page.tokens = node, content
                node.children[content.tobytes()] = page
                self._known[page.index] = page
            node = page

    def forget(self, root: Hashable) -> None:
        """Forgets every context of a root; no request may need one.

        Raises:
          RuntimeError: A request needs a page.
        """
        node = self._roots.pop(root, None)
        pages = [] if node is None else list(node.children.values())
        for page in pages:
            pages.extend(page.children.values())
        if any(page.references for page in pages):
            raise RuntimeError(f"pages of {root!r} are needed by requests")
        for page in pages:
            del self._known[page.index]
            self._free.append(page.index)

    def _forget_oldest(self) -> None:
        while True:
            used, index = heapq.heappop(self._oldest)
            page = self._known.get(index)
            if page is not None and page.idle and page.used == used:
                return self._forget(page)

    def _forget(self, page: Page) -> None:
        parent = page.parent
        assert parent is not None
        del parent.children[page.tokens.tobytes()]
        del self._known[page.index]
        page.parent = None
        self._free.append(page.index)
        if parent.idle:
            heapq.heappush(self._oldest, (parent.used, parent.index))


def common_prefix(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the common prefix of two rows of token ids."""
    length = min(len(a), len(b))
    different = np.flatnonzero(a[:length] != b[:length])
    return int(different[0]) if len(different) else length
