"""Turns of nested data: read row by row, each row's JSON decoded once; then held in a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import msgspec
import polars as pl

from pipeline.schema import TURN_COLUMNS
from pipeline.sources.block import BadRecordError
from pipeline.sources.drafts import Cells, refusal
from pipeline.sources.nesting import require_shallow

# Far beyond what people and agents say to each other; a template takes some seconds for as many.
MAX_TURNS = 10_000

_Value = TypeVar("_Value")


class Turn(NamedTuple):
    """One line of `Drafts.turns`, without `i`."""

    role: str | None
    content: str | None
    reasoning_content: str | None = None
    tool_calls: str | None = None
    tool_call_id: str | None = None
    name: str | None = None
    weight: float | None = None


class Said(msgspec.Struct):
    """What a message may have beside role and content. Tool calls stay JSON text, so that their arguments survive
    as they were; of the names for a turn's loss weight the first that is there counts."""

    reasoning_content: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw(b"null")
    tool_call_id: str | None = None
    name: str | None = None
    weight: float | None = None
    loss_weight: float | None = None
    loss: float | bool | None = None


class Part(msgspec.Struct):
    """One part of a content that is given as a list."""

    type: str = "text"
    text: str | None = None
    value: str | None = None


def turns_of(
    cells: Cells, values: Iterable[_Value | None], read: Callable[[_Value], Sequence[Turn]], column: str
) -> pl.DataFrame:
    """TURN_COLUMNS from one value a row (null: no turns). A row that `read` cannot take is refused, by default as
    `wrong_type`; a row whose value is null as `missing_column`."""
    # Held as columns: many living tuples cost as much again, in garbage collection.
    numbers: list[int] = []
    columns: list[list[str | float | None]] = [[] for _ in Turn._fields]
    absent: list[bool] = []
    for i, value in enumerate(values):
        absent.append(value is None)
        if value is None:
            continue
        try:
            found = read(value)
        except BadRecordError as error:
            cells.refused.append(refusal(i, error.reason, error.detail))
        except (msgspec.MsgspecError, RecursionError) as error:
            cells.refused.append(refusal(i, "wrong_type", f"column '{column}': {error}"))
        else:
            numbers += [i] * len(found)
            for column_values, more in zip(columns, zip(*found, strict=True), strict=False):
                column_values += more
    cells.refuse(pl.Series(absent, dtype=pl.Boolean), "missing_column", f"no value in column '{column}'")
    return pl.DataFrame(dict(zip(TURN_COLUMNS, [numbers, *columns], strict=True)), schema=TURN_COLUMNS)


def weight_of(said: Said, role: str | None) -> float | None:
    """The loss weight of an assistant's turn. Other turns are never trained on: kept on those, a weight would only
    make two keys of one prompt."""
    if role != "assistant":
        return None
    weight = said.weight if said.weight is not None else said.loss_weight
    weight = weight if weight is not None else said.loss
    return None if weight is None else float(weight)


def joined_parts(parts: Iterable[Part]) -> str:
    """The text of all parts. Raises: BadRecordError if one is no text."""
    return "".join(_text(part) for part in parts)


def _text(part: Part) -> str:
    text = part.text if part.text is not None else part.value
    if part.type != "text" or text is None:
        raise BadRecordError("wrong_type", f"a part of type {part.type!r}; only text can be used")
    return text


def few_enough(turns: Sequence[_Value]) -> Sequence[_Value]:
    """The turns of a row as found, before anything is made of them. Raises: BadRecordError `too_long`."""
    if len(turns) > MAX_TURNS:
        raise BadRecordError("too_long", f"{len(turns)} turns, at most {MAX_TURNS}")
    return turns


def unpacked(text: str) -> str:
    """JSON text that stands inside a JSON text, as in a cell of a CSV file, taken out of it.

    Raises: BadRecordError `too_deep`.
    """
    if text[:1] != '"':
        return text
    inside = msgspec.json.decode(text, type=str)
    require_shallow(inside.encode())
    return inside


def with_system(turns: pl.DataFrame, system: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
    """The turns with `system` (one a row, blank or null: none) before those of each row that does not begin with a
    system turn; and the texts that found no place (one a row, null elsewhere)."""
    given = pl.DataFrame({"i": pl.int_range(len(system), dtype=pl.UInt32, eager=True), "content": system})
    given = given.with_columns(pl.when(pl.col("content").str.strip_chars() != "").then("content"))
    if given["content"].null_count() == len(given):
        return turns, given["content"]
    first = turns.unique("i", keep="first", maintain_order=True).select("i", (pl.col("role") == "system").alias("own"))
    given = given.join(first.with_columns(pl.col("own").fill_null(False)), on="i", how="left", maintain_order="left")
    heads = given.filter(~pl.col("own") & pl.col("content").is_not_null())
    heads = heads.select("i", pl.lit("system").alias("role"), "content")
    placed = pl.concat([heads, turns], how="diagonal").select(turns.columns).sort("i", maintain_order=True)
    return placed, given.select(pl.when("own").then("content").alias("content")).to_series()


def cut_last_user(turns: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """The turns without those after the last of the assistant, in rows that have one; and how many rows lost some,
    as `last_user_cut`."""
    last = pl.col("place").filter(pl.col("role") == "assistant").max().over("i")
    keep = turns.with_row_index("place").select((pl.col("place") <= last).fill_null(True)).to_series()
    return turns.filter(keep), {"last_user_cut": turns.filter(~keep)["i"].n_unique()}
