"""What a report says of each measure: its value in each bucket, the differences, and where these lie on an axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from eval.intervals import Estimate
from eval.plots import Axis, Mark, axis_of, mark, number
from eval.telling import Measure, shown, told, told_difference, unit_of

Records = Sequence[Mapping[str, Any]]
# An interval of fewer rows than this share of the most may leave the plot: it would squeeze all the others.
_FEW = 0.1


@dataclass(frozen=True)
class Row:
    """A measure in a bucket. `values` has a text for each model or arm, `numbers` what stands in it.

    `value`, `low` and `high` are the difference, which is told in `difference`, or the only value where nothing is
    compared; in the units that they are told in, NaN where they are not known.
    """

    measure: Measure
    bucket: str
    rows: int
    values: Sequence[str]
    numbers: Sequence[float]
    difference: str
    value: float
    low: float
    high: float
    p: float
    seen: bool

    @property
    def way(self) -> Literal["gain", "loss", "other", "none"]:
        """Whether the second of two models is better, worse, or neither."""
        if not math.isfinite(self.value) or not self.value or not self.difference:
            return "none"
        return "other" if not self.measure.better else "gain" if self.value * self.measure.better > 0 else "loss"

    @property
    def unit(self) -> str:
        """What its difference (or value) counts."""
        if self.difference:
            return "% of the perplexity" if self.measure.scale == "nats" else unit_of(self.measure).strip()
        return {"share": "%", "nats": "perplexity"}.get(self.measure.scale, self.measure.unit)


@dataclass(frozen=True)
class Forest:
    """Rows over one axis, in `unit`; and the names of those without rows (n = 0)."""

    unit: str
    axis: Axis
    lines: Sequence[tuple[Row, Mark | None]]
    empty: Sequence[Row]

    @property
    def compared(self) -> bool:
        """Whether its rows have differences: checks that another score sums up have none."""
        return any(row.difference for row, _ in self.lines)

    @property
    def plotted(self) -> bool:
        """Whether there is anything on the axis."""
        return any(mark is not None for _, mark in self.lines)


def rows_of(columns: Sequence[Records], differences: Records, measures: Mapping[str, Measure]) -> list[Row]:
    """A row for each measure and bucket, in the order of the values.

    In: `columns` has the value records of each model, or those of all runs of an arm; `differences` the last less the
    first, none if nothing is compared. `measures` has how each is to be read.
    """
    values = [_by_place(column) for column in columns]
    found = {(one["measure"], one["bucket"]): one for one in differences}
    places = dict.fromkeys(place for column in (*values, found) for place in column)
    return [
        _row(measures[place[0]], place[1], [column.get(place, []) for column in values], found.get(place))
        for place in places
    ]


def by_measure(rows: Sequence[Row]) -> list[tuple[Measure, Forest]]:
    """A forest of all buckets for each measure."""
    measures = dict.fromkeys(row.measure for row in rows)
    return [(measure, _forest([row for row in rows if row.measure == measure])) for measure in measures]


def overall(rows: Sequence[Row]) -> list[Forest]:
    """A forest of the first bucket for all measures that are told in the same unit, those that are compared first."""
    first = [row for row in rows if row.bucket == rows[0].bucket]
    units = dict.fromkeys(row.unit or row.measure.name for row in first)
    found = (_forest([row for row in first if unit in (row.unit, row.measure.name)]) for unit in units)
    return sorted((forest for forest in found if forest.lines), key=lambda forest: not forest.compared)


def grid(rows: Sequence[Row]) -> tuple[list[str], list[tuple[Measure, list[Row | None]]]]:
    """Buckets, and for each measure that is compared its row in each of them."""
    buckets = list(dict.fromkeys(row.bucket for row in rows))
    places = {(row.measure, row.bucket): row for row in rows}
    measures = dict.fromkeys(row.measure for row in rows if row.rows and row.difference)
    return buckets, [(measure, [places.get((measure, bucket)) for bucket in buckets]) for measure in measures]


def _by_place(records: Records) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in records:
        found.setdefault((one["measure"], one["bucket"]), []).append(one)
    return found


def _row(measure: Measure, bucket: str, cells: Sequence[Records], found: Mapping[str, Any] | None) -> Row:
    estimates = [[_estimate(one) for one in cell] for cell in cells]
    middles = [_middle(measure, cell) for cell in estimates]
    counts = [one.rows for cell in estimates for one in cell]
    seen, p, difference = False, math.nan, ""
    only = estimates[0][0] if len(cells) == 1 and estimates[0] else _estimate({})
    factor = 100 if measure.scale == "share" else 1
    value, low, high = (factor * one for one in (only.value, only.low, only.high))
    if found is not None:
        value, low, high = (shown(measure, number(found.get(name))) for name in ("value", "low", "high"))
        seen, p = bool(found.get("seen")), number(found.get("p_holm"))
        difference = told_difference(measure, value, low, high, seen)
        counts.append(found.get("n") or 0)
    values = [_cell(measure, cell, middle) for cell, middle in zip(estimates, middles, strict=True)]
    return Row(measure, bucket, max(counts, default=0), values, middles, difference, value, low, high, p, seen)


def _estimate(one: Mapping[str, Any]) -> Estimate:
    value, low, high = (number(one.get(name)) for name in ("value", "low", "high"))
    return Estimate(value, low, high, one.get("n") or 0, one.get("groups") or 0)


def _middle(measure: Measure, cell: Sequence[Estimate]) -> float:
    """The mean of several runs: of perplexities the geometric one, which is that of their losses."""
    values = [one.value for one in cell if math.isfinite(one.value)]
    if not values:
        return math.nan
    if measure.scale == "nats" and min(values) > 0:
        return math.exp(math.fsum(map(math.log, values)) / len(values))
    return math.fsum(values) / len(values)


def _cell(measure: Measure, cell: Sequence[Estimate], middle: float) -> str:
    """One run with its interval; several by their mean, the lowest and the highest."""
    if len(cell) < 2:
        return _together(told(measure, cell[0])) if cell else "–"
    if math.isnan(middle):
        return "–"
    values = [one.value for one in cell if math.isfinite(one.value)]
    texts = [told(measure, Estimate(one, math.nan, math.nan, 0, 0)) for one in (middle, min(values), max(values))]
    return _together(f"{texts[0]} ({texts[1]} to {texts[2]})")


def _together(text: str) -> str:
    """With no line break in an interval, or before a unit."""
    return (
        text.replace(", ", ",\N{NO-BREAK SPACE}")
        .replace(" %", "\N{NO-BREAK SPACE}%")
        .replace(" to ", "\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}")
    )


def _forest(rows: Sequence[Row]) -> Forest:
    full = [row for row in rows if row.rows]
    most = max((row.rows for row in full), default=0)
    ends: Iterable[float] = (end for row in full if row.rows >= _FEW * most for end in (row.low, row.high))
    zero = [0.0] if any(row.difference or row.measure.scale == "share" for row in full) else []
    axis = axis_of((row.value for row in full), [*ends, *zero])
    lines = [(row, mark(axis, row.value, row.low, row.high)) for row in full]
    return Forest(rows[0].unit or rows[0].measure.name, axis, lines, [row for row in rows if not row.rows])
