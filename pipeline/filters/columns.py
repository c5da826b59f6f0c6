"""What a filter may speak of: the names, their kinds, and the columns behind them."""

from __future__ import annotations

from collections.abc import Callable, Set

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.stats.measures import measured
from pipeline.turns import turn_slices

# Name → kind. `build --help` has the same table in words; lengths are those of `stats`.
NAMES = {
    "id": "text",  # SOURCE:ROW
    "source": "text",
    "tags": "list of texts",
    "answer": "text",  # the gold final answer; null where the source has none
    "prompt": "text",  # the last user turn
    "reply": "text",  # the last assistant turn
    "len_prompt": "number",  # characters before the last turn: content, reasoning and tool calls
    "len_answer": "number",  # characters of the last turn
    "turns": "number",  # messages of any role
    "has_answer": "truth",
    "has_reasoning": "truth",
    "has_system": "truth",
    "has_tools": "truth",
}
_PLAIN = ("id", "source", "tags", "answer")
_MEASURED = {
    "len_prompt": "prompt",
    "len_answer": "answer",
    "turns": "turns",
    "has_answer": "gold",
    "has_reasoning": "reasoning",
    "has_tools": "tools",
}


def columns_of(table: pa.Table, names: Set[str]) -> pl.DataFrame:
    """The columns that these names stand for, a line for each row of a pool; only what is asked for is computed."""
    plain = [name for name in _PLAIN if name in names]
    found = pl.DataFrame(pl.from_arrow(table.select(plain))) if plain else pl.DataFrame(height=table.num_rows)
    if names & _MEASURED.keys():
        measures = measured(table, "pool")
        found = found.with_columns(measures[column].alias(name) for name, column in _MEASURED.items() if name in names)
    said = {name: of_turns for name, of_turns in _SAID.items() if name in names}
    if said:
        slices = [
            pl.DataFrame({name: of_turns(turns, offsets) for name, of_turns in said.items()})
            for turns, offsets in turn_slices(table["messages"])
        ]
        empty = pl.DataFrame(schema={name: pl.Boolean if name == "has_system" else pl.String for name in said})
        found = found.hstack(pl.concat([empty, *slices]))
    return found


def _prompt(turns: pl.DataFrame, _offsets: np.ndarray) -> pl.Series:
    return turns.filter(pl.col("role") == "user").unique("i", keep="last", maintain_order=True)["content"]


def _reply(turns: pl.DataFrame, offsets: np.ndarray) -> pl.Series:
    return turns["content"].gather(offsets[1:] - 1)


def _system(turns: pl.DataFrame, offsets: np.ndarray) -> pl.Series:
    return turns["role"].gather(offsets[:-1]) == "system"


_SAID: dict[str, Callable[[pl.DataFrame, np.ndarray], pl.Series]] = {
    "prompt": _prompt,
    "reply": _reply,
    "has_system": _system,
}
