"""The validation split: whole prompts, per source, before anything is repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

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
    then raised in proportion until the total is `min_validation`. Never beyond half of a source.
    """
    targets = {
        name: min(size // 2, max(round(size * split.valid_ratio), min(split.min_per_source, size // 10)))
        for name, size in sizes.items()
    }
    room = {name: max(0, size // 2 - targets[name]) for name, size in sizes.items()}
    lacking = min(max(0, split.min_validation - sum(targets.values())), sum(room.values()))
    raised = largest_remainder(lacking, room)
    return {name: targets[name] + raised[name] for name in targets}


def choose_validation(rows: pl.DataFrame, split: Split, seed: int) -> pl.Series:
    """True for the rows of the validation split.

    In: `source` and `prompt_key` of the unique rows. All rows of a prompt, in every source, fall on one side.
    Prompts are taken in the order of their rank, which depends on the seed and the prompt alone; one that has
    more rows than a source still needs is passed over. Weights play no part.
    """
    sizes = dict(rows["source"].value_counts(sort=False).sort("source").iter_rows())
    left = validation_targets(sizes, split)
    if not any(left.values()):
        return pl.repeat(False, len(rows), eager=True)
    ordered = rows.select("source", "prompt_key", rank(seed, "split", "prompt_key").alias("rank")).sort(
        "source", "rank", "prompt_key"
    )
    elsewhere = _several_sources(rows)
    taken: set[str] = set()
    for (name,), own in ordered.partition_by("source", as_dict=True, maintain_order=True).items():
        for key, group in groupby(own["prompt_key"]):
            if left[str(name)] <= 0:
                break
            counts = elsewhere.get(key) or {str(name): sum(1 for _ in group)}
            if key not in taken and all(count <= left[source] for source, count in counts.items()):
                taken.add(key)
                for source, count in counts.items():
                    left[source] -= count
    return rows["prompt_key"].is_in(list(taken))


def _several_sources(rows: pl.DataFrame) -> dict[str, dict[str, int]]:
    """The rows per source of each prompt that stands in several rows."""
    found: dict[str, dict[str, int]] = {}
    shared = rows.filter(pl.col("prompt_key").is_duplicated()).group_by("prompt_key", "source").len()
    for key, source, count in shared.iter_rows():
        found.setdefault(key, {})[source] = count
    return found


def reuse_validation(rows: pl.DataFrame, validation: pl.DataFrame) -> pl.Series:
    """What becomes of rows beside the validation split of another bundle.

    In: `key` and `prompt_key` of both. Out: `validation` for a row that is among them, `prompt_in_validation`
    for another row with one of their prompts (it must not be trained on), `train` for the rest.
    """
    return rows.select(
        pl.when(pl.col("key").is_in(validation["key"].implode()))
        .then(pl.lit("validation"))
        .when(pl.col("prompt_key").is_in(validation["prompt_key"].implode()))
        .then(pl.lit("prompt_in_validation"))
        .otherwise(pl.lit("train"))
        .alias("fate")
    ).to_series()


def split_warnings(rows: pl.DataFrame, split: Split) -> list[str]:
    """What to say where the validation split is smaller than `min_validation`. In: `fate` of the unique rows."""
    found = int((rows["fate"] == "validation").sum())
    if split.validation_from is not None or found >= split.min_validation:
        return []
    return [
        f"{found:,} validation rows, fewer than split.min_validation={split.min_validation:,}: "
        "half of a source's rows, in whole prompts, is the most"
    ]
