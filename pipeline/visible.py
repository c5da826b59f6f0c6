"""Text made safe to print: what a terminal would act upon is spelt out."""

from __future__ import annotations

import re

# What a terminal acts upon (categories Cc, Zl, Zp) and what turns the direction of a line. Emoji joiners stay.
ACTIVE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_NAMES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible(text: str, keep: str = "") -> str:
    """The text with control and direction characters spelt out (`\\x1b`), except those in `keep`."""
    return ACTIVE.sub(lambda match: match[0] if match[0] in keep else _spelt(match[0]), text)


def _spelt(sign: str) -> str:
    return _NAMES.get(sign) or code(sign)


def code(sign: str) -> str:
    """A character as an escape: `\\x1b`, `\\u200d`, `\\U000e0100`."""
    number = ord(sign)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 65536 else f"\\U{number:08x}"
