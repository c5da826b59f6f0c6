"""The validation split: whole prompts, per source, before anything is repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from pipeline.keys import rank
from pipeline.mix.quotas import largest_remainder


@dataclass(frozen=True)
class Split:
    """How much to set aside. `valid_ratio` is a share of a source's unique rows, the others count rows."""

    name: str
    valid_ratio: float = 0.0
    min_per_source: int = 0
    min_validation: int = 0
    validation_from: str | None = None


def validation_targets(sizes: Mapping[str, int], split: Split) -> dict[str, int]:
    """How many rows of each source (name → unique rows) should be validation.

    `valid_ratio` of the rows (rounded), at least `min_per_source` but that not beyond a tenth of the source;
    then raised in proportion until the total is `min_validation`, never beyond half of a source.
    """
    targets = {
        name: max(round(size * split.valid_ratio), min(split.min_per_source, size // 10))
        for name, size in sizes.items()
    }
    room = {name: max(0, size // 2 - targets[name]) for name, size in sizes.items()}
    lacking = min(max(0, split.min_validation - sum(targets.values())), sum(room.values()))
    raised = largest_remainder(lacking, room)
    return {name: targets[name] + raised[name] for name in targets}


def choose_validation(rows: pl.DataFrame, split: Split, seed: int) -> pl.Series:
    """True for the rows of the validation split.

    In: `source` and `prompt_key` of the unique rows. All rows of a prompt, in every source, fall on one side.
    Prompts are taken in the order of their rank, which depends on the seed and the prompt alone; a prompt
    that has more rows than its source still needs is passed over. Weights play no part.
    """
    sizes = {name: count for name, count in rows["source"].value_counts(sort=False).sort("source").iter_rows()}
    wanted = validation_targets(sizes, split)
    if not any(wanted.values()):
        return pl.repeat(False, len(rows), eager=True)
    counted = rows.group_by("prompt_key", "source").agg(pl.len().alias("rows")).with_columns(
        rank(seed, "split", "prompt_key").alias("rank")).sort("source", "rank", "prompt_key")
    taken: set[str] = set()
    for (name,), prompts in counted.group_by("source", maintain_order=True):
        # prompts that this source shares with an earlier one are settled already
        left = wanted[str(name)] - int(prompts.filter(pl.col("prompt_key").is_in(list(taken)))["rows"].sum())
        for key, count in prompts.select("prompt_key", "rows").iter_rows():
            if left <= 0:
                break
            if key not in taken and count <= left:
                taken.add(key)
                left -= count
    return rows["prompt_key"].is_in(list(taken))


def reuse_validation(rows: pl.DataFrame, validation: pl.DataFrame) -> pl.Series:
    """What becomes of rows beside the validation split of another bundle.

    In: `key` and `prompt_key` of both. Out: `validation` for a row that is among them, `prompt_in_validation`
    for another row with one of their prompts (it must not be trained on), `train` for the rest.
    """
    return rows.select(
        pl.when(pl.col("key").is_in(validation["key"].implode())).then(pl.lit("validation"))
        .when(pl.col("prompt_key").is_in(validation["prompt_key"].implode())).then(pl.lit("prompt_in_validation"))
        .otherwise(pl.lit("train")).alias("fate")).to_series()
