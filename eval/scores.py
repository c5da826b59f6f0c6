"""Scores of single rows, and what they come to: a value with its interval for each model, measure and bucket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from eval.differences import Difference, difference
from eval.intervals import Estimate, estimate, exponential
from eval.measures import DETAILS, SCORES_OF, measure_of
from eval.telling import Measure
from eval.verdict import Finding, findings

# A line a model, row and measure: the row's `id`, and what it measures, `numerator` of `denominator`.
SCORES = {
    "model": pl.String,
    "id": pl.String,
    "measure": pl.String,
    "numerator": pl.Float64,
    "denominator": pl.Float64,
}


@dataclass(frozen=True)
class Value:
    """What a measure came to in a bucket."""

    model: str
    measure: Measure
    bucket: str
    estimate: Estimate


def values(
    scores: pl.DataFrame,
    frame: pl.DataFrame,
    buckets: Mapping[str, np.ndarray],
    measures: Sequence[Measure],
    seed: int,
) -> list[Value]:
    """A value for each model of `scores`, measure and bucket; of rows that are not measured none is counted (n = 0).

    `frame` has the rows' `id` and `group`, `buckets` which of them belong to each.
    """
    found: list[Value] = []
    for model in scores["model"].unique(maintain_order=True):
        own = scores.filter(pl.col("model") == model)
        for measure in measures:
            numerator, denominator = _columns(own, measure.name, frame)
            for bucket, inside in buckets.items():
                at = np.flatnonzero(inside & ~np.isnan(numerator))
                group = frame["group"].to_physical().to_numpy()[at]
                one = estimate(numerator[at], denominator[at], group, seed, measure.scale == "share")
                found.append(Value(model, measure, bucket, exponential(one) if measure.scale == "nats" else one))
    return found


def compared(
    arms: Sequence[Sequence[pl.DataFrame]],
    frame: pl.DataFrame,
    buckets: Mapping[str, np.ndarray],
    measures: Sequence[Measure],
    seed: int,
) -> list[Finding]:
    """What tells two arms apart, each one or more `scores` of a single model, over the rows that all measure."""
    pairs: list[tuple[Measure, str, Difference]] = []
    for measure in measures:
        sides = [[_columns(run, measure.name, frame) for run in runs] for runs in arms]
        every = [pair for side in sides for pair in side]
        known = np.all([~np.isnan(numerator) for numerator, _ in every], axis=0)
        below = every[0][1]
        known &= np.all([np.isclose(other, below, equal_nan=True) for _, other in every], axis=0)
        for bucket, inside in buckets.items():
            at = np.flatnonzero(inside & known)
            a, b = (np.stack([numerator[at] for numerator, _ in side]) for side in sides)
            group = frame["group"].to_physical().to_numpy()[at]
            one = difference(a, b, below[at], group, seed, measure.scale == "share")
            pairs.append((measure, bucket, one))
    return findings(pairs)


def measures_of(scores: pl.DataFrame, metrics: Sequence[str] = ()) -> list[Measure]:
    """How each score is to be read: in the order of `SCORES_OF`, with those of `metrics` that no row has, then a user's
    own."""
    found = set(scores["measure"].unique().to_list())
    known = {score: family for family, own in SCORES_OF.items() for score in own}
    named = [score for score, family in known.items() if score in found or family in metrics]
    own = sorted(found - known.keys())
    shares = {score: _is_share(scores, score) for score in own}
    return [measure_of(score, shares.get(score, False)) for score in [*named, *own]]


def headlines(measures: Sequence[Measure], arms: Sequence[Sequence[pl.DataFrame]]) -> list[Measure]:
    """Those that a verdict is made of: the checks behind a score that sums them up are left out, and, of the two that
    say how well text is predicted, bits per byte where all models have the same target tokens, else perplexity."""
    targets = [
        scores.filter(pl.col("measure") == "perplexity").select("id", "denominator").sort("id")
        for runs in arms
        for scores in runs
    ]
    same = all(one.equals(targets[0]) for one in targets)
    left_out = {*DETAILS, "bits_per_byte" if same else "perplexity"}
    return [measure for measure in measures if measure.name not in left_out]


def _is_share(scores: pl.DataFrame, name: str) -> bool:
    return bool(scores.filter(pl.col("measure") == name)["numerator"].is_in([0.0, 1.0]).all())


def _columns(scores: pl.DataFrame, measure: str, frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator of each row of `frame`, NaN where it is not measured."""
    own = scores.filter(pl.col("measure") == measure).select("id", "numerator", "denominator")
    joined = frame.select("id").join(own, on="id", how="left", maintain_order="left")
    return joined["numerator"].fill_null(np.nan).to_numpy(), joined["denominator"].fill_null(np.nan).to_numpy()
