"""Where things lie in the plots of a report, as shares of their width; `pages/` draws them as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

# Percent of a plot's width that is left free at either side, for marks and the text of ticks.
_MARGIN = 5.0
# Of a chart, in units of its own: the whole, and the space at the left, right, top and bottom.
WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 22, 10, 36


@dataclass(frozen=True)
class Axis:
    """A stretch of numbers with its ticks."""

    low: float
    high: float
    ticks: Sequence[float]

    def at(self, value: float) -> float:
        """Where a value lies, in percent of the width; at the margin if it is not on the axis."""
        inside = min(max(value, self.low), self.high)
        return round(_MARGIN + (100 - 2 * _MARGIN) * (inside - self.low) / (self.high - self.low), 2)

    def labels(self) -> list[tuple[float, str]]:
        """Where each tick lies, and its text."""
        return [(self.at(tick), number_text(tick, self.ticks)) for tick in self.ticks]


@dataclass(frozen=True)
class Mark:
    """A value with its interval on an axis, in percent of the width; `beyond` says at which ends it goes on."""

    at: float
    low: float
    high: float
    beyond: tuple[bool, bool]


@dataclass(frozen=True)
class Chart:
    """Lines over one axis: each with its arm, its run and its points, `x,y` in the chart's units."""

    name: str
    lines: Sequence[tuple[str, str, Sequence[str]]]
    x: Sequence[tuple[float, str]]
    y: Sequence[tuple[float, str]]
    told: str


def axis_of(values: Iterable[float], around: Iterable[float] = ()) -> Axis:
    """An axis that holds all finite `values` and what is `around` them, to its next ticks."""
    known = [number for number in (*values, *around) if math.isfinite(number)] or [0.0]
    low, high = min(known), max(known)
    largest = max(abs(low), abs(high))
    if high - low <= max(1e-9 * largest, 1e-12):  # one number: room around it
        room = largest / 2 if largest > 1e-9 else 1.0
        low, high = low - room, high + room
    step = _step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Axis(first * step, last * step, [count * step for count in range(first, last + 1)])


def mark(axis: Axis, value: float, low: float, high: float) -> Mark | None:
    """Where a value lies with its interval, if it has one; None for no value."""
    if not math.isfinite(value):
        return None
    ends = (low, high) if math.isfinite(low) and math.isfinite(high) else (value, value)
    beyond = (ends[0] < axis.low, ends[1] > axis.high)
    return Mark(axis.at(value), axis.at(ends[0]), axis.at(ends[1]), beyond)


def charts(records: Sequence[Mapping[str, Any]], order: Sequence[str]) -> list[Chart]:
    """A chart for `eval_loss` and each `eval_loss_SOURCE`, over `target_tokens`, with a line for each arm and run.

    In: records with `arm`, `run` and those columns, in any order; `order` has the arms. Numbers may be missing.
    """
    names = dict.fromkeys(name for record in records for name in record if name.startswith("eval_loss"))
    found = (_chart(name, records, order) for name in sorted(names))
    return [chart for chart in found if chart is not None]


def _chart(name: str, records: Sequence[Mapping[str, Any]], order: Sequence[str]) -> Chart | None:
    lines: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for record in records:
        point = number(record.get("target_tokens")), number(record.get(name))
        if all(map(math.isfinite, point)):
            lines.setdefault((str(record["arm"]), str(record["run"])), []).append(point)
    if not lines:
        return None
    points = [point for line in lines.values() for point in line]
    x, y = axis_of((one for one, _ in points), [0.0]), axis_of(one for _, one in points)
    ordered = sorted(lines, key=lambda line: (order.index(line[0]) if line[0] in order else len(order), line))
    drawn = [(*line, [f"{_across(x, one)},{_up(y, other)}" for one, other in sorted(lines[line])]) for line in ordered]
    ends = [(line, sorted(lines[line])) for line in ordered]
    told = "; ".join(f"{arm} {run} from {line[0][1]:.3f} to {line[-1][1]:.3f}" for (arm, run), line in ends)
    return Chart(
        "all" if name == "eval_loss" else name.removeprefix("eval_loss_"),
        drawn,
        [(_across(x, tick), _short(tick)) for tick in x.ticks],
        [(_up(y, tick), number_text(tick, y.ticks)) for tick in y.ticks],
        told,
    )


def number(value: Any) -> float:
    """What may be a number, as one; NaN if it is none."""
    return float(value) if isinstance(value, int | float) else math.nan


def number_text(value: float, among: Sequence[float]) -> str:
    """With so many decimals that the numbers `among` which it stands are told apart."""
    gap = min((abs(other - one) for one, other in pairwise(among)), default=1.0)
    digits = min(max(0, -math.floor(math.log10(gap) + 1e-9)), 12) if gap else 0
    return f"{value + 0.0:,.{digits}f}".replace("-", "−")


def _short(value: float) -> str:
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _step(wanted: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= wanted * (1 - 1e-9))


def _across(axis: Axis, value: float) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - axis.low) / (axis.high - axis.low), 1)


def _up(axis: Axis, value: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - axis.low) / (axis.high - axis.low), 1)
