"""What a comparison says, in words: who is better at what, how sure that is, and what could not be seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.differences import Difference, holm
from eval.intervals import LEVEL
from eval.power import rows_needed, runs_needed
from eval.telling import Measure, shown, unit_of


@dataclass(frozen=True)
class Finding:
    """A measure's difference in a bucket, with p `adjusted` for all findings shown with it, `family` in number."""

    measure: Measure
    bucket: str
    difference: Difference
    adjusted: float
    family: int

    @property
    def seen(self) -> bool:
        """Whether there is a difference: by the adjusted p, and by an interval on one side of 0."""
        return self.adjusted < LEVEL and not self.difference.low <= 0 <= self.difference.high


def findings(compared: Sequence[tuple[Measure, str, Difference]]) -> list[Finding]:
    """Differences by measure and bucket, in their order, with Holm's correction over all that have a p."""
    ps = np.array([difference.p for _, _, difference in compared], np.float64)
    family = int(np.count_nonzero(~np.isnan(ps)))
    adjusted = holm(ps).tolist()
    return [Finding(*one, p, family) for one, p in zip(compared, adjusted, strict=True)]


def verdict(found: Sequence[Finding], a: str, b: str, of_run: bool = False) -> list[str]:
    """Lines for arms that are called `a` and `b`: what may be said at all, each measure, and the correction.

    With one run an arm it speaks of these two runs, and never of mixes. What it does not see it does not call equal.
    `of_run` says that A is the base model and B the one run that was made of it.
    """
    if not any(one.family for one in found):
        return ["nothing could be compared"]
    alone = found[0].difference.runs == (1, 1) and not of_run
    names = (f"run {a}", f"run {b}") if alone else (a, b)
    measures = dict.fromkeys(one.measure for one in found)
    by_measure = {measure.name: [one for one in found if one.measure == measure] for measure in measures}
    told = [f"{name}: {'; '.join(_of_measure(own, names))}" for name, own in by_measure.items()]
    about = _about_run(found, a, b) if of_run else _about(found, alone, a, b)
    return [about, *told, _correction(found[0].family)]


def _about_run(found: Sequence[Finding], a: str, b: str) -> str:
    said = f"{b} differs from {a}" if any(one.seen for one in found) else f"no difference seen between {a} and {b}"
    return f"{said}; this is one training run, and another with the same settings would come out a little different"


def _about(found: Sequence[Finding], alone: bool, a: str, b: str) -> str:
    seen = any(one.seen for one in found)
    if alone:
        said = "these two runs differ" if seen else "no difference seen between these two runs"
        return f"{said}; with one training run each, this says nothing of other runs with the same settings"
    of_a, of_b = found[0].difference.runs
    said = f"{a} and {b} differ" if seen else f"no difference seen between {a} and {b}"
    return f"{said}, judged by {of_a} and {of_b} training runs and how far these lie apart"


def _correction(family: int) -> str:
    corrected = f"after Holm's correction for {family} comparisons" if family > 1 else "(one comparison)"
    return f"seen means p < {LEVEL} {corrected} and a 95 % interval without 0; intervals are not corrected"


def _of_measure(found: Sequence[Finding], names: tuple[str, str]) -> list[str]:
    said = [_seen(one, names) for one in found if one.seen]
    unknown = [one for one in found if math.isnan(one.difference.p)]
    if unseen := [one for one in found if not one.seen and one not in unknown]:
        where = "elsewhere" if said else f"on {unseen[0].bucket}" if len(unseen) == 1 else "anywhere"
        said.append(f"no difference seen {where}")
        said.extend(_needed(max(unseen, key=lambda one: one.difference.rows)))
    if empty := [one.bucket for one in unknown if not one.difference.rows]:
        said.append("no rows" if len(empty) == len(found) else f"no rows on {', '.join(empty)}")
    if single := [one.bucket for one in unknown if one.difference.rows]:
        said.append(f"one prompt only, too few to judge by, on {', '.join(single)}")
    return said


def _seen(one: Finding, names: tuple[str, str]) -> str:
    """Who is better, or has more, and by how much it is above the other."""
    found, measure = one.difference, one.measure
    of_b = (found.value > 0) == (measure.better >= 0)
    numbers = (found.value, found.low, found.high) if of_b else (-found.value, -found.high, -found.low)
    value, low, high = (shown(measure, number) for number in numbers)
    # so many that the end next to 0 does not look like 0
    digits = min(max(1, -math.floor(math.log10(min(abs(low), abs(high))))), 6)
    interval = f"[{low:.{digits}f}, {high:.{digits}f}]"
    word = "better" if measure.better else measure.more
    text = f"{names[of_b]} {word} on {one.bucket}: {value:+.{digits}f}{unit_of(measure)} {interval}"
    return text.replace(" -", " −").replace("[-", "[−")


def _needed(one: Finding) -> list[str]:
    """What it would take to see what is worth seeing, when it is judged as the smallest p of the family is."""
    measure, found, level = one.measure, one.difference, LEVEL / one.family
    worth = {"share": measure.worth / 100, "nats": math.log1p(measure.worth / 100), "amount": measure.worth}
    size, what = worth[measure.scale], f"{measure.worth:g}{unit_of(measure, measure.worth)} on {one.bucket}"
    if found.runs == (1, 1):
        needed, have, unit = rows_needed(found, size, level), found.rows, "rows"
    else:
        needed, have, unit = runs_needed(found, size, level), min(found.runs), "training runs an arm"
    if needed is None:
        return [f"no number of training runs alone would show {what}: it takes more rows"]
    if needed <= have:
        return [f"{what} would probably have been seen"]
    return [f"{_rounded(needed):,} {unit} would be needed to see {what}"]


def _rounded(number: int) -> int:
    """Up to two digits: the number comes from an estimate itself."""
    step = 10 ** max(0, len(str(number)) - 2)
    return -(-number // step) * step
