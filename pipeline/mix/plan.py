"""A mix as it is asked for, and as it is planned: weights, stages, quotas."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import polars as pl

from pipeline.errors import ConfigError
from pipeline.mix.quotas import Parts, added, overall

# What weights can weigh, and the setting of the whole in that unit.
TOTALS = {"rows": "total_rows", "tokens": "total_tokens", "target_tokens": "total_tokens"}


@dataclass(frozen=True)
class Stretch:
    """An entry of `mix.schedule`: the weights up to this share of the whole. Sources without a weight have 0."""

    until: float
    weights: Mapping[str, float]


@dataclass(frozen=True)
class Mix:
    """A mix as configured. `weights` are relative and complete: every source of the build has one.

    `unit` is what weights, quotas and the total count: rows, tokens or target_tokens. Only the total of that
    unit is set. With a `schedule` the weights only say which sources take part.
    """

    name: str
    weights: Mapping[str, float]
    strategy: str
    stop: str = "all_exhausted"
    total_rows: int | None = None
    replacement: bool = False
    temperature: float = 2.0
    max_epochs: float | None = None
    on_shortage: str = "error"
    unit: str = "rows"
    total_tokens: int | None = None
    schedule: Sequence[Stretch] = ()

    @property
    def total(self) -> int | None:
        """How much to train on, in the mix's unit; None: the strategy decides."""
        return self.total_rows if self.unit == "rows" else self.total_tokens

    @property
    def total_setting(self) -> str:
        """The setting that `total` comes from."""
        return f"mix.{TOTALS[self.unit]}"

    @property
    def units(self) -> str:
        """The unit in words."""
        return self.unit.replace("_", " ")


@dataclass(frozen=True)
class Available:
    """What a source has to train on: unique rows, and in the mix's unit the size of all and of the largest."""

    rows: int
    size: int
    largest: int


def measure(rows: pl.DataFrame, names: Iterable[str]) -> dict[str, Available]:
    """What each of these sources has. In: `source` and `size` of the rows available for training."""
    found = rows.group_by("source").agg(pl.len(), pl.col("size").sum().alias("all"), pl.col("size").max())
    by_source = {source: Available(count, size, largest) for source, count, size, largest in found.iter_rows()}
    return {name: by_source.get(name, Available(0, 0, 0)) for name in names}


@dataclass(frozen=True)
class Stage:
    """A stage of training: the quota of each source in the mix's unit, and its pace.

    A row whose middle comes *u* units after the source's beginning in this stage stands at u / `pace` there.
    """

    quotas: Mapping[str, int]
    pace: Mapping[str, float]


@dataclass(frozen=True)
class Plan:
    """What a strategy decided: at least one stage, what there was to take from, and what the user should know."""

    stages: Sequence[Stage]
    available: Mapping[str, Available]
    warnings: Sequence[str] = ()

    @property
    def quotas(self) -> dict[str, int]:
        """The quota of each source over all stages, in the mix's unit."""
        return added(stage.quotas for stage in self.stages)


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


def stretches(weights: Mapping[str, float], schedule: Sequence[Stretch]) -> Parts:
    """Each stage's share of the whole, and its weights; one stage without a schedule.

    A source with weight 0 in `weights` has it in every stage.
    """
    if not schedule:
        return [(Fraction(1), dict(weights))]
    ends = [Fraction(0), *(Fraction(str(stretch.until)) for stretch in schedule)]
    return [
        (end - begin, {name: stretch.weights.get(name, 0.0) if weight else 0.0 for name, weight in weights.items()})
        for begin, end, stretch in zip(ends, ends[1:], schedule, strict=False)
    ]


def requested(weights: Mapping[str, float], schedule: Sequence[Stretch]) -> dict[str, float]:
    """Each source's share of the whole, as the settings ask for it."""
    settled, _ = relative_weights(weights)
    return {name: float(share) for name, share in overall(stretches(settled, schedule)).items()}
