"""Exact shares: from weights to whole numbers of rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction


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
