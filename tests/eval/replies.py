"""Replies to rows of all kinds, for tests of the measures."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from eval.reply import Reply

CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


def make_reply(
    text: str,
    *,
    asked: str = "How many apples are there in the three baskets?",
    gold: str | None = "Twelve apples.",
    tags: Sequence[str] = (),
    special: Collection[str] = CHATML,
    ended: bool = True,
    prompt: str = "",
    meta: Any = None,
    **row: Any,
) -> Reply:
    """A reply to `asked`, in a row with other columns as wanted."""
    messages: list[Mapping[str, Any]] = [{"role": "user", "content": asked}, {"role": "assistant", "content": gold}]
    meta = None if meta is None else json.dumps(meta)
    return Reply(
        {"id": "test:0", "messages": messages, "tags": list(tags), "meta": meta, **row},
        text,
        max(1, len(text) // 4),
        ended,
        prompt or f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n",
        special,
    )
