"""The shapes that raw data comes in: for each its adapter, its columns and its options.

A new shape is one file with one function, and one entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.sources.alpaca import adapt_alpaca
from pipeline.sources.block import Block
from pipeline.sources.columns import adapt_columns
from pipeline.sources.drafts import Drafts
from pipeline.sources.emoji import adapt_emoji
from pipeline.sources.mawps import adapt_mawps
from pipeline.sources.messages import adapt_messages
from pipeline.sources.source import Source


@dataclass(frozen=True)
class Shape:
    """An adapter with the names of its columns (role → the usual column, None where it must be said) and its
    options (name → (default, what is allowed)). `needs` are the roles without which there is no row."""

    adapt: Callable[[Block, Source], Drafts]
    columns: Mapping[str, str | None]
    needs: tuple[str, ...]
    options: Mapping[str, tuple[Any, Callable[[Any], bool], str]] = field(default_factory=dict)


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _languages(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and set(value) <= {"zh", "en"}


SHAPES: dict[str, Shape] = {
    "columns": Shape(
        adapt_columns,
        {"user": None, "assistant": None, "system": None, "answer": None, "tags": None},
        needs=("user", "assistant"),
    ),
    "alpaca": Shape(
        adapt_alpaca,
        {name: name for name in ("instruction", "input", "output", "history", "system", "tags")},
        needs=("instruction", "output"),
        options={"language": (None, lambda value: value in ("en", "zh", "auto"), "en, zh or auto")},
    ),
    "emoji": Shape(
        adapt_emoji,
        {name: name for name in ("question", "answer_zh", "answer_en", "prompt", "chosen")},
        needs=("question",),
        options={
            "max_answer_chars": (3000, _positive, "a whole number above 0"),
            "languages": (["zh", "en"], _languages, "a list of zh and en, the preferred one first"),
        },
    ),
    "mawps": Shape(
        adapt_mawps,
        {name.lower(): name for name in ("Question", "Equation", "Answer", "Numbers")},
        needs=("question", "answer", "numbers"),
        options={"assistant": ("answer", lambda value: value in ("answer", "equation"), "answer or equation")},
    ),
    "messages": Shape(
        adapt_messages, {name: name for name in ("messages", "tools", "answer", "tags")}, needs=("messages",)
    ),
}
