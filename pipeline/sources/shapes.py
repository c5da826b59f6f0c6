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
from pipeline.sources.dialogue import adapt_dialogue
from pipeline.sources.drafts import Drafts
from pipeline.sources.emoji import adapt_emoji
from pipeline.sources.gsm8k import adapt_gsm8k
from pipeline.sources.mawps import adapt_mawps
from pipeline.sources.messages import adapt_messages
from pipeline.sources.preference import adapt_preference
from pipeline.sources.sharegpt import adapt_sharegpt
from pipeline.sources.source import Source
from pipeline.sources.think import split_think
from pipeline.sources.tree import adapt_tree


@dataclass(frozen=True)
class Shape:
    """An adapter with the names of its columns (role → the usual column, None where it must be said) and its
    options (name → (default, what is allowed)). `needs` are the roles without which there is no row."""

    adapt: Callable[[Block, Source], Drafts]
    columns: Mapping[str, str | None]
    needs: tuple[str, ...]
    options: Mapping[str, tuple[Any, Callable[[Any], bool], str]] = field(default_factory=dict)

    @property
    def usual_columns(self) -> dict[str, str]:
        """The column of each role that has a usual one."""
        return {role: column for role, column in self.columns.items() if column is not None}

    @property
    def usual_options(self) -> dict[str, Any]:
        """The options with their defaults."""
        return {option: default for option, (default, _, _) in self.options.items()}


def make_drafts(block: Block, source: Source) -> Drafts:
    """The conversations of one block by the source's shape, `<think>` split off where the source asks for it."""
    drafts = SHAPES[source.shape].adapt(block, source)
    return split_think(drafts) if source.split_think else drafts


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _languages(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and set(value) <= {"zh", "en"}


_LAST_USER = ("refuse", lambda value: value in ("refuse", "cut"), "refuse or cut")

SHAPES: dict[str, Shape] = {
    "columns": Shape(
        adapt_columns,
        dict.fromkeys(("user", "assistant", "system", "context", "answer", "tags")),
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
        {name.lower(): name for name in ("Question", "Equation", "Answer", "Numbers", "Body")},
        needs=("question", "answer"),
        options={"assistant": ("answer", lambda value: value in ("answer", "equation"), "answer or equation")},
    ),
    "messages": Shape(
        adapt_messages, {name: name for name in ("messages", "tools", "answer", "tags")}, needs=("messages",)
    ),
    "sharegpt": Shape(
        adapt_sharegpt,
        {name: name for name in ("conversations", "tools", "system", "answer", "tags")},
        needs=("conversations",),
        options={"last_user": _LAST_USER},
    ),
    "preference": Shape(
        adapt_preference,
        {name: name for name in ("prompt", "chosen", "rejected", "system", "tags")},
        needs=("chosen",),
    ),
    "gsm8k": Shape(
        adapt_gsm8k,
        {name: name for name in ("question", "answer")},
        needs=("question", "answer"),
        options={"final": ("keep", lambda value: value in ("keep", "drop"), "keep or drop")},
    ),
    "dialogue": Shape(
        adapt_dialogue,
        {name: name for name in ("dialogue", "tags")},
        needs=("dialogue",),
        options={"last_user": _LAST_USER},
    ),
    "tree": Shape(adapt_tree, {"prompt": "prompt"}, needs=("prompt",)),
}
