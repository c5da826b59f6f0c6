"""What differs between two bundles: configuration, training rows, validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline.damage import whole_table
from pipeline.folder import DATA
from pipeline.manifest import Bundle

# They say where and when, not what.
_BESIDE_THE_POINT = ("out", "paths", "threads")


@dataclass(frozen=True)
class Difference:
    """`config` maps a setting to its value in A and in B (None: not there). `rows` has a line per source with
    the training rows `only_a`, `only_b`, `both`, `repeats` (in both, used another number of times);
    `examples` has `source`, `id`, `a`, `b` (uses in each) of rows whose use differs."""

    config: dict[str, tuple[Any, Any]]
    rows: pl.DataFrame
    examples: pl.DataFrame
    same_order: bool
    same_validation: bool
    validation_only_a: int
    validation_only_b: int


def diff(a: Bundle, b: Bundle) -> Difference:
    """Compare two bundles. Rows are the same where their source and `key` are, whatever number they have."""
    uses = (
        _uses(a, "a")
        .join(_uses(b, "b"), on=["source", "key"], how="full", coalesce=True)
        .with_columns(pl.col("a", "b").fill_null(0), pl.coalesce("id", "id_right").alias("id"))
    )
    rows = (
        uses.group_by("source")
        .agg(
            (pl.col("b") == 0).sum().alias("only_a"),
            (pl.col("a") == 0).sum().alias("only_b"),
            ((pl.col("a") > 0) & (pl.col("b") > 0)).sum().alias("both"),
            ((pl.col("a") > 0) & (pl.col("b") > 0) & (pl.col("a") != pl.col("b"))).sum().alias("repeats"),
            pl.col("a").sum().alias("rows_a"),
            pl.col("b").sum().alias("rows_b"),
        )
        .sort("source")
    )
    differing = uses.filter(pl.col("a") != pl.col("b")).sort("source", "id").select("source", "id", "a", "b")
    one, other = (_keys(bundle, "validation") for bundle in (a, b))
    return Difference(
        config={name: values for name, values in _settings_beside(a, b).items() if values[0] != values[1]},
        rows=rows,
        examples=differing,
        same_order=a.manifest["digest"]["train"] == b.manifest["digest"]["train"],
        same_validation=a.manifest["digest"]["validation"] == b.manifest["digest"]["validation"],
        validation_only_a=one.join(other, on="key", how="anti").height,
        validation_only_b=other.join(one, on="key", how="anti").height,
    )


def _keys(bundle: Bundle, split: str) -> pl.DataFrame:
    table = whole_table(bundle, f"{split}/{DATA}").select(["id", "source", "key"])
    return pl.DataFrame(pl.from_arrow(table))


def _uses(bundle: Bundle, name: str) -> pl.DataFrame:
    return (
        _keys(bundle, "train").group_by("source", "key").agg(pl.len().cast(pl.Int64).alias(name), pl.col("id").first())
    )


def _settings_beside(a: Bundle, b: Bundle) -> dict[str, tuple[Any, Any]]:
    one, other = (flat(bundle.manifest["config"]) for bundle in (a, b))
    return {
        name: (one.get(name), other.get(name))
        for name in sorted(one.keys() | other.keys())
        if name.split(".")[0] not in _BESIDE_THE_POINT
    }


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their full names: {"mix": {"weights": {"a": 1}}} → {"mix.weights.a": 1}."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
