"""What leaves before the split: rows that a filter refuses, copies, conflicts, near copies, rows of evaluation sets.

Nothing here depends on weights: two mixes over the same sources lose the same rows. The rows of a validation split
that is reused are `held`: they stand in the bundle whatever happens, so they stay, and come before all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline import report
from pipeline.configuration import Build
from pipeline.dedup.clusters import largest_clusters
from pipeline.dedup.conflict import mark_conflicts
from pipeline.dedup.exact import mark_duplicates, prompts_with_several_answers
from pipeline.dedup.found import make_clusters
from pipeline.dedup.near import Near
from pipeline.errors import ConfigError
from pipeline.filters.columns import columns_of
from pipeline.filters.expression import Filter
from pipeline.pool import Pool
from pipeline.turns import conversation_texts

# `kept` is the id of the row that stays in place of a copy; null for exact copies, and where none stays.
COPIES = pl.Schema({"at": pl.UInt32, "source": pl.String, "copy": pl.String, "kept": pl.String})
REFUSED = pl.Schema({"at": pl.UInt32, "source": pl.String, "reason": pl.String, "detail": pl.String})


@dataclass(frozen=True)
class Selection:
    """What became of all rows: `unique` (`at`, `source`, `key`, `prompt_key`) goes on to the split, `copies` has the
    columns COPIES, `refused` REFUSED. `clusters` says what there is of near copies, where they were looked for."""

    unique: pl.DataFrame
    copies: pl.DataFrame
    refused: pl.DataFrame
    clusters: dict[str, Any] | None


def select_rows(
    settings: Build,
    pools: Sequence[Pool],
    found: Sequence[pa.Table],
    reused: pa.Table | None,
    say: report.Say,
    width: int,
) -> Selection:
    """Stage by stage, in the order of the module's first line. `found` has the columns OVERLAPS for each pool, where
    there are evaluation sets; `reused` are the rows of a validation split that is reused.

    Raises: ConfigError where a filter or the evaluation sets leave no row.
    """
    rows = keys_of(pools, reused)
    refused, copies = [pl.DataFrame(schema=REFUSED)], [pl.DataFrame(schema=COPIES)]
    if settings.filter is not None:
        fails = fails_filter(rows, pools, settings.filter)
        refused.append(_refused(rows.filter(fails), "filtered", pl.lit(settings.filter.text)))
        say(report.left_line("filter", rows, refused[-1], width))
        if fails.all() and len(rows):
            raise ConfigError("filter", f"no row passes {settings.filter.text}", "loosen it, or set filter=null")
        rows = rows.filter(~fails)
    before = len(rows)
    copy = mark_duplicates(rows)
    copies.append(_copies(rows.filter(copy.is_not_null()), copy.drop_nulls()))
    rows = rows.filter(copy.is_null())
    if settings.dedup.on_conflict != "keep":
        rows, conflicts = without_conflicts(rows, pools, settings.dedup.on_conflict)
        copies.append(conflicts)
    clusters = None
    if settings.dedup.near is not None:
        rows, near, clusters = without_near_copies(rows, pools, settings.dedup.near, reused, settings.paths.pools)
        copies.append(near)
    several = len(prompts_with_several_answers(rows))
    say(report.dedup_line(before, pl.concat(copies), settings.dedup.kinds, several, width))
    for line in report.cluster_lines(clusters) if clusters is not None else []:
        say(line)
    if found:
        refused.append(contaminated(rows, pools, found))
        say(report.left_line("overlap", rows, refused[-1], width))
        if len(refused[-1]) == len(rows) > 0:
            what = "the evaluation sets have every row that is left"
            raise ConfigError("decontaminate.against", what, "train on something else than what is evaluated")
        rows = rows.join(refused[-1].select("at"), on="at", how="anti", maintain_order="left")
    return Selection(rows.drop("held"), pl.concat(copies), pl.concat(refused), clusters)


def keys_of(pools: Sequence[Pool], reused: pa.Table | None) -> pl.DataFrame:
    """`at`, `source`, `key`, `prompt_key`, `held` of all rows of the pools, end to end."""
    tables = [pl.from_arrow(pool.rows().select(["source", "key", "prompt_key"])) for pool in pools]
    held = pl.lit(False)
    if reused is not None:
        held = pl.col("key").is_in(pl.Series(pl.from_arrow(reused["key"])).implode())
    return pl.concat(pl.DataFrame(table) for table in tables).with_row_index("at").with_columns(held.alias("held"))


def fails_filter(rows: pl.DataFrame, pools: Sequence[Pool], asked: Filter) -> pl.Series:
    """True for the rows that the filter refuses. A held row without a copy that passes is none of them.

    In: `key` and `held` of all rows of the pools.
    """
    passes = pl.concat(
        columns_of(pool.rows(), asked.names).with_columns(asked.keep.alias("passes")).select("passes") for pool in pools
    ).to_series()
    alone = ~pl.col("key").is_in(rows.filter(passes & rows["held"])["key"].implode())
    return rows.select(~(passes | (pl.col("held") & alone))).to_series()


def without_conflicts(rows: pl.DataFrame, pools: Sequence[Pool], on_conflict: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that stay, and the conflicts that go, with the row of their prompt that stays, if one does."""
    goes = mark_conflicts(rows, on_conflict)
    gone, rows = rows.filter(goes), rows.filter(~goes)
    stays = rows.unique("prompt_key", keep="first", maintain_order=True).select("prompt_key", pl.col("at").alias("of"))
    of = gone.join(stays, on="prompt_key", how="left", maintain_order="left")["of"]
    return rows, _copies(gone, "conflict", _ids(pools).gather(of))


def without_near_copies(
    rows: pl.DataFrame, pools: Sequence[Pool], near: Near, reused: pa.Table | None, place: Path
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """The rows that stay, those that go, and the largest clusters.

    Held rows come first, those of the reused split that no source has any more among them: what is nearly a
    validation row is not trained on. `place` is the folder of all pools.
    """
    ordered = rows.sort("held", descending=True, maintain_order=True)
    texts = pl.concat(conversation_texts(pool.rows()["messages"]) for pool in pools).gather(ordered["at"])
    ids, keys = _ids(pools).gather(ordered["at"]), ordered["key"]
    if reused is not None:
        absent = ~pl.Series(pl.from_arrow(reused["key"])).is_in(rows["key"].implode())
        texts = pl.concat([conversation_texts(reused["messages"]).filter(absent), texts])
        ids = pl.concat([pl.Series("id", pl.from_arrow(reused["id"])).filter(absent), ids])
        keys = pl.concat([pl.Series("key", pl.from_arrow(reused["key"])).filter(absent), keys])
    others = len(ids) - len(ordered)
    first = make_clusters(texts, keys, near, pools[0], place)
    gone = first != np.arange(len(first))
    gone[:others] = False
    gone[others:] &= ~ordered["held"].to_numpy()
    copies = ordered.filter(pl.Series(gone[others:])).with_columns(ids.gather(first[gone]).alias("kept")).sort("at")
    clusters = {"threshold": near.threshold, **largest_clusters(first, gone, ids, texts)}
    left = rows.join(copies.select("at"), on="at", how="anti", maintain_order="left")
    return left, _copies(copies, "near", copies["kept"]), clusters


def contaminated(rows: pl.DataFrame, pools: Sequence[Pool], found: Sequence[pa.Table]) -> pl.DataFrame:
    """The rows that an evaluation set has, too, with the columns REFUSED. Held rows are none of them."""
    parts: list[pl.DataFrame] = []
    start = 0
    for pool, table in zip(pools, found, strict=True):
        part = pl.DataFrame(pl.from_arrow(table.select(["row", "detail"])))
        parts.append(part.select((pl.col("row") + start).cast(pl.UInt32).alias("at"), "detail"))
        start += pool.manifest["rows"]
    here = rows.filter(~pl.col("held")).join(pl.concat(parts), on="at", maintain_order="left")
    return _refused(here, "decontaminated", pl.col("detail"))


def _ids(pools: Sequence[Pool]) -> pl.Series:
    return pl.concat(pl.Series("id", pl.from_arrow(pool.rows()["id"])) for pool in pools)


def _copies(rows: pl.DataFrame, copy: pl.Series | str, kept: pl.Series | None = None) -> pl.DataFrame:
    kind = copy if isinstance(copy, pl.Series) else pl.lit(copy)
    of = kept if kept is not None else pl.lit(None)
    return rows.with_columns(kind.alias("copy"), of.alias("kept")).select(*COPIES).cast(COPIES)


def _refused(rows: pl.DataFrame, reason: str, detail: pl.Expr) -> pl.DataFrame:
    return rows.with_columns(pl.lit(reason).alias("reason"), detail.alias("detail")).select(*REFUSED).cast(REFUSED)
