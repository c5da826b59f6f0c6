"""Preference pairs: the chosen answer is what is trained on, the rejected one stays in `meta`."""

from __future__ import annotations

import msgspec

from pipeline.sources.block import BadRecordError, Block
from pipeline.sources.drafts import Cells, Drafts
from pipeline.sources.sharegpt import read_utterances
from pipeline.sources.source import Source
from pipeline.sources.turns import Turn, turns_of, with_system


def adapt_preference(block: Block, source: Source) -> Drafts:
    """`prompt` and `chosen`, each a text, a message or a list of messages, as {role, content} or {from, value}; a
    `chosen` that begins with the user or the system is the whole conversation, and needs no `prompt`. `system` (a
    column) stands before it where it does not begin with a system turn. `meta` has `rejected` as it was."""
    cells, columns = Cells(block), source.columns
    prompts, chosen = cells.json(columns["prompt"]), cells.json(columns["chosen"])
    pairs = [None if answer is None else (prompt, answer) for prompt, answer in zip(prompts, chosen, strict=True)]
    turns = turns_of(cells, pairs, lambda pair: _read(*pair, columns["prompt"]), columns["chosen"])
    turns, unused = with_system(turns, cells.text(columns["system"], required=False))
    rejected = cells.json(columns["rejected"])
    tags = columns["tags"] if cells.has(columns["tags"]) else None
    rows = cells.rows(tags=tags, parts={"system": unused}, json_parts={"rejected": rejected})
    return cells.drafts(turns, rows)


def _read(prompt: str | None, chosen: str, column: str) -> list[Turn]:
    before = _side(prompt, "user") if prompt is not None else []
    answer = _side(chosen, "assistant")
    if answer and answer[0].role in ("system", "user"):
        own_system = [turn for turn in before[:1] if turn.role == "system" != answer[0].role]
        return own_system + answer
    if not before:
        raise BadRecordError("missing_column", f"no value in column '{column}'")
    return before + answer


def _side(text: str, role: str) -> list[Turn]:
    """Text as one turn of this role; a message, or a list of them, as they say themselves."""
    if text[:1] == '"':
        return [Turn(role, msgspec.json.decode(text, type=str))]
    return read_utterances(f"[{text}]" if text[:1] == "{" else text)
