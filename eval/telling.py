"""How the numbers of a measure are read and told: units, digits, intervals and p, the same everywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from eval.intervals import Estimate


@dataclass(frozen=True)
class Measure:
    """How a measure's differences are to be read.

    `scale`: a `share` is told in points; `nats` are a mean negative log-likelihood, told as the change of perplexity in
    percent; an `amount` is told in its `unit`. `better` says which way is (higher 1, lower -1); where neither is (0),
    `more` says what having more of it is ("longer"). `worth` is the smallest difference of interest, as it is told
    (points, percent, units).
    """

    name: str
    scale: Literal["share", "nats", "amount"]
    better: Literal[-1, 0, 1]
    worth: float
    unit: str = ""
    more: str = "more"


def shown(measure: Measure, number: float) -> float:
    """A difference as it is told: in points, in percent of the perplexity, or as it is."""
    return {"share": 100 * number, "nats": 100 * math.expm1(number), "amount": number}[measure.scale]


def unit_of(measure: Measure, number: float = 0) -> str:
    """What stands behind a difference: ` points`, ` %`, the measure's own unit or nothing."""
    unit = {"share": "points", "nats": "%", "amount": measure.unit}[measure.scale]
    return f" {unit.removesuffix('s') if number == 1 else unit}".rstrip()


def told(measure: Measure, estimate: Estimate) -> str:
    """`61.2 % [58.0, 64.1]`; shares as percentages, anything else as it is."""
    if math.isnan(estimate.value):
        return "–"
    factor, unit = (100, " %") if measure.scale == "share" else (1, "")
    numbers = [estimate.value * factor, estimate.low * factor, estimate.high * factor]
    digits = 1 if measure.scale == "share" else 3 if abs(numbers[0]) < 10 else 1
    value, low, high = (f"{number:.{digits}f}" for number in numbers)
    return f"{value}{unit}" + ("" if math.isnan(estimate.low) else f" [{low}, {high}]")


def told_difference(measure: Measure, value: float, low: float, high: float, seen: bool, unit: str = "") -> str:
    """`+6.1 points [+2.4, +9.9]` of numbers as they are `shown`, with so many digits that the end next to 0 does not
    look like 0 where the difference is seen."""
    if math.isnan(value):
        return "–"
    digits = 3 if measure.scale == "amount" and abs(value) < 1 else 1
    near = min(abs(low), abs(high))
    if seen and 0 < near < math.inf:
        digits = max(digits, min(-math.floor(math.log10(near)), 6))
    interval = "" if math.isnan(low) else f" [{low:+.{digits}f}, {high:+.{digits}f}]"
    return f"{value + 0.0:+.{digits}f}{unit}{interval}".replace("-", "−")


def told_p(value: float) -> str:
    """`0.012`, or `< 0.001`."""
    return "–" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
