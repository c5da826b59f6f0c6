"""Exact deduplication by `key`: which rows stay, and where the copies stood."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def preference(names: Sequence[str], prefer: Sequence[str]) -> list[str]:
    """The sources in the order in which they keep a row that several have: `prefer` first, then by name."""
    return [name for name in prefer if name in names] + sorted(set(names) - set(prefer))


def mark_duplicates(rows: pl.DataFrame) -> pl.Series:
    """For each row null where it stays, else `within` or `across`: a copy inside its source, or of another.

    In: `source` and `key`, in order of preference (`preference`, then row number). The first row of a key
    stays. A copy counts as `within` if its own source has an earlier one, whoever keeps the row.
    """
    first_here = pl.struct("source", "key").is_first_distinct()
    return rows.select(
        pl.when(pl.col("key").is_first_distinct())
        .then(None)
        .when(first_here)
        .then(pl.lit("across"))
        .otherwise(pl.lit("within"))
        .alias("copy")
    ).to_series()


def prompts_with_several_answers(rows: pl.DataFrame) -> pl.DataFrame:
    """The prompts that have more than one row: `prompt_key` and `rows`, the most first.

    In: `prompt_key` of rows without duplicates, so several rows are several answers. Nothing is dropped.
    """
    return (
        rows.group_by("prompt_key")
        .agg(pl.len().alias("rows"))
        .filter(pl.col("rows") > 1)
        .sort("rows", "prompt_key", descending=[True, False])
    )
