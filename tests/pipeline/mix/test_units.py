"""What holds where weights weigh tokens."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.mix.plan import Mix, measure
from pipeline.mix.quotas import largest_remainder

Pools = dict[str, list[int]]

pools_and_weights = st.dictionaries(
    st.sampled_from("abcd"),
    st.tuples(st.lists(st.integers(0, 40), min_size=1, max_size=30).filter(any), st.sampled_from([0.0, 0.5, 1.0, 3.7])),
    min_size=1,
    max_size=4,
).filter(lambda given: any(weight for _, weight in given.values()))


def tokens(weights: dict[str, float], strategy: str = "resample", **more: Any) -> Mix:
    return Mix("test", weights, strategy, unit="tokens", **more)


def apart(given: dict[str, tuple[list[int], float]]) -> tuple[Pools, dict[str, float]]:
    return {name: sizes for name, (sizes, _) in given.items()}, {name: weight for name, (_, weight) in given.items()}


def within_half_a_row(got: int, quota: int, rows: pl.DataFrame, pool: list[int]) -> bool:
    """Or one row, where that alone is more than the quota."""
    return 2 * abs(got - quota) <= max(pool) or (got > quota and (rows["size"] > 0).sum() == 1)


@given(pools_and_weights, st.integers(1, 2000), st.booleans())
@settings(max_examples=80)
def test_a_source_gives_its_quota_up_to_half_a_row(
    lay: Any, sources: dict[str, tuple[list[int], float]], total: int, replacement: bool
) -> None:
    pools, weights = apart(sources)
    plan, train = lay(tokens(weights, total_tokens=total, replacement=replacement), pools)
    assert plan.quotas == largest_remainder(total, weights)
    for name, quota in plan.quotas.items():
        own = train.filter(pl.col("source") == name)
        assert (len(own) > 0) == (quota > 0)
        assert quota == 0 or within_half_a_row(own["size"].sum(), quota, own, pools[name])
        for _, repeats in own.group_by("key", maintain_order=True):
            assert repeats["epoch"].to_list() == list(range(len(repeats)))


@given(pools_and_weights, st.integers(1, 2000))
@settings(max_examples=60)
def test_rows_of_a_source_are_used_evenly_those_without_tokens_too(
    lay: Any, sources: dict[str, tuple[list[int], float]], total: int
) -> None:
    pools, weights = apart(sources)
    plan, train = lay(tokens(weights, total_tokens=total), pools)
    for name in pools:
        own = train.filter(pl.col("source") == name)
        uses = [*Counter(own["key"]).values()] + [0] * (len(pools[name]) - own["key"].n_unique())
        assert max(uses) - min(uses) <= 1
        assert max(uses) <= -(-plan.quotas[name] // sum(pools[name]))


@given(pools_and_weights, st.integers(1, 1000), st.integers(1, 1000))
@settings(max_examples=60)
def test_the_larger_quota_contains_the_smaller(
    lay: Any, sources: dict[str, tuple[list[int], float]], one: int, other: int
) -> None:
    pools, weights = apart(sources)
    few, many = (lay(tokens(weights, total_tokens=total), pools)[1] for total in sorted([one, other]))
    for name in pools:
        smaller, larger = (
            [*zip(own["key"], own["epoch"], strict=True)]
            for own in (train.filter(pl.col("source") == name) for train in (few, many))
        )
        assert len(smaller) > len(larger) or larger[: len(smaller)] == smaller


@given(pools_and_weights, st.integers(1, 2000))
@settings(max_examples=60)
def test_every_prefix_holds_the_mix_in_tokens_up_to_the_largest_row(
    lay: Any, sources: dict[str, tuple[list[int], float]], total: int
) -> None:
    """After each row all sources that go on are within half a row of one part of their quotas."""
    pools, weights = apart(sources)
    plan, train = lay(tokens(weights, total_tokens=total), pools)
    least, most = np.zeros(len(train)), np.full(len(train), np.inf)
    for name, quota in plan.quotas.items():
        if quota:
            own = (train["source"] == name).to_numpy()
            so_far, half = np.cumsum(own * train["size"].to_numpy()), max(pools[name]) / 2
            goes_on = np.cumsum(own) < own.sum()
            least = np.maximum(least, (so_far - half) / quota)
            most = np.minimum(most, np.where(goes_on, (so_far + half) / quota, np.inf))
    assert (least <= most + 1e-9).all()


def test_long_and_short_answers_weigh_the_same_tokens(lay: Any) -> None:
    pools = {"long": [100] * 50, "short": [10] * 500}
    _, train = lay(tokens({"long": 1, "short": 1}, total_tokens=4000), pools)
    assert Counter(train["source"]) == {"long": 20, "short": 200}
    assert Counter(train["source"][:110]) == {"long": 10, "short": 100}


@pytest.mark.parametrize("strategy", ["concat", "interleave"])
def test_every_row_is_taken_once_those_without_tokens_too(lay: Any, strategy: str) -> None:
    pools = {"a": [0, 5, 0, 7, 0], "b": [1, 0, 0]}
    _, train = lay(tokens({"a": 1, "b": 2}, strategy), pools)
    assert sorted(train["key"]) == sorted(f"{name}{k:06}" for name in pools for k in range(len(pools[name])))


def test_interleave_paces_by_tokens(lay: Any) -> None:
    pools = {"a": [10] * 30, "b": [1] * 300}
    _, train = lay(tokens({"a": 1, "b": 3}, "interleave"), pools)
    first = train.head(310).group_by("source").agg(pl.col("size").sum()).sort("source")["size"].to_list()
    assert first == [100, 300]


def test_interleave_until_the_first_is_exhausted_is_exact_in_tokens(lay: Any) -> None:
    pools = {"a": [10] * 30, "b": [5] * 20}
    plan, train = lay(tokens({"a": 1, "b": 1}, "interleave", stop="first_exhausted"), pools)
    assert plan.quotas == {"a": 100, "b": 100}
    assert Counter(train["source"]) == {"a": 10, "b": 20}
    assert train["key"].is_unique().all()


def test_temperature_goes_by_tokens(lay: Any) -> None:
    plan, _ = lay(tokens({"a": 1, "b": 1}, "temperature", total_tokens=3000), {"a": [1] * 100, "b": [100] * 4})
    assert plan.quotas == {"a": 1000, "b": 2000}


def test_a_limit_of_repeats_is_one_of_tokens(lay: Any) -> None:
    asked: dict[str, Any] = {"weights": {"a": 1, "b": 1}, "total_tokens": 100, "max_epochs": 2}
    pools = {"a": [3, 7], "b": [10] * 10}
    with pytest.raises(ConfigError, match="a has 10 tokens, at most 20") as error:
        lay(tokens(**asked), pools)
    assert "mix.total_tokens=40" in error.value.fix
    assert lay(tokens(**asked, on_shortage="shrink"), pools)[0].quotas == {"a": 20, "b": 20}
    assert lay(tokens(**asked, on_shortage="renormalize"), pools)[0].quotas == {"a": 20, "b": 80}
    with pytest.raises(ConfigError, match="leaves no tokens"):
        lay(tokens(**asked | {"max_epochs": 0.001, "on_shortage": "shrink"}), pools)


def test_the_default_total_is_a_share_of_all_tokens(lay: Any) -> None:
    plan, _ = lay(tokens({"a": 1, "b": 0}), {"a": [10] * 10, "b": [90] * 10})
    assert plan.quotas == {"a": 900, "b": 0}


def test_a_source_without_tokens_is_left_out_with_a_warning(lay: Any) -> None:
    plan, train = lay(tokens({"a": 1, "b": 1}, total_tokens=10), {"a": [1] * 20, "b": [0, 0]})
    assert set(train["source"]) == {"a"}
    assert any("no tokens to train on in b" in warning for warning in plan.warnings)
    with pytest.raises(ConfigError, match="has tokens to train on"):
        lay(tokens({"b": 1}), {"b": [0, 0]})


def test_what_is_available_is_counted_in_rows_and_units() -> None:
    rows = pl.DataFrame({"source": ["a", "a", "b"], "size": [3, 0, 5]})
    found = measure(rows, ["a", "b", "c"])
    assert [(each.rows, each.size, each.largest) for each in found.values()] == [(2, 3, 3), (1, 5, 5), (0, 0, 0)]
