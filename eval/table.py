"""The result of an evaluation or a comparison as an aligned table for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eval.measures import DETAILS
from eval.scores import Value
from eval.telling import shown, told, told_difference, told_p, unit_of
from eval.verdict import Finding


def value_lines(values: Sequence[Value], found: Iterable[Finding]) -> list[str]:
    """A line a measure and bucket: n, each model's value with its 95 % interval, and the difference if there are two.

    A `*` stands where a difference is seen. Measures without rows, and checks that another sums up, have one line.
    """
    models = list(dict.fromkeys(one.model for one in values))
    differences = {(one.measure.name, one.bucket): one for one in found}
    head = ["measure", "bucket", "n", *models, *(["difference"] if differences else [])]
    cells: list[list[str]] = [head]
    for measure, bucket in dict.fromkeys((one.measure, one.bucket) for one in values):
        own = [one.estimate for one in values if one.measure == measure and one.bucket == bucket]
        if bucket != values[0].bucket and (not own[0].rows or measure.name in DETAILS):
            continue
        finding = differences.get((measure.name, bucket))
        line = [measure.name, bucket, f"{own[0].rows:,}", *(told(measure, one) for one in own)]
        cells.append([*line, *([_difference(finding)] if finding is not None else [])])
    return aligned(cells)


def finding_lines(found: Sequence[Finding]) -> list[str]:
    """A line a measure and bucket of a comparison: n, the difference with its interval, and both p."""
    cells = [["measure", "bucket", "n", "B − A", "p", "p (Holm)"]]
    for one in found:
        if one.difference.rows or one.bucket == found[0].bucket:
            ps = [told_p(one.difference.p), told_p(one.adjusted)]
            cells.append([one.measure.name, one.bucket, f"{one.difference.rows:,}", _difference(one), *ps])
    return aligned(cells)


def aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell, the third (n) to the right."""
    widths = [max(len(row[at]) for row in cells if at < len(row)) for at in range(max(map(len, cells)))]
    sides = [str.rjust if at == 2 else str.ljust for at in range(len(widths))]
    return [
        "  ".join(side(text, width) for side, text, width in zip(sides, row, widths, strict=False)).rstrip()
        for row in cells
    ]


def _difference(finding: Finding) -> str:
    measure, found = finding.measure, finding.difference
    value, low, high = (shown(measure, number) for number in (found.value, found.low, found.high))
    text = told_difference(measure, value, low, high, finding.seen, unit_of(measure))
    return f"{text} *" if finding.seen else text
