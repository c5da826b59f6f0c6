"""What holds where weights change in the course of training."""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.mix.plan import Mix, Stretch, requested
from pipeline.mix.quotas import largest_remainder

NAMES = "abc"

stage_weights = st.fixed_dictionaries({name: st.sampled_from([0.0, 0.5, 1.0, 3.7]) for name in NAMES}).filter(
    lambda weights: any(weights.values())
)
pools = st.fixed_dictionaries({name: st.lists(st.integers(1, 9), min_size=1, max_size=25) for name in NAMES})


@st.composite
def schedules(draw: st.DrawFn) -> list[Stretch]:
    ends = sorted(draw(st.sets(st.integers(1, 99), max_size=3)))
    return [Stretch(end, draw(stage_weights)) for end in [*(end / 100 for end in ends), 1.0]]


def scheduled(schedule: list[Stretch], **more: Any) -> Mix:
    return Mix("test", dict.fromkeys(NAMES, 1.0), "resample", schedule=schedule, **more)


@given(schedules(), pools, st.integers(1, 400))
@settings(max_examples=80)
def test_each_stage_has_its_own_exact_quotas(
    lay: Any, schedule: list[Stretch], sources: dict[str, list[int]], total: int
) -> None:
    plan, train = lay(scheduled(schedule, total_rows=total), {name: [1] * len(own) for name, own in sources.items()})
    assert train["stage"].is_sorted()
    assert len(train) == total == sum(plan.quotas.values())
    begin = 0.0
    for k, (stage, stretch) in enumerate(zip(plan.stages, schedule, strict=True)):
        rows = train.filter(pl.col("stage") == k)
        assert stage.quotas == largest_remainder(len(rows), stretch.weights)
        assert abs(len(rows) - total * (stretch.until - begin)) < 1 + 1e-9
        counts = Counter(rows["source"])
        assert {name: counts[name] for name in NAMES} == stage.quotas
        so_far = dict.fromkeys(NAMES, 0)
        for n, source in enumerate(rows["source"], start=1):
            so_far[source] += 1
            assert all(abs(so_far[name] - n * stage.quotas[name] / len(rows)) <= len(NAMES) for name in NAMES)
        begin = stretch.until


@given(schedules(), pools, st.integers(1, 400), st.booleans())
@settings(max_examples=80)
def test_no_row_repeats_before_its_source_is_used_up(
    lay: Any, schedule: list[Stretch], sources: dict[str, list[int]], total: int, by_tokens: bool
) -> None:
    of = {"unit": "tokens", "total_tokens": total} if by_tokens else {"total_rows": total}
    units = sources if by_tokens else {name: [1] * len(own) for name, own in sources.items()}
    _, train = lay(scheduled(schedule, **of), units)
    for name, pool in sources.items():
        own = train.filter(pl.col("source") == name)
        assert own["epoch"].is_sorted()
        uses = [*Counter(own["key"]).values()] + [0] * (len(pool) - own["key"].n_unique())
        assert max(uses) - min(uses) <= 1


@given(schedules(), pools, st.integers(1, 400))
@settings(max_examples=80)
def test_stages_in_tokens_are_within_a_row_and_their_sum_within_half_of_one(
    lay: Any, schedule: list[Stretch], sources: dict[str, list[int]], total: int
) -> None:
    plan, train = lay(scheduled(schedule, unit="tokens", total_tokens=total), sources)
    assert train["stage"].is_sorted()
    for name, pool in sources.items():
        own = train.filter(pl.col("source") == name)
        due = got = 0
        for k, stage in enumerate(plan.stages):
            due += stage.quotas[name]
            got += own.filter(pl.col("stage") == k)["size"].sum()
            assert 2 * abs(got - due) <= max(pool) or due < got == own["size"][0]


def test_the_same_weights_in_every_stage_give_the_same_rows_as_none(lay: Any) -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 1.0}
    units = {name: [1] * 30 for name in NAMES}
    _, plain = lay(Mix("test", weights, "resample", total_rows=400), units)
    stretches = [Stretch(0.25, weights), Stretch(1.0, weights)]
    _, staged = lay(Mix("test", weights, "resample", total_rows=400, schedule=stretches), units)
    assert sorted(plain.select("at", "epoch").iter_rows()) == sorted(staged.select("at", "epoch").iter_rows())
    assert plain["stage"].unique().to_list() == [0]


def test_draws_with_replacement_go_on_over_stages(lay: Any) -> None:
    schedule = [Stretch(0.5, {"a": 1}), Stretch(1, {"a": 1, "b": 1})]
    plan, train = lay(scheduled(schedule, total_rows=100, replacement=True), {name: [1] * 40 for name in NAMES})
    assert [stage.quotas for stage in plan.stages] == [{"a": 50, "b": 0, "c": 0}, {"a": 25, "b": 25, "c": 0}]
    for _, repeats in train.group_by("key", maintain_order=True):
        assert repeats["epoch"].to_list() == list(range(len(repeats)))


def test_what_a_schedule_asks_for_is_the_share_of_all_its_stages() -> None:
    schedule = [Stretch(0.5, {"a": 4, "b": 1}), Stretch(1, {"b": 1})]
    assert requested({"a": 1, "b": 1}, schedule) == {"a": 0.4, "b": 0.6}
    assert requested({"a": 3, "b": 1}, []) == {"a": 0.75, "b": 0.25}


def test_weight_zero_still_excludes_with_a_warning(lay: Any) -> None:
    mix = Mix(
        "test",
        {"a": 0, "b": 1},
        "resample",
        total_rows=10,
        schedule=[Stretch(0.5, {"a": 1, "b": 1}), Stretch(1, {"b": 1})],
    )
    plan, train = lay(mix, {"a": [1] * 9, "b": [1] * 9})
    assert set(train["source"]) == {"b"}
    assert any("a has weight 0" in warning for warning in plan.warnings)


def test_a_stage_whose_sources_have_nothing_is_named(lay: Any) -> None:
    schedule = [Stretch(0.5, {"a": 1}), Stretch(1, {"b": 1})]
    with pytest.raises(ConfigError, match=r"mix.schedule\[1\]"):
        lay(scheduled(schedule), {"a": [1], "b": [], "c": [1]})


@pytest.mark.parametrize("on_shortage", ["shrink", "renormalize"])
@given(schedule=schedules(), sources=pools, total=st.integers(1, 400), limit=st.integers(1, 3))
@settings(max_examples=40)
def test_a_limit_of_repeats_holds_over_all_stages(
    lay: Any, on_shortage: str, schedule: list[Stretch], sources: dict[str, list[int]], total: int, limit: int
) -> None:
    units = {name: [1] * len(own) for name, own in sources.items()}
    mix = scheduled(schedule, total_rows=total, max_epochs=limit, on_shortage=on_shortage)
    plan, train = lay(mix, units)
    assert train["epoch"].max() < limit
    assert sum(plan.quotas.values()) <= total


def test_the_fix_for_a_shortage_works(lay: Any) -> None:
    units = {"a": [1] * 10, "b": [1] * 100, "c": [1] * 100}
    schedule = [Stretch(0.3, {"a": 1, "b": 2}), Stretch(1, {"a": 1, "c": 3})]
    with pytest.raises(ConfigError) as error:
        lay(scheduled(schedule, total_rows=300, max_epochs=2), units)
    total = int(error.value.fix.split("mix.total_rows=")[1].split(",")[0])
    plan, _ = lay(scheduled(schedule, total_rows=total, max_epochs=2), units)
    assert sum(plan.quotas.values()) == total
    with pytest.raises(ConfigError):
        lay(scheduled(schedule, total_rows=total + 8, max_epochs=2), units)
