"""What a measure is given, a reply with the row that it answers, and what it gives back."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

_THINK, _THOUGHT = "<think>", "</think>"


@dataclass(frozen=True)
class Reply:
    """A generated reply and the row it answers.

    `row` is a validation row of a bundle as Python values, its gold reply the last of `messages`; `text` keeps special
    tokens, but for the one that ended it; `tokens` counts those generated (None where nobody did); `ended` says that it
    ended by itself; `prompt` is the rendered prompt; `special` are the tokenizer's special tokens.
    """

    row: Mapping[str, Any]
    text: str
    tokens: int | None
    ended: bool
    prompt: str
    special: Collection[str] = ()

    @cached_property
    def content(self) -> str:
        """The text without the reasoning before it, and without white space around it.

        Reasoning is what stands between <think> at the very beginning (of the text, or left open by the prompt) and
        the first </think>. Where that is missing there was no answer yet, and the content is empty.
        """
        text = self.text.strip()
        if text.startswith(_THINK) or self.prompt.rstrip().endswith(_THINK):
            return text.partition(_THOUGHT)[2].strip()
        return text

    @property
    def tags(self) -> Collection[str]:
        """The row's tags."""
        return self.row.get("tags") or ()

    @property
    def gold(self) -> Mapping[str, Any]:
        """The last message of the row: the reply that it has."""
        messages = self.row.get("messages") or [{}]
        return messages[-1]

    def value(self, column: str) -> Any:
        """A column that holds JSON, as an object, whether it comes as one (a bundle's) or as text (a pool's)."""
        return read_value(self.row.get(column))


def read_value(value: Any) -> Any:
    """JSON text as the value it stands for, None where it is none; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


@dataclass(frozen=True)
class Verdicts:
    """What a measure says of one reply.

    `scores` are 0 or 1, or a number; `notes` say what was extracted and compared, and why a check failed.
    """

    scores: Mapping[str, float]
    notes: Mapping[str, Any] = field(default_factory=dict[str, Any])
