"""The rows of a block that cannot be used, as `quarantine.jsonl` lists them."""

from __future__ import annotations

import json

import polars as pl

from pipeline.schema import REFUSED_COLUMNS
from pipeline.sources.block import Block
from pipeline.sources.drafts import Drafts

_SHOWN_CHARS = 200  # of a row, and of what is said of it: names in it may be as long as the row


def quarantined(source: str, file: str, block: Block, drafts: Drafts | None) -> pl.DataFrame:
    """REFUSED_COLUMNS of the block's rows that the reader or normalizing refused, in their order."""
    found = [
        (source, bad.record, file, bad.line, bad.offset, bad.reason, bad.detail[:_SHOWN_CHARS], bad.text)
        for bad in block.refused
    ]
    if drafts is not None:
        for i, reason, detail in drafts.refused.iter_rows():
            text = _as_json(block, i)[:_SHOWN_CHARS]
            where = int(block.record[i]), file, int(block.line[i]), int(block.offset[i])
            found.append((source, *where, reason, detail[:_SHOWN_CHARS], text))
    frame = pl.DataFrame(sorted(found, key=lambda row: row[1]), schema=REFUSED_COLUMNS, orient="row")
    return frame.with_columns(
        pl.when(pl.col("line") > 0).then("line").alias("line"),
        pl.when(pl.col("offset") >= 0).then("offset").alias("offset"),
    )


def _as_json(block: Block, i: int) -> str:
    """Row *i* of a block as the JSON object that it was, or would be."""
    members = [
        f"{json.dumps(name, ensure_ascii=False)}: "
        f"{value if name in block.json_columns else json.dumps(value, ensure_ascii=False)}"
        for name, value in block.frame.row(i, named=True).items()
        if value is not None
    ]
    return f"{{{', '.join(members)}}}"
