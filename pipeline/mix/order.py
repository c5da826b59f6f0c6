"""The order of the training rows: which rows fill a source's quota, and which row comes when."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from pipeline.keys import rank
from pipeline.mix.plan import Plan, Stage


def order_rows(rows: pl.DataFrame, plan: Plan, seed: int, replacement: bool = False) -> pl.DataFrame:
    """The training rows in their written order.

    In: `source`, `key`, `size` (int64, units of the mix) and `at` (any number that finds the row again) of the
    rows available for training. Out: `at`; `epoch` (int32, earlier uses of the row); `stage` (uint8, from 0; all 0
    without a schedule); `size`; `source` (enum). Stages follow each other. Within a source the rows of each epoch
    come in the order of `rank(seed, epoch, key)`, and a stage goes on where the one before it stopped; between
    sources by the stage's pace, the name deciding ties.
    """
    names = sorted(plan.quotas)
    parts: list[pl.DataFrame] = []
    for name in names:
        quota = plan.quotas[name]
        if quota:
            own = rows.filter(pl.col("source") == name)
            uses = _draw(own, name, quota, seed) if replacement else _epochs(own, quota, seed)
            parts.append(_placed(uses, plan.stages, name).with_columns(pl.lit(name, pl.Enum(names)).alias("source")))
    ordered = pl.concat(parts).sort("stage", "stands", maintain_order=True)
    return ordered.select("at", "epoch", "stage", "size", "source")


def _epochs(own: pl.DataFrame, quota: int, seed: int) -> pl.DataFrame:
    """`at`, `epoch`, `size` of whole epochs, each in an order of its own: as many as the quota begins."""
    parts: list[pl.DataFrame] = []
    for epoch in range(-(-quota // int(own["size"].sum()))):
        order = own.select("at", "size", rank(seed, f"epoch {epoch}", "key").alias("rank"), "key").sort("rank", "key")
        parts.append(order.select("at", pl.lit(epoch, pl.Int32).alias("epoch"), "size"))
    return pl.concat(parts)


def _draw(own: pl.DataFrame, name: str, quota: int, seed: int) -> pl.DataFrame:
    """`at`, `epoch`, `size` of independent draws that come to the quota at least.

    Draw *i* takes row xxh3_64(seed ‖ source ‖ i) mod n, so one row may come twice in a row.
    """
    by_key = own.sort("key").select("at", "size")
    count = -(-quota * len(own) // int(own["size"].sum()))  # as many draws as it takes on average
    while True:
        numbers = pl.DataFrame({"n": pl.int_range(count, eager=True).cast(pl.String)})
        picks = numbers.select(rank(seed, f"draw {name}", "n").alias("pick"))["pick"].to_numpy() % np.uint64(len(own))
        drawn = by_key[picks.astype(np.int64)]
        if int(drawn["size"].sum()) >= quota:
            return drawn.select("at", pl.int_range(pl.len()).over("at").cast(pl.Int32).alias("epoch"), "size")
        count *= 2


def _placed(uses: pl.DataFrame, stages: Sequence[Stage], name: str) -> pl.DataFrame:
    """The uses of a source's rows that fill its quotas, with `stage` and `stands`, their place within it.

    A row belongs to the stage that the middle of its units lies in; so what a source gives up to the end of a
    stage is within half a row of what it should, or one row where that is less. Rows of size 0 take no room.
    """
    size = uses["size"].to_numpy()
    middle = np.cumsum(size) - size / 2
    ends = np.cumsum([stage.quotas[name] for stage in stages])
    least = int(np.argmax(size > 0)) + 1
    cuts = np.where(ends > 0, np.maximum(np.searchsorted(middle, ends, side="right"), least), 0)
    stage = np.repeat(np.arange(len(stages), dtype=np.uint8), np.diff(cuts, prepend=0))
    begins = (ends - [stage.quotas[name] for stage in stages]).astype(np.float64)
    pace = np.array([stage.pace[name] for stage in stages], dtype=np.float64)
    each = np.divide(1, pace, out=np.zeros(len(pace)), where=pace > 0)  # pace 0: no row of the source is there
    # times the reciprocal: what Polars makes of a division, by which bundles have been ordered from the start
    stands = (middle[: len(stage)] - begins[stage]) * each[stage]
    return uses.head(len(stage)).with_columns(pl.Series("stage", stage), pl.Series("stands", stands))
