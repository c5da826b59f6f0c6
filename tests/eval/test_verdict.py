"""What the words say and what they never say."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from eval.differences import Difference, difference
from eval.telling import Measure
from eval.verdict import findings, verdict

NAN = math.nan
ACCURACY = Measure("accuracy", "share", better=1, worth=3)
LEAKED = Measure("template text leaked", "share", better=-1, worth=1)
PERPLEXITY = Measure("perplexity", "nats", better=-1, worth=2)
LENGTH = Measure("length", "amount", better=0, worth=20, unit="characters", more="longer")
RUN = Difference(0.061, 0.024, 0.099, 0.0004, 900, 900, (1, 1), 0.57, NAN)
NOTHING = Difference(0.002, -0.02, 0.024, 0.8, 250, 250, (1, 1), 0.18, NAN)
EMPTY = Difference(NAN, NAN, NAN, NAN, 0, 0, (1, 1), NAN, NAN)
ARMS = replace(RUN, runs=(3, 3), group_sd=0.1, run_sd=0.012)
NO_ARMS = replace(NOTHING, runs=(3, 3), group_sd=0.1, run_sd=0.03)


def lines(*compared: tuple[Measure, str, Difference], a: str = "A", b: str = "B") -> list[str]:
    return verdict(findings(compared), a, b)


def swapped(found: Difference) -> Difference:
    return replace(found, value=-found.value, low=-found.high, high=-found.low)


def test_two_mixes() -> None:
    told = lines(
        (ACCURACY, "all rows", NO_ARMS), (ACCURACY, "math/zh", ARMS), (ACCURACY, "emoji", NO_ARMS), a="chat", b="math"
    )
    assert told == [
        "chat and math differ, judged by 3 and 3 training runs and how far these lie apart",
        "accuracy: math better on math/zh: +6.1 points [2.4, 9.9]; no difference seen elsewhere; "
        "41 training runs an arm would be needed to see 3 points on all rows",
        "seen means p < 0.05 after Holm's correction for 3 comparisons and a 95 % interval without 0; "
        "intervals are not corrected",
    ]


def test_one_run_each_says_nothing_of_mixes() -> None:
    told = lines((ACCURACY, "all rows", NOTHING), (ACCURACY, "math/zh", RUN), a="chat_heavy", b="math_heavy")
    assert told == [
        "these two runs differ; with one training run each, this says nothing of other runs with the same settings",
        "accuracy: run math_heavy better on math/zh: +6.1 points [2.4, 9.9]; no difference seen elsewhere; "
        "350 rows would be needed to see 3 points on all rows",
        "seen means p < 0.05 after Holm's correction for 2 comparisons and a 95 % interval without 0; "
        "intervals are not corrected",
    ]
    assert not any("mix" in line for line in told)


def test_what_is_not_seen_is_not_called_equal() -> None:
    same = np.ones((1, 80))
    found = difference(same, same, np.ones(80), np.arange(80), 0, share=True)
    for one in (found, NOTHING, NO_ARMS, replace(NO_ARMS, value=0.0, p=1.0)):
        told = " ".join(lines((ACCURACY, "emoji", one)))
        assert "no difference seen on emoji" in told
        assert not any(word in told for word in ("equal", "same on", "identical"))


def test_the_better_one_is_named_and_the_numbers_are_its_own() -> None:
    better, worse = lines((ACCURACY, "x", RUN)), lines((ACCURACY, "x", swapped(RUN)))
    assert better[1] == "accuracy: run B better on x: +6.1 points [2.4, 9.9]"
    assert worse[1] == "accuracy: run A better on x: +6.1 points [2.4, 9.9]"
    assert lines((ACCURACY, "x", swapped(RUN)), a="B", b="A") == better


def test_where_less_is_better_the_one_with_less_is() -> None:
    assert lines((LEAKED, "x", RUN))[1] == "template text leaked: run A better on x: −6.1 points [−9.9, −2.4]"
    assert lines((LEAKED, "x", swapped(RUN)))[1] == "template text leaked: run B better on x: −6.1 points [−9.9, −2.4]"


def test_perplexity_is_told_in_percent() -> None:
    fell = replace(RUN, value=math.log(0.95), low=math.log(0.93), high=math.log(0.97))
    assert lines((PERPLEXITY, "all rows", fell))[1] == "perplexity: run B better on all rows: −5.0 % [−7.0, −3.0]"


def test_where_neither_way_is_better_only_more_is_said() -> None:
    longer = replace(RUN, value=12.34, low=3.2, high=21.5)
    assert lines((LENGTH, "x", longer))[1] == "length: run B longer on x: +12.3 characters [3.2, 21.5]"
    assert lines((LENGTH, "x", swapped(longer)))[1] == "length: run A longer on x: +12.3 characters [3.2, 21.5]"


def test_a_small_but_sure_difference_does_not_look_like_0() -> None:
    small = replace(RUN, value=0.0004, low=0.0001, high=0.0007)
    assert "+0.04 points [0.01, 0.07]" in lines((ACCURACY, "x", small))[1]


def test_corrected_p_decides() -> None:
    weak = replace(RUN, p=0.03)
    assert "better" in lines((ACCURACY, "x", weak))[1]
    told = lines((ACCURACY, "x", weak), (ACCURACY, "y", NOTHING), (PERPLEXITY, "x", NOTHING), (LENGTH, "x", EMPTY))
    assert not any("better" in line for line in told)
    assert "no difference seen anywhere" in told[1]
    assert "Holm's correction for 3 comparisons" in told[-1]
    assert told[0].startswith("no difference seen between these two runs")


def test_one_point_is_one() -> None:
    assert "1 point on x" in lines((LEAKED, "x", NOTHING))[1]


def test_an_interval_around_0_is_never_told_as_a_difference() -> None:
    assert "no difference seen on x" in lines((ACCURACY, "x", replace(RUN, low=-0.001)))[1]


def test_one_comparison_needs_no_correction() -> None:
    assert lines((ACCURACY, "x", RUN))[-1].startswith("seen means p < 0.05 (one comparison)")


def test_buckets_without_rows_and_with_one_prompt_are_named() -> None:
    single = replace(EMPTY, value=1.0, rows=2, groups=1)
    told = lines((ACCURACY, "x", RUN), (ACCURACY, "json", EMPTY), (ACCURACY, "tool", EMPTY), (ACCURACY, "law", single))
    assert told[1].endswith("; no rows on json, tool; one prompt only, too few to judge by, on law")
    assert lines((ACCURACY, "json", EMPTY)) == ["nothing could be compared"]
    assert lines() == ["nothing could be compared"]


def test_what_would_be_needed_is_said_of_the_largest_bucket_without_a_difference() -> None:
    large = replace(NOTHING, rows=5_000, groups=5_000)
    assert lines((ACCURACY, "x", NOTHING), (ACCURACY, "all rows", large))[1].endswith(
        "3 points on all rows would probably have been seen"
    )
    wide = replace(NO_ARMS, group_sd=2.0)
    assert lines((ACCURACY, "x", wide))[1].endswith(
        "no number of training runs alone would show 3 points on x: it takes more rows"
    )
    assert (
        "12,000 rows would be needed to see 3 points on x" in lines((ACCURACY, "x", replace(NOTHING, group_sd=1.16)))[1]
    )
