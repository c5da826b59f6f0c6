"""How often intervals hold and verdicts err, where the truth is known. The long ones print a table (`-m bench -s`)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from eval.differences import Difference, difference
from eval.intervals import Floats, estimate
from eval.power import rows_needed, runs_needed

Rows = tuple[Floats, Floats, Floats]
Arms = tuple[Floats, Floats, Floats, Floats]
SHARE = 0.4
# How much better a run must be to move its value by the standard error that chance in the rows of 100 prompts gives it.
CHANCE = {"hits": 0.19, "losses": 0.082}


def between(hits: int, of: int, rate: float, allowed: float = 0.0) -> bool:
    """Whether so many of so many are within 3 standard errors of the rate, or of what is allowed beside it."""
    return abs(hits / of - rate) <= allowed + 3 * math.sqrt(rate * (1 - rate) / of)


def replies(random: np.random.Generator, groups: int, share: float, most: int) -> Rows:
    """Hits of 1 to `most` rows a prompt; prompts are easy or hard (beta-binomial, correlation 0.4)."""
    group = np.repeat(np.arange(groups), random.integers(1, most + 1, groups))
    ease = random.beta(share * 1.5, (1 - share) * 1.5, groups) if most > 1 else np.full(groups, share)
    return (random.random(len(group)) < ease[group]) * 1.0, np.ones(len(group)), group


def losses(random: np.random.Generator, groups: int) -> Rows:
    """Losses and target tokens: skewed lengths, and short answers no easier than long ones."""
    tokens = np.ceil(random.lognormal(3.5, 0.9, groups))
    return tokens * (0.3 + random.gamma(2, 0.6, groups)) * random.lognormal(0, 0.3, groups), tokens, np.arange(groups)


LOSS = (0.3 + 1.2) * math.exp(0.3**2 / 2)


def coverage(rows: Callable[[], Rows], truth: float, times: int, share: bool) -> int:
    found = [estimate(*rows(), seed=time % 4, share=share) for time in range(times)]
    return sum(one.low <= truth <= one.high for one in found)


def arms(
    random: np.random.Generator,
    kind: str,
    runs: tuple[int, int],
    noise: float,
    groups: int = 100,
    shift: float = 0.0,
    apart: float = 0.0,
) -> Arms:
    """Numerators of A and B (runs, rows), denominators, prompts: 1 to 3 rows a prompt, prompts easy or hard.

    Each run is better or worse everywhere, by `noise` times what chance in the rows does, and by chance in each prompt.
    `shift` makes B better everywhere; `apart` makes the mixes differ from prompt to prompt, on average by nothing.
    """
    group = np.repeat(np.arange(groups), random.integers(1, 4, groups))
    arm = np.repeat([0, 1], runs)
    skill = noise * CHANCE[kind] * random.normal(size=len(arm)) + shift * arm
    level = skill[:, None] + apart * random.normal(size=(2, groups))[arm]
    level = (level + 0.7 * random.normal(size=level.shape))[:, group]
    difficulty = 1.5 * random.normal(size=groups)[group]
    if kind == "hits":
        chance = 1 / (1 + np.exp(difficulty - level - math.log(SHARE / (1 - SHARE))))
        values, of = (random.random(level.shape) < chance) * 1.0, np.ones(len(group))
    else:
        of = np.ceil(random.lognormal(3.2, 0.7, len(group)))
        values = of * (np.exp(0.3 * difficulty) - 0.1 * level)
    return values[arm == 0], values[arm == 1], of, group


def compared(
    times: int, kind: str, runs: tuple[int, int], noise: float, groups: int = 100, shift: float = 0, apart: float = 0
) -> list[Difference]:
    random = np.random.default_rng([*runs, round(10 * noise), groups])
    made = (arms(random, kind, runs, noise, groups, shift, apart) for _ in range(times))
    return [difference(*rows, 0, kind == "hits") for rows in made]


def rejected(found: list[Difference]) -> int:
    return sum(one.p < 0.05 for one in found)


@pytest.mark.parametrize("most", [1, 6])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_intervals_of_shares_hold_what_they_promise(share: float, most: int) -> None:
    random = np.random.default_rng(1)
    held = coverage(lambda: replies(random, 100, share, most), share, 200, True)
    assert between(held, 200, 0.97, 0.03)


def test_intervals_of_losses_hold_nearly_what_they_promise() -> None:
    random = np.random.default_rng(2)
    assert between(coverage(lambda: losses(random, 150), LOSS, 300, False), 300, 0.94, 0.01)


def test_intervals_over_very_many_prompts_are_those_of_all_of_them() -> None:
    """4,000 prompts are drawn as 1,000 units: the interval has the length that the whole sample's spread gives."""
    values, tokens, group = losses(np.random.default_rng(3), 4_000)
    parts = values - values.sum() / tokens.sum() * tokens
    found = estimate(values, tokens, group, 0)
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt((parts**2).sum()) / tokens.sum(), rel=0.08)


@pytest.mark.parametrize("kind", ["hits", "losses"])
def test_two_runs_without_a_difference_are_told_apart_at_the_nominal_rate(kind: str) -> None:
    found = compared(250, kind, (1, 1), 0, groups=60)
    assert rejected(found) <= 250 * (0.05 + 3 * math.sqrt(0.05 * 0.95 / 250))
    assert between(sum(one.low <= 0 <= one.high for one in found), 250, 0.955, 0.015)


@pytest.mark.parametrize("kind", ["hits", "losses"])
@pytest.mark.parametrize("runs", [(2, 2), (3, 3), (5, 5), (2, 4)])
def test_the_same_mix_with_other_seeds_comes_out_different_at_the_nominal_rate(
    kind: str, runs: tuple[int, int]
) -> None:
    """The runs lie half, once and twice as far apart as chance in the rows lets them."""
    found = [one for noise in (0.5, 1, 2) for one in compared(500, kind, runs, noise)]
    assert between(rejected(found), len(found), 0.05, 0.005)
    assert all((one.low <= 0 <= one.high) == (one.p >= 0.05) for one in found)


def test_rows_alone_would_call_the_same_mix_different() -> None:
    """Why one run of each mix says nothing of the mixes."""
    assert rejected(compared(200, "losses", (1, 1), 2)) > 60


def test_mixes_that_differ_from_prompt_to_prompt_only_come_out_different_at_the_nominal_rate() -> None:
    found = [one for runs in ((2, 2), (5, 5)) for one in compared(500, "losses", runs, 1, apart=0.5)]
    assert between(rejected(found), len(found), 0.05, 0.01)


def test_a_mix_that_is_better_is_seen_with_enough_runs() -> None:
    powers = [rejected(compared(200, "losses", (runs, runs), 1, shift=0.25)) for runs in (2, 3, 5)]
    assert powers[0] < powers[1] < powers[2]
    assert powers[2] > 140


def test_the_rows_said_to_be_needed_show_the_difference_four_times_in_five() -> None:
    found = compared(1, "losses", (1, 1), 0, groups=3_000)[0]
    needed = rows_needed(found, 0.03, 0.05)
    assert needed is not None
    larger = compared(200, "losses", (1, 1), 0, groups=round(needed / 2), shift=0.3)
    assert between(rejected(larger), 200, 0.8, 0.05)


def test_the_runs_said_to_be_needed_show_the_difference_four_times_in_five() -> None:
    found = compared(1, "losses", (60, 60), 2)[0]
    needed = runs_needed(found, 0.03, 0.05)
    assert needed is not None
    larger = compared(200, "losses", (needed, needed), 2, shift=0.3)
    assert between(rejected(larger), 200, 0.8, 0.05)


@pytest.mark.bench
@pytest.mark.parametrize("kind", ["hits", "losses"])
@pytest.mark.parametrize("apart", [0.0, 0.5])
def test_rates_of_verdicts_on_mixes(kind: str, apart: float) -> None:
    """Prints how often equal mixes come out different, better ones better, and intervals hold; 3,000 trials each."""
    shift = {"hits": 0.8, "losses": 0.3}[kind]
    print(f"\n{kind}, {'mixes that differ from prompt to prompt' if apart else 'the same mix'}; % of 3,000")
    print("runs   noise  equal differ  better seen  interval holds  its half width")
    effect = compared(1, kind, (200, 200), 0, 3_000, shift, apart)[0].value
    for runs in ((2, 2), (3, 3), (5, 5), (1, 3), (2, 5)):
        for noise in (0, 0.5, 1, 2):
            null = rejected(compared(3_000, kind, runs, noise, apart=apart))
            found = compared(3_000, kind, runs, noise, shift=shift, apart=apart)
            held = sum(one.low <= effect <= one.high for one in found)
            width = np.mean([one.high - one.low for one in found]) / 2
            rates = (null / 30, rejected(found) / 30, held / 30)
            print(
                f"{runs}  {noise:3}    {rates[0]:12.1f} {rates[1]:12.1f} {rates[2]:15.1f} {width:15.4f} of {effect:.4f}"
            )
            assert 2 < rates[0] < 7


@pytest.mark.bench
def test_coverage_of_intervals() -> None:
    """Prints how often intervals of one model hold the truth; 1,500 trials each."""
    random = np.random.default_rng(0)
    print(
        "\ngroups  losses  share: "
        + "".join(f"{share:>14}" for share in (0.5, 0.1, 0.03, 0.01))
        + "  (1 row, 1-6 rows)"
    )
    for groups in (5, 10, 20, 50, 100, 300):
        held = [coverage(lambda groups=groups: losses(random, groups), LOSS, 1_500, False)]
        for share in (0.5, 0.1, 0.03, 0.01):
            for most in (1, 6):
                rows = lambda groups=groups, share=share, most=most: replies(random, groups, share, most)  # noqa: E731
                held.append(coverage(rows, share, 1_500, True))
        print(f"{groups:6}  " + "  ".join(f"{count / 15:5.1f}" for count in held))
        assert min(held) > 0.8 * 1_500
