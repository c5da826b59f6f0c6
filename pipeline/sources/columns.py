"""Any table by a mapping of its columns: the adapter that most data sets need."""

from __future__ import annotations

from pipeline.normalize import clean_text
from pipeline.sources.block import Block
from pipeline.sources.drafts import Cells, Drafts, conversation, joined
from pipeline.sources.source import Source


def adapt_columns(block: Block, source: Source) -> Drafts:
    """One question and one answer a row: `columns` names those of `user`, `assistant` and, as wanted,
    `system`, `context` (stands below the question after a blank line; `meta` keeps the two apart as `instruction`
    and `input`, as Alpaca's), `answer` (the gold final answer) and `tags`. A column may serve twice (CMATH's
    `golden` is both the assistant's text and the answer)."""
    cells, columns = Cells(block), source.columns
    user, assistant = cells.text(columns["user"]), cells.text(columns["assistant"])
    apart = {}
    if "context" in columns:
        context = clean_text(cells.text(columns["context"], required=False).fill_null(""))
        apart = {"instruction": clean_text(user.fill_null("")), "input": context}
        user = joined(apart["instruction"], context, "\n\n")
    parts = [("user", user), ("assistant", assistant)]
    if "system" in columns:
        parts.insert(0, ("system", cells.text(columns["system"], required=False)))
    answer = cells.text(columns["answer"], required=False) if "answer" in columns else None
    return cells.drafts(conversation(parts), cells.rows(tags=columns.get("tags"), answer=answer, parts=apart))
