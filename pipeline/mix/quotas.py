"""Exact shares: from weights to whole numbers of rows or tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

# Stages of a training, each with its share of the whole (together 1) and its weights.
Parts = Sequence[tuple[Fraction, Mapping[str, float]]]


def largest_remainder(total: int, weights: Mapping[str, float | Fraction]) -> dict[str, int]:
    """Split `total` by weight into whole numbers that sum to `total` (largest-remainder method, Hamilton).

    Weights are read as the decimals they are written as (0.1 is a tenth). Equal remainders: the name decides.
    All weights zero: all quotas are zero.
    """
    exact = {name: _fraction(weight) for name, weight in weights.items()}
    whole = sum(exact.values())
    if whole == 0:
        return dict.fromkeys(weights, 0)
    shares = {name: total * weight / whole for name, weight in exact.items()}
    quotas = {name: math.floor(share) for name, share in shares.items()}
    remainders = sorted(shares, key=lambda name: (quotas[name] - shares[name], name))
    for name in remainders[: total - sum(quotas.values())]:
        quotas[name] += 1
    return quotas


def _fraction(weight: float | Fraction) -> Fraction:
    return weight if isinstance(weight, Fraction) else Fraction(str(weight))


def total_within(limits: Mapping[str, int], weights: Mapping[str, float | Fraction]) -> int:
    """The total at which the scarcest source is used up: min(limit × sum of weights / weight), rounded down.

    The quotas of this total stay within every limit, since no share is above its limit.
    """
    exact = {name: _fraction(weight) for name, weight in weights.items() if weight}
    whole = sum(exact.values())
    return min(math.floor(limits[name] * whole / weight) for name, weight in exact.items())


def renormalized(total: int, limits: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, int]:
    """Quotas where a source that reaches its limit gives its excess to the others by their weights."""
    fixed: dict[str, int] = {}
    while True:
        free = {name: weight for name, weight in weights.items() if name not in fixed}
        quotas = largest_remainder(total - sum(fixed.values()), free)
        over = [name for name, quota in quotas.items() if quota > limits[name]]
        if not over:
            return {name: (fixed | quotas)[name] for name in weights}
        fixed |= {name: limits[name] for name in over}


def added(quotas: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Quotas of several stages taken together."""
    whole: dict[str, int] = {}
    for each in quotas:
        whole = {name: whole.get(name, 0) + quota for name, quota in each.items()}
    return whole


def overall(parts: Parts) -> dict[str, Fraction]:
    """Each source's share of the whole that the weights of the stages come to."""
    shares = dict.fromkeys(parts[0][1], Fraction(0))
    for part, weights in parts:
        exact = {name: _fraction(weight) for name, weight in weights.items()}
        whole = sum(exact.values()) or Fraction(1)
        shares = {name: share + part * exact[name] / whole for name, share in shares.items()}
    return shares


def by_stage(total: int, parts: Parts) -> list[dict[str, int]]:
    """Quotas for stages, each given as its share of `total` and its weights: largest remainder, twice."""
    return [largest_remainder(size, weights) for size, (_, weights) in zip(_sizes(total, parts), parts, strict=True)]


def _sizes(total: int, parts: Parts) -> list[int]:
    # keys of equal length, so that the earlier of two stages with equal remainders is the larger one
    return list(largest_remainder(total, {f"{k:06}": share for k, (share, _) in enumerate(parts)}).values())


def renormalized_by_stage(total: int, limits: Mapping[str, int], parts: Parts) -> list[dict[str, int]]:
    """As `renormalized`, stage after stage: a source that an early stage uses up is missing in the later ones."""
    left = dict(limits)
    quotas: list[dict[str, int]] = []
    for size, (_, weights) in zip(_sizes(total, parts), parts, strict=True):
        quotas.append(renormalized(size, left, weights))
        left = {name: left[name] - quota for name, quota in quotas[-1].items()}
    return quotas


def total_within_by_stage(limits: Mapping[str, int], parts: Parts) -> int:
    """A total whose quotas stay within every limit: as `total_within`, less what rounding in stages adds."""

    def fits(total: int) -> bool:
        return all(quota <= limits[name] for name, quota in added(by_stage(total, parts)).items())

    good, bad = 0, total_within(limits, overall(parts)) + 1
    if fits(bad - 1):
        return bad - 1
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good
