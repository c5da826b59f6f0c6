"""What is said in rows: their turns as flat frames, slice by slice, and each conversation as one text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import integers
from pipeline.rows import flat_turns

# Rows whose messages are taken apart at once: some tens of megabytes of ordinary chat.
_SLICE = 1 << 15


def turn_slices(messages: pa.ChunkedArray) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
    """TURN_COLUMNS and offsets (int64, rows + 1), as `flat_turns` gives them, of a slice of rows after the other."""
    for start in range(0, len(messages), _SLICE):
        yield flat_turns(messages.slice(start, _SLICE))


def conversation_texts(messages: pa.ChunkedArray) -> pl.Series:
    """Each row's conversation as one text: reasoning, content and tool calls of its turns, joined by line breaks.

    Tool calls are part of it, as rows that only call tools would else be equal.
    """
    parts = [pl.Series("text", [], pl.String)]
    for turns, offsets in turn_slices(messages):
        said = turns.select(
            pl.concat_str("reasoning_content", "content", "tool_calls", separator="\n", ignore_nulls=True)
        ).to_series()
        lists = pa.LargeListArray.from_arrays(integers(offsets), said.to_arrow())
        parts.append(pl.Series("text", pl.from_arrow(lists)).list.join("\n"))
    return pl.concat(parts)
