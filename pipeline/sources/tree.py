"""OpenAssistant's exported trees: a prompt with ranked replies, each with replies of its own."""

from __future__ import annotations

import msgspec
import polars as pl

from pipeline.sources.block import Block
from pipeline.sources.drafts import Cells, Drafts
from pipeline.sources.source import Source
from pipeline.sources.turns import Turn, cut_last_user, turns_of, unpacked

_ROLES = {"prompter": "user"}


class Node(msgspec.Struct):
    """A message of the tree. Rank 0 is the best of its siblings."""

    text: str
    role: str
    rank: float | None = None
    lang: str | None = None
    deleted: bool | None = None
    replies: list[Node] | None = None


_TREE = msgspec.json.Decoder(Node)


def adapt_tree(block: Block, source: Source) -> Drafts:
    """The best path of each tree: at every message the reply of the lowest rank, unranked ones last, the first of
    equals, deleted ones never; up to the last message of the assistant. The prompt's `lang` goes to `meta`, and is a
    tag where it is zh or en."""
    cells, column = Cells(block), source.columns["prompt"]
    languages: list[str | None] = [None] * cells.count

    def read(numbered: tuple[int, str]) -> list[Turn]:
        i, text = numbered
        node: Node | None = _TREE.decode(unpacked(text))
        languages[i] = node.lang
        turns: list[Turn] = []
        while node is not None:
            turns.append(Turn(_ROLES.get(node.role, node.role), node.text))
            node = _best(node.replies or [])
        return turns

    trees = [None if text is None else (i, text) for i, text in enumerate(cells.json(column))]
    turns, _ = cut_last_user(turns_of(cells, trees, read, column))
    spoken = pl.Series("lang", languages, dtype=pl.String)
    short = pl.col("lang").str.to_lowercase().str.split("-").list.first()
    tags = spoken.to_frame().select(pl.when(short.is_in(["zh", "en"])).then(pl.concat_list(short))).to_series()
    return cells.drafts(turns, cells.rows(parts={"lang": spoken}).with_columns(tags.alias("tags")))


def _best(replies: list[Node]) -> Node | None:
    """The reply of the lowest rank; `min` takes the first of equals."""
    there = [reply for reply in replies if not reply.deleted]
    return min(there, key=lambda reply: (reply.rank is None, reply.rank or 0.0), default=None)
