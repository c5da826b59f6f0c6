"""How sure a measured value is: a ratio of sums over rows, and its 95 % interval over prompt groups."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtrit

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]

LEVEL = 0.05  # what lies outside of an interval
# With another seed the ends of an interval move by 3 % of its half width.
_DRAWS = 4_000
# So many units show their spread to 2 %.
_UNITS = 1_000


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval. NaN stands for what cannot be known: without rows all of it, with one group the
    interval (unless it is a share's)."""

    value: float
    low: float
    high: float
    rows: int
    groups: int


@dataclass(frozen=True)
class Sums:
    """Sums over the rows of each prompt group: `numerators` (measurings, groups) and `denominators` (groups)."""

    numerators: Floats
    denominators: Floats
    rows: int

    @property
    def groups(self) -> int:
        return len(self.denominators)


def estimate(numerator: Numbers, denominator: Numbers, group: Numbers, seed: int, share: bool = False) -> Estimate:
    """sum(numerator) / sum(denominator) and its bootstrap interval over prompt groups.

    In: a number for each row; `group` is equal in rows of one prompt. `share` says that a row counts for something
    from 0 to its denominator, as hits do. The result depends on the seed, but not on the order of rows or on the
    numbering of groups. For perplexity give nats and target tokens, and take the `exponential` of the result.

    A share is drawn with two more groups of mean size, one all hits and one all misses (half of what Agresti and
    Coull, 1998, add to counts): otherwise 0 of 100 would have the interval [0, 0]. Simulated, 95 % intervals of a share
    of 1 % over 100 prompts cover it 64 % of the time without, and 99 % with them; 5 % over 50, 91 and 98 %.
    Raises: ValueError as `group_sums`.
    """
    sums = group_sums(np.asarray(numerator)[None], denominator, group)
    value = float(sums.numerators.sum() / sums.denominators.sum()) if sums.groups else np.nan
    low = high = np.nan
    if sums.groups > 1 or (share and sums.groups):
        low, high = bootstrap(sums.numerators[0], sums.denominators, [0.0, 1.0] if share else [], seed)
    return Estimate(value, low, high, sums.rows, sums.groups)


def exponential(nats: Estimate) -> Estimate:
    """Perplexity of a mean negative log-likelihood."""
    value, low, high = (float(np.exp(number)) for number in (nats.value, nats.low, nats.high))
    return replace(nats, value=value, low=low, high=high)


def group_sums(numerators: Numbers, denominator: Numbers, group: Numbers) -> Sums:
    """Sums over each prompt group, to the bit the same for any order of rows and any numbering of groups.

    In: `numerators` (measurings, rows), `denominator` and `group` (rows). Out: groups in the order of their sums. Rows
    with nothing to measure (0 of 0) are left out and not counted.
    Raises: ValueError that names the first row with something not finite, below 0 of something, or something of 0.
    """
    table = np.vstack([numerators, denominator]).astype(np.float64)
    group = np.asarray(group)
    good = np.isfinite(table).all(axis=0) & ((table[-1] > 0) | ~table.any(axis=0))
    if len(bad := np.flatnonzero(~good)):
        row = int(bad[0])
        *above, below = table[:, row].tolist()
        raise ValueError(f"row {row} measures {above} of {below} (allowed: finite numbers, of something above 0)")
    kept = table[-1] > 0
    table, group = table[:, kept], group[kept]
    if len(group):
        # each measuring on its own, so that its sums are the same whatever stands beside it
        orders = [np.lexsort((numbers, group)) for numbers in table]
        ordered = group[orders[0]]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        table = np.stack(
            [np.add.reduceat(numbers[order], starts) for numbers, order in zip(table, orders, strict=True)]
        )
    table = in_order(table)
    return Sums(table[:-1], table[-1], len(group))


def in_order(sums: Floats) -> Floats:
    """Sums (kinds, groups) in an order that does not depend on the one they came in: the last kind decides first."""
    return sums[:, np.lexsort(sums)]


def bootstrap(numerators: Floats, denominators: Floats, added: list[float], seed: int) -> tuple[float, float]:
    """The 95 % percentile interval of sum(numerators) / sum(denominators) over groups drawn with replacement.

    `added` has the ratios of groups of mean size that are drawn besides. The percentiles lie further out by as much
    as a small sample shows too little spread (Hesterberg 2015, "What teachers should know about the bootstrap", 5.3).
    Simulated on skewed losses over 10, 50 and 200 groups they cover 90, 91 and 93 %; plain percentiles 84, 91 and 93,
    BCa 84, 89 and 92, and bootstrap-t 92, 92 and 94 with intervals that are up to twice as long.

    More than 1,000 groups are first put together at random to 1,000 units. These are as independent as groups are,
    and the ratio is the same; only the time is less.
    """
    mean = denominators.mean()
    numerators, denominators = united(np.stack([numerators, denominators]), seed)
    numerators = np.append(numerators, np.array(added) * mean)
    denominators = np.append(denominators, np.full(len(added), mean))
    units = len(numerators)
    drawn = _drawn(units, seed).astype(np.float64)
    # two products with a vector: those with a matrix change in the last bit with the number of threads
    ratios = (drawn @ numerators) / (drawn @ denominators)
    tail = float(ndtr(stdtrit(units - 1, LEVEL / 2) * np.sqrt(units / (units - 1))))
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return float(low), float(high)


@lru_cache(maxsize=16)
def _drawn(units: int, seed: int) -> npt.NDArray[np.uint8]:
    """How often each unit is in each draw (draws, units): the same for all buckets with as many units."""
    drawn = np.random.default_rng(seed).integers(units, size=(_DRAWS, units))
    drawn += np.arange(_DRAWS)[:, None] * units
    return np.bincount(drawn.ravel(), minlength=_DRAWS * units).reshape(_DRAWS, units).astype(np.uint8)


def united(sums: Floats, seed: int) -> Floats:
    """Sums (…, groups) of at most 1,000 units, each of them a sum over groups that chance put together."""
    groups = sums.shape[-1]
    if groups <= _UNITS:
        return sums
    starts = np.arange(_UNITS) * groups // _UNITS
    return np.add.reduceat(sums[..., np.random.default_rng(seed).permutation(groups)], starts, axis=-1)
