"""How sure a difference is: between two runs, or between two arms of several runs, on the same rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr, stdtrit

from eval.intervals import LEVEL, Floats, Numbers, Sums, bootstrap, group_sums, in_order, united

# The flips of 13 signs are fewer than those that are drawn where there are more signs.
_EXACT = 13
_FLIPS = 9_999
# What is smaller than this share of the values is rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Difference:
    """By how much B's value is above A's, with its 95 % interval and p. NaN stands for what cannot be known: without
    rows all of it, with one group all but the value.

    `runs` are those of A and of B. Over n groups, groups add `group_sd` / √n to the standard error; `run_sd` is the
    standard deviation of the values of one arm's runs (NaN where each arm has one: then nothing here says what other
    runs of theirs would do).
    """

    value: float
    low: float
    high: float
    p: float
    rows: int
    groups: int
    runs: tuple[int, int]
    group_sd: float
    run_sd: float


def difference(
    a: Numbers, b: Numbers, denominator: Numbers, group: Numbers, seed: int, share: bool = False
) -> Difference:
    """sum(b) / sum(denominator) - sum(a) / sum(denominator), the mean over the runs of an arm.

    In: the numerators `a` and `b` (runs, rows); `denominator`, `group`, `seed`, `share` as for `estimate`. If each arm
    has one run, these two runs are compared; if not, the arms are, as samples of the runs that their mixes would give.
    Exchanging A and B changes signs only. For perplexity give nats: the result is the logarithm of a ratio.

    A share's spread is taken with two more groups of mean size, one where B alone hits and one where A alone does
    (half of what Bonett and Price, 2012, add to pairs): that no reply of 100 differs does not say that none ever will.
    Raises: ValueError as `group_sums`.
    """
    a, b = np.atleast_2d(a), np.atleast_2d(b)
    sums = group_sums(np.concatenate([a, b]), denominator, group)
    total = sums.denominators.sum()
    # sorted, so that a run's value has the same bits whatever it is compared with
    values = np.sort(sums.numerators).sum(axis=1) / total if sums.groups else np.full(len(sums.numerators), np.nan)
    value = values[len(a) :].mean() - values[: len(a)].mean()
    if abs(value) < _ROUNDING * np.abs(values).max():
        value = 0.0
    nan = np.nan
    unknown = Difference(float(value), nan, nan, nan, sums.rows, sums.groups, (len(a), len(b)), nan, nan)
    if sums.groups < 2:
        return unknown
    return _of_runs(unknown, sums, seed, share) if len(values) == 2 else _of_arms(unknown, sums, values, share)


def holm(ps: Floats) -> Floats:
    """p adjusted for all that are shown together (Holm 1979, step-down); NaN stays and does not count.

    The chance of any false finding among them is then no more than the level, however they depend on each other.
    """
    adjusted = np.full(len(ps), np.nan)
    order = np.argsort(ps, kind="stable")[: np.count_nonzero(~np.isnan(ps))]
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(ps[order] * np.arange(len(order), 0, -1)))
    return adjusted


def _of_runs(unknown: Difference, sums: Sums, seed: int, share: bool) -> Difference:
    """Two runs: the bootstrap over groups, and p by exchanging A and B within groups.

    Both ways of subtracting draw the same groups, so that one result is the other's negative.
    """
    totals = sums.numerators[1] - sums.numerators[0]
    there, back = (in_order(np.stack([signed, sums.denominators])) for signed in (totals, -totals))
    differing = np.flatnonzero(there[0] != back[0])
    turned = len(differing) > 0 and there[0, differing[0]] < back[0, differing[0]]
    totals, weights = back if turned else there
    low, high = bootstrap(totals, weights, [1.0, -1.0] if share else [], seed)
    if turned:
        low, high = -high, -low
    elif not len(differing):
        low, high = (low - high) / 2, (high - low) / 2
    group_sd = np.sqrt(_group_variance(totals, weights, share) * sums.groups)
    return replace(unknown, low=low, high=high, p=_exchange_p(totals, seed), group_sd=float(group_sd))


def _of_arms(unknown: Difference, sums: Sums, values: Floats, share: bool) -> Difference:
    """Arms of several runs: variance components over runs and groups, which are crossed (each run answers all groups).

    In `values` the spread between an arm's runs holds what the run does everywhere, and what it does by chance in each
    group; in the difference of the arms' means, the spread between groups holds that chance as well, and what the mixes
    do in one group and not in the other. So the variance is that of runs + that of groups - that of chance, the
    latter two not below 0, with Satterthwaite's degrees of freedom (readers and cases in radiology are the same
    problem: Obuchowski and Rockette 1995, Hillis 2007). If the mixes are the same, runs alone are Student's t exactly.
    Of both intervals the longer counts, and of both p the larger: with two runs an arm, either alone is too sure.

    Few runs cannot tell whether those of one arm lie further apart, so all tell one spread. That does little harm with
    as many runs in each arm (6 % false at 5 % where one spreads thrice as far), but 14 % if 2 such runs meet 5 others.
    """
    of_a = unknown.runs[0]
    arms, arm_values = np.split(sums.numerators, [of_a]), np.split(values, [of_a])
    freedom = len(values) - 2
    shared = sum(1 / runs for runs in unknown.runs)
    run_variance = sum(((own - own.mean()) ** 2).sum() for own in arm_values) / freedom
    totals = arms[1].mean(axis=0) - arms[0].mean(axis=0)
    chance = sum(_group_variance(run - arm.mean(axis=0), sums.denominators, False) for arm in arms for run in arm)
    of_runs = run_variance * shared
    of_groups = max(0.0, _group_variance(totals, sums.denominators, share) - chance / freedom * shared)
    both = of_runs + of_groups
    slack = of_runs**2 / freedom + of_groups**2 / (sums.groups - 1)
    ways = [(of_runs, freedom), (both, both**2 / slack if slack else freedom)]
    margin = max(np.sqrt(variance) * stdtrit(degrees, 1 - LEVEL / 2) for variance, degrees in ways)
    p = max(_t_p(unknown.value, variance, degrees) for variance, degrees in ways)
    low, high = unknown.value - margin, unknown.value + margin
    if share:
        low, high = max(-1.0, low), min(1.0, high)
    group_sd, run_sd = np.sqrt(of_groups * sums.groups), np.sqrt(run_variance)
    return replace(unknown, low=float(low), high=float(high), p=p, group_sd=float(group_sd), run_sd=float(run_sd))


def _group_variance(totals: Floats, weights: Floats, share: bool) -> float:
    """The variance of sum(totals) / sum(weights) over groups, from its linear part."""
    if share:
        mean = weights.mean()
        totals, weights = np.append(totals, [mean, -mean]), np.append(weights, [mean, mean])
    groups, total = len(weights), weights.sum()
    parts = totals - totals.sum() / total * weights
    return float(groups / (groups - 1) * (parts**2).sum() / total**2)


def _t_p(value: float, variance: float, degrees: float) -> float:
    """Two-sided p of Student's t."""
    if value == 0:
        return 1.0
    return float(2 * stdtr(degrees, -abs(value) / np.sqrt(variance))) if variance else 0.0


def _exchange_p(totals: Floats, seed: int) -> float:
    """Two-sided p of the sum of `totals` when the sign of each is a coin's: what exchanging A and B in a group does.

    Up to 13 totals that are not 0 have all their signs tried, and p is exact. Of more, 9,999 times signs are drawn, and
    p is (k + 1) / (n + 1) (Phipson and Smyth 2010); above 1,000 they are flipped in units, which is exact as well.
    """
    totals = united(totals[totals != 0], seed)
    if exact := len(totals) <= _EXACT:
        flips = np.arange(2 ** len(totals))[:, None] >> np.arange(len(totals)) & 1
    else:
        drawn = np.random.default_rng(seed).integers(256, size=(_FLIPS, -(-len(totals) // 8)), dtype=np.uint8)
        flips = np.unpackbits(drawn, axis=1, count=len(totals))
    sums = totals.sum() - 2 * (flips @ totals)
    reached = int(np.count_nonzero(np.abs(sums) >= abs(totals.sum()) - _ROUNDING * np.abs(totals).sum()))
    return reached / len(sums) if exact else (reached + 1) / (len(sums) + 1)
