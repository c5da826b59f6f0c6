"""Dialogues without roles: lists of texts, two speakers in turn."""

from __future__ import annotations

import msgspec

from pipeline.sources.block import Block
from pipeline.sources.drafts import Cells, Drafts
from pipeline.sources.source import Source
from pipeline.sources.turns import Turn, cut_last_user, few_enough, turns_of, unpacked

_TEXTS = msgspec.json.Decoder(list[str])


def adapt_dialogue(block: Block, source: Source) -> Drafts:
    """`dialogue`: the first text → user, the second → assistant, and so on. An odd number of texts ends with the
    user, which is refused as `ends_with_user`; with `last_user: cut` that last text goes, and the rows it went from
    are counted as `last_user_cut`."""
    cells, columns = Cells(block), source.columns
    turns = turns_of(cells, cells.json(columns["dialogue"]), _read, columns["dialogue"])
    turns, counts = cut_last_user(turns) if source.options["last_user"] == "cut" else (turns, {})
    tags = columns["tags"] if cells.has(columns["tags"]) else None
    return cells.drafts(turns, cells.rows(tags=tags), counts)


def _read(text: str) -> list[Turn]:
    texts = few_enough(_TEXTS.decode(unpacked(text)))
    return [Turn("assistant" if k % 2 else "user", said) for k, said in enumerate(texts)]
