"""Text from data and settings put into Markdown, where it must be text and nothing else."""

from __future__ import annotations

import re
from urllib.parse import quote

from pipeline.visible import visible

_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SIGNS = re.compile(r"[\\`*\[\]|#!~$]|(?<![^\W_])_|_(?![^\W_])")  # an _ within a word means nothing


def plain(text: object) -> str:
    """A text on one line, in a paragraph, a heading or the cell of a table."""
    shown = re.sub("[&<>]", lambda sign: _HTML[sign[0]], visible(str(text)))
    return _SIGNS.sub(lambda sign: f"\\{sign[0]}", shown)


def span(text: object) -> str:
    """A text in the type of code, on one line; a backtick, which would end it, becomes a quote."""
    return f"`{visible(str(text)).replace('`', chr(39)).replace('|', '¦')}`"


def block(text: str) -> str:
    """A text of one or more lines in the type of code."""
    return "\n".join(f"    {line}" for line in visible(text, keep="\n").split("\n"))


def link(text: object, address: str | None) -> str:
    """The text, linked where the address is one of the web."""
    if address is None or not re.match(r"https?://", address):
        return plain(text)
    return f"[{plain(text)}]({quote(address, safe='/:?#@!$&*+,;=%~')})"
