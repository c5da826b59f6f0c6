"""Every measure's verdict on every reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from eval.measures import MEASURES
from eval.reply import Reply as Judged
from eval.rows import Rows
from eval.scores import SCORES
from train.generate import Reply

_OF_REPLIES = {name: kind for name, kind in SCORES.items() if name != "denominator"}


def special_texts(tokenizer: Any) -> list[str]:
    """What must not stand in a reply: the tokenizer's special tokens (not all that were added: some are plain text)."""
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    return sorted({*tokenizer.all_special_tokens, *added})


def score_replies(
    rows: Rows,
    prompts: Sequence[str | None],
    found: Mapping[int, Reply],
    chosen: Sequence[str],
    model: str,
    special: Sequence[str],
) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Scores of one model's replies, by the places of their prompts, and a line a reply for `generations.jsonl`."""
    lines: list[dict[str, Any]] = []
    ids: list[str] = []
    names: list[str] = []
    numbers: list[float] = []
    for at in sorted(found):
        reply, row, prompt = found[at], rows.values[at], prompts[at] or ""
        judged = Judged(row, reply.text, reply.tokens, reply.ended, prompt, special)
        scores: dict[str, float] = {}
        notes: dict[str, Any] = {}
        for measure in chosen:
            verdicts = MEASURES[measure](judged)
            if verdicts is not None:
                scores |= verdicts.scores
                notes |= verdicts.notes
        ids += [row["id"]] * len(scores)
        names += scores
        numbers += scores.values()
        lines.append(
            {
                "model": model,
                **{name: row[name] for name in ("id", "source", "tags")},
                "prompt": prompt,
                "reply": reply.text,
                "gold": row["messages"][-1].get("content"),
                "answer": row["answer"],
                "tokens": reply.tokens,
                "ended": reply.ended,
                "scores": scores,
                "notes": notes,
            }
        )
    frame = pl.DataFrame({"model": [model] * len(ids), "id": ids, "measure": names, "numerator": numbers}, _OF_REPLIES)
    return frame.with_columns(denominator=pl.lit(1.0)), lines
