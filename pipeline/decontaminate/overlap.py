"""Rows that an evaluation set has too: the same prompt, or a long stretch of words in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.decontaminate.grams import Grams, folded, grams_of
from pipeline.turns import turn_slices

# A stretch that more rows of the sets have is a phrase (an instruction before each question) and tells nothing.
_MOST_ROWS = 10
_SIEVE_BITS = 22
# What was found: `row` counts from 0 in the table, `evaluation` is the id of the evaluation row.
OVERLAPS = pl.Schema({"row": pl.Int64, "evaluation": pl.String, "detail": pl.String})


@dataclass(frozen=True)
class Evaluation:
    """Evaluation sets, ready to be held against rows.

    `ids` of all their rows; `prompts` has `text` (folded) and `other` (the first row with it); `numbers` are those of
    their n-grams, sorted, and `rows` the first row that has each; `sieve` says which leading bits a number may have.
    """

    ids: pl.Series
    prompts: pl.DataFrame
    numbers: np.ndarray
    rows: np.ndarray
    sieve: np.ndarray
    ngram: int
    ngram_chars: int


def read_evaluation(tables: Sequence[pa.Table], ngram: int, ngram_chars: int) -> Evaluation:
    """What there is to look for. In: `id` and `messages` of each set; all but system turns count."""
    ids = [pl.Series("id", pl.from_arrow(table["id"])) for table in tables]
    prompts = [pl.DataFrame(schema={"text": pl.String, "other": pl.Int64})]
    numbers, rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    first = 0
    for table in tables:
        for turns, offsets in turn_slices(table["messages"]):
            said = _said(turns)
            prompts.append(_prompts(said).select("text", (pl.col("i").cast(pl.Int64) + first).alias("other")))
            grams = grams_of(said["text"], ngram, ngram_chars)
            numbers.append(grams.number)
            rows.append(said["i"].to_numpy().astype(np.int64)[grams.text] + first)
            first += len(offsets) - 1
    number, row = np.concatenate(numbers), np.concatenate(rows)
    order = np.lexsort((row, number))
    number, row = number[order], row[order]
    once = np.append(True, (np.diff(number) != 0) | (np.diff(row) != 0))[: len(number)]
    known, start, count = np.unique(number[once], return_index=True, return_counts=True)
    telling = count <= _MOST_ROWS
    sieve = np.zeros(1 << _SIEVE_BITS, bool)
    sieve[_leading(known[telling])] = True
    unique = pl.concat(prompts).unique("text", keep="first", maintain_order=True)
    return Evaluation(pl.concat(ids), unique, known[telling], row[once][start][telling], sieve, ngram, ngram_chars)


def _leading(numbers: np.ndarray) -> np.ndarray:
    return (numbers >> np.uint64(64 - _SIEVE_BITS)).astype(np.int64)


def overlaps(
    messages: pa.ChunkedArray, evaluation: Evaluation, progress: Callable[[int], None] = lambda _: None
) -> pl.DataFrame:
    """The rows that an evaluation row is in, with the columns OVERLAPS, in order; for each the first reason.

    A prompt is one user turn or all of a row's together; n-grams are those of each turn that is no system turn.
    """
    parts = [pl.DataFrame(schema=OVERLAPS)]
    first = 0
    for turns, offsets in turn_slices(messages):
        said = _said(turns)
        found = pl.concat([_same_prompts(said, evaluation), _same_grams(said, evaluation)])
        found = found.unique("row", keep="first", maintain_order=True).sort("row")
        parts.append(found.with_columns(pl.col("row") + first))
        first += len(offsets) - 1
        progress(len(offsets) - 1)
    return pl.concat(parts)


def _said(turns: pl.DataFrame) -> pl.DataFrame:
    """`i`, `role` and folded `text` (reasoning and content) of the turns that are no system turn."""
    said = turns.filter(pl.col("role") != "system")
    text = said.select(pl.concat_str("reasoning_content", "content", separator="\n", ignore_nulls=True)).to_series()
    return said.select("i", "role", folded(text).alias("text"))


def _prompts(said: pl.DataFrame) -> pl.DataFrame:
    """`i` and `text`: all user turns of a row as one. Prompts without a letter or number are left out."""
    users = said.filter(pl.col("role") == "user")
    return users.group_by("i", maintain_order=True).agg(pl.col("text").str.join(" ")).filter(pl.col("text") != "")


def _same_prompts(said: pl.DataFrame, evaluation: Evaluation) -> pl.DataFrame:
    single = said.filter(pl.col("role") == "user").select("i", "text")
    several = single.filter(pl.col("i").is_duplicated())
    asked = pl.concat([single, _prompts(said.filter(pl.col("i").is_in(several["i"].unique().implode())))])
    found = asked.join(evaluation.prompts, on="text", maintain_order="left").sort("i", "other")
    other = evaluation.ids.gather(found["other"])
    return pl.DataFrame({"row": found["i"].cast(pl.Int64), "evaluation": other}).with_columns(
        pl.format("same prompt as {}", "evaluation").alias("detail")
    )


def _same_grams(said: pl.DataFrame, evaluation: Evaluation) -> pl.DataFrame:
    grams = grams_of(said["text"], evaluation.ngram, evaluation.ngram_chars)
    maybe = np.flatnonzero(evaluation.sieve[_leading(grams.number)])
    place = np.searchsorted(evaluation.numbers, grams.number[maybe])
    inside = place < len(evaluation.numbers)
    maybe, place = maybe[inside], place[inside]
    same = evaluation.numbers[place] == grams.number[maybe]
    maybe, place = maybe[same], place[same]
    row = said["i"].to_numpy().astype(np.int64)[grams.text[maybe]]
    first = np.unique(row, return_index=True)[1]
    ids = evaluation.ids.gather(evaluation.rows[place[first]])
    details = [
        f"{_shared(grams, k, evaluation)} in common with {other}: “{_stretch(grams, k, evaluation)}”"
        for k, other in zip(maybe[first].tolist(), ids, strict=True)
    ]
    return pl.DataFrame({"row": row[first], "evaluation": ids, "detail": details}, schema=OVERLAPS)


def _shared(grams: Grams, k: int, evaluation: Evaluation) -> str:
    return f"{evaluation.ngram} words" if grams.is_spaced[k] else f"{evaluation.ngram_chars} characters"


def _stretch(grams: Grams, k: int, evaluation: Evaluation) -> str:
    spaced = bool(grams.is_spaced[k])
    words = grams.words.slice(int(grams.start[k]), evaluation.ngram if spaced else evaluation.ngram_chars)
    return (" " if spaced else "").join(words.to_list())
