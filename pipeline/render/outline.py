"""What a chat template makes of a conversation whose texts are not known yet.

A template is run once for each *form* of conversation (which roles in which order, which fields are there) with
slots in place of the texts. What comes out is an outline: literal text and slots. Filling the slots of a hundred
thousand conversations of that form is then a matter of joining columns.

That is only right as long as the template does not look into the texts. A slot is a `str` that notices: it may be
written, joined with `+`, stripped, and asked whether it contains, begins or ends with something. It answers no, and
the question becomes a condition: a conversation for which the answer is yes is rendered by the template itself.
Whatever else a template does with a slot gives no outline at all, and neither does a template in which a slot could not
be followed (`follow.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

# A slot in the output: whitespace that stripping would take away, a quote that JSON would escape, and its number.
_SLOT = re.compile('\n\t \ue000"(\\d+)\ue001 \t\n')
# Field of a message (or of `meta`) → its value: null, empty, or some text.
Form = Mapping[str, Any]


class Looked(BaseException):
    """The template looked into a text. Not an Exception, so that no Jinja test takes it for an answer."""


class Slots:
    """The slots handed out for one outline, and what the template asked of them."""

    def __init__(self) -> None:
        self.kinds: list[list[Any]] = []  # message, field, strip, characters
        self.conditions: list[list[Any]] = []  # slot, question, literal

    def slot(self, message: int, field: str, strip: str = "", characters: str | None = None) -> Slot:
        """A new slot for a field of a message (-1: of `meta`), as it is or stripped."""
        self.kinds.append([message, field, strip, characters])
        slot = Slot(f'\n\t \ue000"{len(self.kinds) - 1}\ue001 \t\n')
        slot.slots, slot.number = self, len(self.kinds) - 1
        return slot


class _Followed(str):
    """Text with slots in it: may be written and joined, nothing else."""

    __slots__ = ()

    def __str__(self) -> str:
        return str.__str__(self)

    def __add__(self, other: str) -> _Followed:
        return _Followed(str.__add__(self, other))

    def __radd__(self, other: str) -> _Followed:
        return _Followed(str.__add__(other, self))


def _look(*_args: Any, **_more: Any) -> Any:
    raise Looked


# What a text needs to be written, joined and passed on; everything else a template may do to it is looking.
_PASSING = set(dir(object)) - {"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__format__"}
_PASSING.update(["__str__", "__add__", "__radd__"])
for _name in [*dir(str), "__bool__"]:
    if _name not in _PASSING:
        setattr(_Followed, _name, _look)


class Slot(_Followed):
    """A text that is not known yet, but not empty."""

    slots: Slots
    number: int

    def __bool__(self) -> bool:
        if self.slots.kinds[self.number][2]:
            raise Looked  # stripped, it may be empty
        return True

    def _stripped(self, strip: str, characters: str | None) -> Slot:
        message, field, before, _ = self.slots.kinds[self.number]
        if before:
            raise Looked
        return self.slots.slot(message, field, strip, characters)

    def strip(self, characters: str | None = None, /) -> Slot:
        return self._stripped("both", characters)

    def lstrip(self, characters: str | None = None, /) -> Slot:
        return self._stripped("start", characters)

    def rstrip(self, characters: str | None = None, /) -> Slot:
        return self._stripped("end", characters)

    def _asked(self, question: str, literal: Any) -> bool:
        if self.slots.kinds[self.number][2] or type(literal) is not str or not literal:
            raise Looked
        self.slots.conditions.append([self.number, question, literal])
        return False

    def __contains__(self, literal: object) -> bool:
        return self._asked("contains", literal)

    def startswith(self, literal: Any, /) -> bool:  # type: ignore[override]
        return self._asked("starts", literal)

    def endswith(self, literal: Any, /) -> bool:  # type: ignore[override]
        return self._asked("ends", literal)


def outline(
    render: Callable[..., tuple[str, list[tuple[int, int]]]], messages: list[Form], meta: Form | None
) -> dict[str, Any] | None:
    """The outline of a form of conversation, or None where there is none.

    In: fields of messages and of `meta`; a value None stands for a text to come, any other is taken as it is.
    Out: `parts` (literal text, or the number of a slot), `slots` (message, field, strip, characters), `blocks` (the
    generation blocks as ranges of parts) and `conditions` (slot, question, literal: to be answered with no).
    """
    slots = Slots()
    given = [_given(slots, at, fields) for at, fields in enumerate(messages)]
    for message in given:
        if "reasoning_content" in message:
            message["thinking"] = message["reasoning_content"]
    try:
        text, blocks = render(given, None, _given(slots, -1, meta) if meta is not None else None, False)
    except (Looked, Exception):  # the row itself will say what is wrong
        return None
    parts: list[str | int] = []
    starts: list[int] = []
    borders = sorted({0, *(border for block in blocks for border in block)})
    at = 0
    for found in [*_SLOT.finditer(text), None]:
        end = found.start() if found else len(text)
        for start, stop in zip(cuts := _cuts(borders, at, end), cuts[1:], strict=False):
            parts.append(text[start:stop])
            starts.append(start)
        if found:
            parts.append(int(found[1]))
            starts.append(end)
            at = found.end()
    place = {start: k for k, start in enumerate(starts)} | {len(text): len(parts)}
    if "\ue000" in "".join(part for part in parts if isinstance(part, str)) or any(
        border not in place for block in blocks for border in block
    ):
        return None
    return {
        "parts": parts,
        "slots": slots.kinds,
        "blocks": [[place[start], place[end]] for start, end in blocks],
        "conditions": slots.conditions,
    }


def _given(slots: Slots, at: int, fields: Form) -> dict[str, Any]:
    return {name: slots.slot(at, name) if value is None else value for name, value in fields.items()}


def _cuts(borders: list[int], start: int, end: int) -> list[int]:
    """`start`, the borders between, `end`; just one number where there is nothing between."""
    return sorted({start, end, *(border for border in borders if start < border < end)})
