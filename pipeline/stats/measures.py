"""How long rows are: characters and turns of each, read in slices."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import numbers

# Rows whose messages are measured at once; only their lengths are kept.
_SLICE = 1 << 15


def measured(table: pa.Table, split: str) -> pl.DataFrame:
    """The small columns of all rows (`at`, `split`, `id`, `source`, `tags`, `key`, `prompt_key`) and their measures.

    `prompt` and `answer` are characters (Unicode code points) before the last message and in it, `turns` is the
    number of messages; `tools`, `reasoning` and `gold` say whether a row has tool schemas, a reasoning, an answer.
    """
    small = pl.DataFrame(pl.from_arrow(table.select(["id", "source", "tags", "key", "prompt_key"]))).with_columns(
        tools=_has(table["tools"]), gold=_has(table["answer"])
    )
    parts = [_message_measures(table["messages"].slice(start, _SLICE)) for start in range(0, table.num_rows, _SLICE)]
    empty = pl.DataFrame(schema={"prompt": pl.Int64, "answer": pl.Int64, "turns": pl.Int64, "reasoning": pl.Boolean})
    return small.hstack(pl.concat([empty, *parts])).with_row_index("at").with_columns(pl.lit(split).alias("split"))


def _has(column: pa.ChunkedArray) -> pl.Series:
    return pl.Series(column.is_valid().to_numpy(), dtype=pl.Boolean)


def _message_measures(messages: pa.ChunkedArray) -> pl.DataFrame:
    lists = messages.combine_chunks()
    turns = numbers(lists.value_lengths()).astype(np.int64)
    ends = np.cumsum(turns)
    structs = lists.flatten()
    fields = dict(zip((field.name for field in structs.type), structs.flatten(), strict=True))
    content, thought, calls = (_characters(fields[name]) for name in ("content", "reasoning_content", "tool_calls"))
    chars = content + thought + calls
    reasoning = _sums(fields["reasoning_content"].is_valid().to_numpy(zero_copy_only=False), ends) > 0
    answer = chars[ends - 1]
    return pl.DataFrame(
        {"prompt": _sums(chars, ends) - answer, "answer": answer, "turns": turns, "reasoning": reasoning}
    )


def _characters(texts: pa.Array) -> np.ndarray:
    plain = texts.storage if isinstance(texts, pa.ExtensionArray) else texts
    if plain.null_count == len(plain):
        return np.zeros(len(plain), np.int64)
    return pl.Series(pl.from_arrow(plain)).str.len_chars().fill_null(0).cast(pl.Int64).to_numpy()


def _sums(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The sum over each row's stretch of `values`; the stretches lie end to end."""
    return np.diff(np.append(0, np.cumsum(values, dtype=np.int64))[ends], prepend=0)
