"""What all pages share: one HTML file with styles, program and compressed data."""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import string
from collections.abc import Iterable, Sequence
from typing import IO


def write_page(
    file: IO[str], title: str, body: str, program: Sequence[str], data: Iterable[tuple[str, str]]
) -> None:
    """Writes a page.

    Args:
      file: Where to.
      title: Of the page; any text.
      body: The asset with its elements, in which $title stands for the title.
      program: Assets, concatenated in this order.
      data: Id and text of each compressed block, see `archive.compress`; one is in memory at a
        time.
    """
    style, code = _asset("style.css"), "\n".join(map(_asset, program))
    # The page may run this program and nothing else, whatever its data contain.
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(code)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    title = html.escape(title.encode("utf-8", "replace").decode())
    head, tail = (
        string.Template(_asset("page.html"))
        .substitute(
            policy=html.escape(policy, quote=True),
            title=title,
            style=style,
            body=string.Template(_asset(body)).substitute(title=title),
            program=code,
            data="\0",
        )
        .split("\0")
    )
    file.write(head)
    for name, block in data:
        file.write(f'<script type="application/gzip" id="{name}">{block}</script>\n')
    file.write(tail)


def _asset(name: str) -> str:
    return importlib.resources.files(__package__).joinpath("assets", name).read_text("utf-8")


def _hash(text: str) -> str:
    """A source of a content security policy: the text of one inline element."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
