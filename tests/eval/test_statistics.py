"""Intervals, p-values and what would be needed: what must hold for any numbers. Rates are in test_simulations.py."""

from __future__ import annotations

import itertools
import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eval.differences import Difference, difference, holm
from eval.intervals import Estimate, Floats, estimate, exponential
from eval.power import rows_needed, runs_needed

ONE = np.ones(1)


def sample(seed: int, rows: int = 60, groups: int = 25, runs: int = 1) -> tuple[Floats, Floats, Floats, Floats]:
    """Losses of A and B (runs, rows), target tokens, and prompts."""
    random = np.random.default_rng(seed)
    tokens = np.ceil(random.lognormal(3, 1, rows))
    losses = tokens * random.gamma(2, 0.5, (2, runs, rows))
    return losses[0], losses[1], tokens, random.integers(groups, size=rows)


def hits(shares: str) -> tuple[Floats, Floats, Floats]:
    """One row and prompt for each letter, hit where it is x."""
    return np.array([float(letter == "x") for letter in shares]), np.ones(len(shares)), np.arange(len(shares))


def exact(hit_by_a: str, hit_by_b: str) -> Difference:
    return difference(hits(hit_by_a)[0], hits(hit_by_b)[0], *hits(hit_by_a)[1:], seed=0, share=True)


def same(one: Estimate | Difference, other: Estimate | Difference) -> bool:
    return np.array_equal(np.hstack(astuple(one)), np.hstack(astuple(other)), equal_nan=True)


def negative(found: Difference) -> Difference:
    low, high = -found.high, -found.low
    return Difference(-found.value, low, high, found.p, found.rows, found.groups, found.runs, *astuple(found)[7:])


@given(st.integers(0, 99), st.sampled_from([5, 60, 3_000]), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_neither_the_order_of_rows_nor_the_numbers_of_groups_change_a_bit(seed: int, rows: int, chance: object) -> None:
    a, b, tokens, group = sample(seed, rows, rows)
    order = np.random.default_rng(seed).permutation(rows)
    renumbered = np.random.default_rng(seed + 1).permutation(rows)[group] * 7 - 50
    assert same(estimate(a[0], tokens, group, 3), estimate(a[0][order], tokens[order], renumbered[order], 3))
    found = difference(a, b, tokens, group, 3)
    assert same(found, difference(a[:, order], b[:, order], tokens[order], renumbered[order], 3))


@given(st.integers(0, 999), st.sampled_from([5, 60, 3_000]), st.booleans())
@example(15, 5, True)
@settings(max_examples=40)
def test_exchanging_a_and_b_turns_signs_and_nothing_else(seed: int, rows: int, share: bool) -> None:
    a, b, tokens, group = sample(seed, rows, rows)
    if share:
        a, b, tokens = np.round(a / a.max()), np.round(b / b.max()), np.ones(rows)
    assert same(difference(b, a, tokens, group, 1, share), negative(difference(a, b, tokens, group, 1, share)))


def test_two_runs_that_gain_as_much_as_they_lose_have_an_interval_around_0() -> None:
    found = exact("xxxxxx......", "......xxxxxx")
    assert (found.value, found.p, found.low) == (0, 1, -found.high)


@given(st.integers(0, 50))
@settings(max_examples=20)
def test_exchanging_arms_turns_signs(seed: int) -> None:
    a, b, tokens, group = sample(seed, runs=3)
    there, back = difference(a, b[:2], tokens, group, 0), difference(b[:2], a, tokens, group, 0)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert (back.p, back.runs) == (pytest.approx(there.p), (2, 3))


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(1, 3)), min_size=2, max_size=9))
@settings(max_examples=100)
def test_p_of_few_prompts_is_that_of_all_exchanges_of_labels(rows: list[tuple[int, int]]) -> None:
    gains = np.array([gain for gain, _ in rows], float)
    weights = np.array([weight for _, weight in rows], float)
    a = np.random.default_rng(0).integers(5, size=len(rows)) + 0.0
    b = a + gains
    reached = []
    for labels in itertools.product([False, True], repeat=len(rows)):
        ratios = [np.where(labels, one, other).sum() / weights.sum() for one, other in ((a, b), (b, a))]
        reached.append(abs(ratios[1] - ratios[0]) >= abs(b.sum() - a.sum()) / weights.sum() - 1e-9)
    assert difference(a, b, weights, np.arange(len(rows)), 0).p == pytest.approx(np.mean(reached))


def test_p_of_hits_is_mcnemars_exact_one() -> None:
    assert exact("......x...", "xxxxxxx...").p == 2 * 0.5**6
    assert exact("x.....", ".xxxx.").p == 2 * (1 + 5) * 0.5**5


def test_drawn_p_is_close_to_the_exact_one_and_never_0() -> None:
    gains = np.array([2.0] * 30 + [-2.0] * 15)
    exactly = 2 * sum(math.comb(45, k) for k in range(16)) / 2**45
    args = (np.ones(45), np.arange(45), 0)
    assert difference(np.zeros(45), gains, *args).p == pytest.approx(exactly, abs=3 * math.sqrt(exactly / 10_000))
    assert difference(np.zeros(45), np.ones(45), *args).p == 1 / 10_000


def test_rows_of_one_prompt_count_as_one() -> None:
    a, b, tokens, _ = sample(1, rows=40)
    alone, fourfold = np.arange(40), np.tile(np.arange(40), 4)
    fours = [np.tile(numbers, 4) for numbers in (a[0], b[0], tokens)]
    once, repeated = estimate(a[0], tokens, alone, 0), estimate(fours[0], fours[2], fourfold, 0)
    assert (repeated.low, repeated.high) == pytest.approx((once.low, once.high))
    assert difference(*fours, fourfold, 0).p == difference(a, b, tokens, alone, 0).p
    assert (repeated.rows, repeated.groups) == (160, 40)


def test_rows_with_nothing_to_measure_are_not_counted() -> None:
    a, b, tokens, group = sample(2)
    extended = [np.append(numbers, [0.0, 0.0]) for numbers in (a[0], b[0], tokens)]
    groups = np.append(group, [3, 999])
    assert same(estimate(extended[0], extended[2], groups, 0), estimate(a[0], tokens, group, 0))
    assert same(difference(*extended, groups, 0), difference(a, b, tokens, group, 0))


def test_without_rows_there_is_no_value() -> None:
    none = np.empty(0)
    assert same(estimate(none, none, none, 0), Estimate(*[math.nan] * 3, 0, 0))
    for runs in (1, 2):
        found = difference(np.empty((runs, 0)), np.empty((runs, 0)), none, none, 0)
        assert np.isnan([found.value, found.low, found.p]).all()
        assert (found.rows, found.groups) == (0, 0)


def test_one_prompt_says_nothing_of_others() -> None:
    found = estimate(np.array([3.0, 5.0]), np.array([2.0, 2.0]), np.zeros(2), 0)
    assert (found.value, found.groups) == (2, 1)
    assert math.isnan(found.low)
    assert estimate(ONE, ONE, ONE, 0, share=True) == Estimate(1, 0, 1, 1, 1)
    for runs in (1, 3):
        several = difference(np.zeros((runs, 1)), np.ones((runs, 1)), ONE, ONE, 0)
        assert several.value == 1
        assert np.isnan([several.low, several.high, several.p]).all()


def test_all_hits_or_none_still_leave_doubt() -> None:
    all_hit, none_hit = estimate(*hits("x" * 100), 0, share=True), estimate(*hits("." * 100), 0, share=True)
    assert (all_hit.value, all_hit.high) == (1, 1)
    assert 0.955 < all_hit.low < 0.98  # Clopper and Pearson: 0.964
    assert none_hit.high == pytest.approx(1 - all_hit.low, abs=0.01)
    found = exact("x." * 50, "x." * 50)
    assert found.p == 1
    assert 0.02 < found.high == -found.low < 0.06
    arms = difference(*np.zeros((2, 3, 100)), *hits("." * 100)[1:], seed=0, share=True)
    assert arms.p == 1
    assert 0.02 < arms.high == -arms.low < 0.06


def test_the_same_runs_in_other_numbers_do_not_differ_by_rounding() -> None:
    run = np.full(50, 0.1)
    found = difference(np.tile(run, (3, 1)), np.tile(run, (2, 1)), np.ones(50), np.arange(50), 0)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("a", "of", "says"),
    [
        ([1, math.nan, 1], [1, 1, 1], "row 1 measures [nan] of 1.0"),
        ([1, 1, math.inf], [1, 1, 1], "row 2 measures [inf]"),
        ([1, 1, 1], [1, 1, math.nan], "row 2 measures [1.0] of nan"),
        ([0, 1, 1], [-1, 1, 1], "row 0 measures [0.0] of -1.0"),
        ([0, 1, 1], [1, 0, 1], "row 1 measures [1.0] of 0.0"),
    ],
)
def test_what_is_no_measurement_is_refused_with_its_row(a: list[float], of: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}".replace("[", r"\[")):
        estimate(np.array(a), np.array(of), np.arange(3), 0)


def test_perplexity_is_the_exponential_with_its_ends() -> None:
    nats = estimate(np.array([2.0, 3.0, 1.0]), np.array([1.0, 2.0, 1.0]), np.arange(3), 0)
    found = exponential(nats)
    assert (found.value, found.low, found.high) == pytest.approx(tuple(np.exp([1.5, nats.low, nats.high])))


def test_two_runs_an_arm_are_judged_by_hand_computed_variances() -> None:
    """Runs differ by the same in every row, so only runs add to the spread: Student's t, 2 degrees of freedom."""
    a, b = np.array([[1.0], [1.2]]) + np.zeros(9), np.array([[1.5], [1.9]]) + np.zeros(9)
    found = difference(a, b, np.ones(9), np.arange(9), 0)
    error = math.sqrt((0.02 + 0.08) / 2 * (1 / 2 + 1 / 2))
    assert (found.value, found.run_sd) == (pytest.approx(0.6), pytest.approx(math.sqrt(0.05)))
    assert found.high - found.value == pytest.approx(4.302652729911275 * error)
    t = 0.6 / error
    assert found.p == pytest.approx(1 - t / math.sqrt(2 + t * t))


def test_holm_is_the_textbooks() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.5, math.nan, 0.9, 0.01])) == pytest.approx([1, math.nan, 1, 0.03], nan_ok=True)
    assert len(holm(np.empty(0))) == 0


def test_more_is_needed_to_see_less() -> None:
    a, b, tokens, group = sample(4, runs=2)
    single, arms = difference(a[:1], b[:1], tokens, group, 0), difference(a, b, tokens, group, 0)
    rows = [rows_needed(single, size, 0.05) for size in (1.0, 0.5, 0.1)]
    assert rows == sorted(rows)
    assert rows[2] == pytest.approx(25 * rows[1], rel=0.1)
    strict, plain = rows_needed(single, 0.1, 0.001), rows_needed(single, 0.1, 0.05)
    assert strict is not None
    assert plain is not None
    assert strict > plain
    assert runs_needed(arms, 100.0, 0.05) == 2
    assert runs_needed(arms, 1e-6, 0.05) is None
