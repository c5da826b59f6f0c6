"""Exact deduplication by `key`: which rows stay, and where the copies stood."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl


def preference(names: Sequence[str], prefer: Sequence[str]) -> list[str]:
    """The sources in the order in which they keep a row that several have: `prefer` first, then by name."""
    return [name for name in prefer if name in names] + sorted(set(names) - set(prefer))


def mark_duplicates(rows: pl.DataFrame) -> pl.Series:
    """For each row null where it stays, else `within` or `across`: a copy inside its source, or of another.

    In: `source` and `key`, in order of preference (`preference`, then row number). The first row of a key
    stays. A copy counts as `within` if its own source has an earlier one, whoever keeps the row.
    """
    kind = (
        pl.when(pl.col("key").is_first_distinct())
        .then(0)
        .when(pl.struct("source", "key").is_first_distinct())
        .then(2)
        .otherwise(1)
    )
    repeated = rows["key"].is_duplicated()
    kinds = np.zeros(len(rows), np.int8)
    kinds[repeated.to_numpy()] = rows.filter(repeated).select(kind).to_series().to_numpy()
    return pl.Series("copy", kinds).replace_strict({0: None, 1: "within", 2: "across"}, return_dtype=pl.String)


def prompts_with_several_answers(rows: pl.DataFrame) -> pl.DataFrame:
    """The prompts that have more than one row: `prompt_key` and `rows`, the most first.

    In: `prompt_key` of rows without duplicates, so several rows are several answers. Nothing is dropped.
    """
    return (
        rows.filter(pl.col("prompt_key").is_duplicated())
        .group_by("prompt_key")
        .agg(pl.len().alias("rows"))
        .sort("rows", "prompt_key", descending=[True, False])
    )
