"""Conflicts: rows of one prompt whose answers differ."""

from __future__ import annotations

import polars as pl


def mark_conflicts(rows: pl.DataFrame, on_conflict: str) -> pl.Series:
    """True for the rows that go.

    In: `prompt_key` and `held` of rows without exact copies, in order of preference. `keep` keeps all rows of a
    prompt, `first` the first, `drop` none of several. Rows that are `held` (a validation split that is reused
    has them) stay in any case, and are preferred.
    """
    if on_conflict == "keep":
        return pl.repeat(False, len(rows), eager=True)
    several = pl.col("prompt_key").is_duplicated()
    stays = pl.col("held")
    if on_conflict == "first":
        stays |= pl.col("prompt_key").is_first_distinct() & ~pl.col("held").any().over("prompt_key")
    return rows.select(several & ~stays).to_series()
