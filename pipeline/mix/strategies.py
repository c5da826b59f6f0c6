"""The mix strategies: how many rows each source gives, and which row comes when.

Two steps. A *sizer* turns weights into quotas (a dict in `SIZERS`, one entry a strategy); `order_rows` then
lays out the rows so that every stretch of the result holds the mix. A new strategy is one function here and
one line in `SIZERS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from pipeline.errors import ConfigError
from pipeline.keys import rank
from pipeline.mix.quotas import largest_remainder, renormalized, total_within

# Used when mix.total_rows is not set: this share of all rows that are available for training.
DEFAULT_SHARE = 0.9
# Repeating rows more often than this tends to make a model learn them by heart; more is allowed, with a warning.
MANY_EPOCHS = 4


@dataclass(frozen=True)
class Mix:
    """A mix as configured. `weights` are relative and complete: every source of the build has one."""

    name: str
    weights: Mapping[str, float]
    strategy: str
    stop: str = "all_exhausted"
    total_rows: int | None = None
    replacement: bool = False
    temperature: float = 2.0
    max_epochs: float | None = None
    on_shortage: str = "error"


@dataclass(frozen=True)
class Plan:
    """What a strategy decided: rows per source, the pace of each source, and what the user should know.

    The *j*-th row of a source stands at (j + ½) / `pace` in the order of the whole.
    """

    quotas: Mapping[str, int]
    pace: Mapping[str, float]
    warnings: Sequence[str] = field(default_factory=tuple)


def relative_weights(weights: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
    """Weights with the sum's sign settled: all zero or all negative mean equal weights, with a warning.

    Raises: ConfigError for NaN, infinity and for positive beside negative weights; it names the sources.
    """
    for name, weight in weights.items():
        if not math.isfinite(weight):
            raise ConfigError(f"mix.weights.{name}", f"{weight} is no weight", f"set mix.weights.{name}=1")
    below = [name for name, weight in weights.items() if weight < 0]
    above = [name for name, weight in weights.items() if weight > 0]
    if below and above:
        raise ConfigError(
            f"mix.weights.{below[0]}",
            f"{weights[below[0]]:g} is negative while {above[0]} is positive",
            f"set mix.weights.{below[0]}=0 to leave the source out of training",
        )
    if not above:
        return dict.fromkeys(weights, 1.0), ["no weight is above 0: all sources get equal weights"]
    return dict(weights), []


def shares(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights as shares of 1."""
    settled, _ = relative_weights(weights)
    whole = sum(settled.values())
    return {name: weight / whole for name, weight in settled.items()}


def plan_mix(mix: Mix, available: Mapping[str, int]) -> Plan:
    """Quotas and paces for sources with so many unique rows available for training.

    Raises: ConfigError if the strategy cannot give what is asked.
    """
    weights, warnings = relative_weights(mix.weights)
    empty = [name for name, weight in weights.items() if weight > 0 and available[name] == 0]
    if empty:
        warnings.append(f"no rows to train on in {', '.join(empty)}: left out")
        weights = {name: 0.0 if name in empty else weight for name, weight in weights.items()}
    if not any(weights.values()):
        raise ConfigError(
            "mix.weights",
            "no source with a weight above 0 has rows to train on",
            "give more raw rows, or set a lower split.valid_ratio",
        )
    plan = SIZERS[mix.strategy](mix, weights, available)
    epochs = {name: quota / available[name] for name, quota in plan.quotas.items() if quota}
    warnings += [
        f"{name} is repeated {times:.1f} times; set mix.max_epochs to limit it"
        for name, times in epochs.items()
        if times > MANY_EPOCHS and mix.max_epochs is None
    ]
    return Plan(plan.quotas, plan.pace, [*warnings, *plan.warnings])


def _interleave(mix: Mix, weights: Mapping[str, float], available: Mapping[str, int]) -> Plan:
    if mix.stop == "all_exhausted":
        _refuse_total(mix, "interleave with stop: all_exhausted")
        return Plan({name: available[name] if weight else 0 for name, weight in weights.items()}, dict(weights))
    total = total_within(available, weights)
    quotas = largest_remainder(total if mix.total_rows is None else min(total, mix.total_rows), weights)
    warnings = (
        [f"mix.total_rows={mix.total_rows:,}, but the scarcest source allows {total:,}"]
        if (mix.total_rows or 0) > total
        else []
    )
    return Plan(quotas, quotas, warnings)


def _concat(mix: Mix, weights: Mapping[str, float], available: Mapping[str, int]) -> Plan:
    _refuse_total(mix, "concat")
    quotas = {name: available[name] if weight else 0 for name, weight in weights.items()}
    return Plan(quotas, quotas, _unequal(weights, "concat takes every row"))


def _temperature(mix: Mix, weights: Mapping[str, float], available: Mapping[str, int]) -> Plan:
    flattened = {name: available[name] ** (1 / mix.temperature) if weight else 0.0 for name, weight in weights.items()}
    plan = _resample(mix, flattened, available)
    return Plan(plan.quotas, plan.pace, [*plan.warnings, *_unequal(weights, "temperature goes by size")])


def _resample(mix: Mix, weights: Mapping[str, float], available: Mapping[str, int]) -> Plan:
    # rows of sources with weight 0 count too, so that an arm without a source is as long as one with it
    total = mix.total_rows if mix.total_rows is not None else max(1, int(DEFAULT_SHARE * sum(available.values())))
    quotas = largest_remainder(total, weights)
    if mix.max_epochs is None:
        return Plan(quotas, quotas)
    limits = {name: math.floor(mix.max_epochs * available[name]) for name in weights}
    over = [name for name, quota in quotas.items() if quota > limits[name]]
    if not over:
        return Plan(quotas, quotas)
    if mix.on_shortage == "error":
        raise ConfigError(
            f"mix.max_epochs={mix.max_epochs:g}",
            f"{over[0]} has {available[over[0]]:,} rows, at most "
            f"{limits[over[0]]:,} with repeats, and its quota is {quotas[over[0]]:,}",
            f"set mix.total_rows={total_within(limits, weights)}, or mix.on_shortage=shrink or renormalize",
        )
    shrink = mix.on_shortage == "shrink"
    quotas = (
        largest_remainder(total_within(limits, weights), weights) if shrink else renormalized(total, limits, weights)
    )
    got = sum(quotas.values())
    what = ("" if shrink else "other weights than asked, ") + f"{got:,} rows in all instead of {total:,}"
    return Plan(quotas, quotas, [f"{', '.join(over)} would be repeated more than {mix.max_epochs:g} times: {what}"])


SIZERS: dict[str, Callable[[Mix, Mapping[str, float], Mapping[str, int]], Plan]] = {
    "interleave": _interleave,
    "resample": _resample,
    "concat": _concat,
    "temperature": _temperature,
}


def _refuse_total(mix: Mix, what: str) -> None:
    if mix.total_rows is not None:
        raise ConfigError(
            f"mix.total_rows={mix.total_rows}",
            f"{what} takes every row once",
            "leave mix.total_rows out, or set mix.strategy=resample",
        )


def _unequal(weights: Mapping[str, float], why: str) -> list[str]:
    distinct = {weight for weight in weights.values() if weight}
    return [f"{why}: the weights only say which sources take part"] if len(distinct) > 1 else []


def order_rows(rows: pl.DataFrame, plan: Plan, seed: int, replacement: bool = False) -> pl.DataFrame:
    """The training rows in their written order.

    In: `source`, `key` and `at` (any number that finds the row again) of the rows available for training.
    Out: `at`, `epoch` (int32, earlier uses of the row). Within a source the rows of each epoch come in the
    order of `rank(seed, epoch, key)`; between sources by the plan's pace, the name deciding ties.
    """
    parts: list[pl.DataFrame] = []
    for place, name in enumerate(sorted(plan.quotas)):
        quota = plan.quotas[name]
        if quota:
            own = rows.filter(pl.col("source") == name)
            drawn = _draw(own, name, quota, seed) if replacement else _epochs(own, quota, seed)
            stands = (pl.int_range(quota) + 0.5) / plan.pace[name]
            parts.append(drawn.with_columns(stands.alias("stands"), pl.lit(place, pl.UInt16).alias("place")))
    return pl.concat(parts).sort("stands", "place").select("at", "epoch")


def _epochs(own: pl.DataFrame, quota: int, seed: int) -> pl.DataFrame:
    """Whole epochs, each in an order of its own, and the beginning of one more."""
    parts: list[pl.DataFrame] = []
    for epoch in range(-(-quota // len(own))):
        order = own.select("at", rank(seed, f"epoch {epoch}", "key").alias("rank"), "key").sort("rank", "key")
        parts.append(order.select("at", pl.lit(epoch, pl.Int32).alias("epoch")))
    return pl.concat(parts).head(quota)


def _draw(own: pl.DataFrame, name: str, quota: int, seed: int) -> pl.DataFrame:
    """Independent draws: draw *i* takes row xxh3_64(seed ‖ source ‖ i) mod n, so one row may come twice in a row."""
    numbers = pl.DataFrame({"n": pl.int_range(quota, eager=True).cast(pl.String)})
    picks = numbers.select(rank(seed, f"draw {name}", "n").alias("pick"))["pick"].to_numpy() % np.uint64(len(own))
    at = own.sort("key")["at"].gather(picks.astype(np.int64))
    return at.to_frame("at").with_columns(pl.int_range(pl.len()).over("at").cast(pl.Int32).alias("epoch"))
