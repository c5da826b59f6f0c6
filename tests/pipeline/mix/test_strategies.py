from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.mix.order import order_rows
from pipeline.mix.plan import Available, Mix, Plan, relative_weights
from pipeline.mix.strategies import SIZERS
from pipeline.mix.strategies import plan_mix as plan_available


def mix(weights: dict[str, float], strategy: str = "resample", **more: Any) -> Mix:
    return Mix("test", weights, strategy, **more)


def pool_rows(sizes: dict[str, int]) -> pl.DataFrame:
    rows = [(name, f"{name}{k:06}") for name, size in sizes.items() for k in range(size)]
    frame = pl.DataFrame(rows, schema={"source": pl.String, "key": pl.String}, orient="row")
    return frame.with_row_index("at").with_columns(pl.lit(1, pl.Int64).alias("size"))


def plan_mix(plan_for: Mix, sizes: dict[str, int]) -> Plan:
    return plan_available(plan_for, {name: Available(size, size, min(size, 1)) for name, size in sizes.items()})


def built(plan_for: Mix, sizes: dict[str, int], seed: int = 42) -> pl.DataFrame:
    """The rows in their order, with source and key."""
    rows = pool_rows(sizes)
    plan = plan_mix(plan_for, sizes)
    return order_rows(rows, plan, seed, plan_for.replacement).join(rows, on="at", maintain_order="left")


sizes_and_weights = st.dictionaries(
    st.sampled_from("abcde"),
    st.tuples(st.integers(1, 60), st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.7])),
    min_size=1,
    max_size=5,
).filter(lambda given: any(weight for _, weight in given.values()))


@given(sizes_and_weights, st.integers(1, 300))
@settings(max_examples=60)
def test_resample_has_exact_quotas_and_even_use(sources: dict[str, tuple[int, float]], total: int) -> None:
    sizes = {name: size for name, (size, _) in sources.items()}
    plan = plan_mix(mix({name: weight for name, (_, weight) in sources.items()}, total_rows=total), sizes)
    rows = built(mix({name: weight for name, (_, weight) in sources.items()}, total_rows=total), sizes)
    assert len(rows) == total
    for name, quota in plan.quotas.items():
        own = rows.filter(pl.col("source") == name)
        assert len(own) == quota
        uses = [*Counter(own["key"]).values()] + [0] * (sizes[name] - own["key"].n_unique())
        assert not uses or max(uses) - min(uses) <= 1
        for _, repeats in own.group_by("key"):
            assert sorted(repeats["epoch"]) == list(range(len(repeats)))


@given(sizes_and_weights, st.integers(1, 300))
@settings(max_examples=60)
def test_every_prefix_holds_the_mix(sources: dict[str, tuple[int, float]], total: int) -> None:
    sizes = {name: size for name, (size, _) in sources.items()}
    weights = {name: weight for name, (_, weight) in sources.items()}
    rows, quotas = built(mix(weights, total_rows=total), sizes), plan_mix(mix(weights, total_rows=total), sizes).quotas
    for name, quota in quotas.items():
        so_far = 0
        for n, source in enumerate(rows["source"], start=1):
            so_far += source == name
            assert abs(so_far - n * quota / total) <= len(quotas)


def test_every_epoch_has_an_order_of_its_own() -> None:
    rows = built(mix({"a": 1}, total_rows=120), {"a": 40})
    first, second, third = (rows["key"][start : start + 40].to_list() for start in (0, 40, 80))
    assert sorted(first) == sorted(second) == sorted(third)
    assert len({tuple(first), tuple(second), tuple(third)}) == 3


def test_the_larger_quota_contains_the_smaller() -> None:
    sizes = {"a": 50, "b": 80}
    few, many = (built(mix({"a": weight, "b": 1}, total_rows=60), sizes) for weight in (0.4, 1.0))
    used = [Counter(zip(rows["key"], rows["epoch"], strict=True)) for rows in (few, many)]
    for name, (smaller, larger) in {"a": used, "b": used[::-1]}.items():
        assert {row for row in smaller if row[0][0] == name} <= {row for row in larger if row[0][0] == name}


def test_a_row_more_reshuffles_no_other() -> None:
    before = built(mix({"a": 1}, "concat"), {"a": 30})["key"].to_list()
    after = built(mix({"a": 1}, "concat"), {"a": 31})["key"].to_list()
    assert [key for key in after if key in set(before)] == before


def test_the_default_total_counts_rows_of_excluded_sources() -> None:
    sizes = {"a": 100, "b": 900}
    assert sum(plan_mix(mix({"a": 1, "b": 0}), sizes).quotas.values()) == 900
    assert sum(plan_mix(mix({"a": 1, "b": 1}), sizes).quotas.values()) == 900


def test_interleave_takes_every_row_once_and_only_orders_by_weight() -> None:
    rows = built(mix({"a": 3, "b": 1}, "interleave", stop="all_exhausted"), {"a": 30, "b": 30})
    assert Counter(rows["key"]).most_common(1)[0][1] == 1
    assert len(rows) == 60
    assert Counter(rows["source"][:40]) == {"a": 30, "b": 10}
    assert set(rows["source"][40:]) == {"b"}


def test_interleave_until_the_first_is_exhausted_is_exact_without_repeats() -> None:
    rows = built(mix({"a": 3, "b": 1}, "interleave", stop="first_exhausted"), {"a": 30, "b": 30})
    assert Counter(rows["source"]) == {"a": 30, "b": 10}
    assert rows["key"].is_unique().all()


def test_concat_takes_every_row_once_in_natural_proportions() -> None:
    rows = built(mix({"a": 1, "b": 1}, "concat"), {"a": 10, "b": 40})
    assert rows["key"].is_unique().all()
    assert Counter(rows["source"]) == {"a": 10, "b": 40}
    assert Counter(rows["source"][:25]) == {"a": 5, "b": 20}


def test_temperature_two_weighs_by_the_square_root_and_zero_excludes() -> None:
    plan = plan_mix(mix({"a": 1, "b": 1, "c": 0}, "temperature", total_rows=300), {"a": 100, "b": 400, "c": 50})
    assert plan.quotas == {"a": 100, "b": 200, "c": 0}


def test_replacement_draws_independently_and_numbers_repeats() -> None:
    rows = built(mix({"a": 1}, total_rows=200, replacement=True), {"a": 100})
    assert rows["key"].n_unique() < 100
    for _, repeats in rows.group_by("key", maintain_order=True):
        assert repeats["epoch"].to_list() == list(range(len(repeats)))
    assert rows.equals(built(mix({"a": 1}, total_rows=200, replacement=True), {"a": 100}))


def test_another_seed_gives_another_order() -> None:
    assert (
        built(mix({"a": 1}, "concat"), {"a": 30}, 42)["key"].to_list()
        != built(mix({"a": 1}, "concat"), {"a": 30}, 43)["key"].to_list()
    )


def test_shortage_is_an_error_or_shrinks_or_renormalizes() -> None:
    sizes = {"a": 10, "b": 100}
    asked: dict[str, Any] = {
        "weights": {"a": 1.0, "b": 1.0},
        "strategy": "resample",
        "total_rows": 100,
        "max_epochs": 2,
    }
    with pytest.raises(ConfigError, match="a has 10 rows"):
        plan_mix(Mix("test", **asked), sizes)
    shrunk = plan_mix(Mix("test", **asked, on_shortage="shrink"), sizes)
    assert shrunk.quotas == {"a": 20, "b": 20}
    refilled = plan_mix(Mix("test", **asked, on_shortage="renormalize"), sizes)
    assert refilled.quotas == {"a": 20, "b": 80}
    assert shrunk.warnings
    assert refilled.warnings


def test_the_fix_for_a_shortage_works() -> None:
    asked: dict[str, Any] = {"weights": {"a": 1.0, "b": 1.0}, "strategy": "resample", "max_epochs": 2}
    with pytest.raises(ConfigError) as error:
        plan_mix(Mix("test", **asked, total_rows=100), {"a": 10, "b": 100})
    total = int(error.value.fix.split("mix.total_rows=")[1].split(",")[0])
    assert sum(plan_mix(Mix("test", **asked, total_rows=total), {"a": 10, "b": 100}).quotas.values()) == total


def test_many_repeats_are_warned_about() -> None:
    plan = plan_mix(mix({"a": 1, "b": 1}, total_rows=1000), {"a": 10, "b": 500})
    assert any("a is repeated 50.0 times" in warning for warning in plan.warnings)


@pytest.mark.parametrize("same", [0.0, -1.0])
def test_all_zero_or_negative_weights_mean_equal_ones_with_a_warning(same: float) -> None:
    weights, warnings = relative_weights({"a": same, "b": same})
    assert weights == {"a": 1.0, "b": 1.0}
    assert warnings


@pytest.mark.parametrize(
    ("weights", "named"),
    [({"a": 1.0, "b": -1.0}, "b"), ({"a": float("nan"), "b": 1.0}, "a"), ({"a": 1.0, "b": float("inf")}, "b")],
)
def test_unusable_weights_are_refused_by_name(weights: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError) as error:
        relative_weights(weights)
    assert error.value.where == f"mix.weights.{named}"


def test_a_source_without_rows_is_left_out_with_a_warning() -> None:
    plan = plan_mix(mix({"a": 1, "b": 1}, total_rows=10), {"a": 100, "b": 0})
    assert plan.quotas == {"a": 10, "b": 0}
    assert any("b" in warning for warning in plan.warnings)


@pytest.mark.parametrize("strategy", ["concat", "interleave"])
def test_a_total_that_would_be_ignored_is_refused(strategy: str) -> None:
    with pytest.raises(ConfigError, match="total_rows"):
        plan_mix(mix({"a": 1}, strategy, total_rows=5), {"a": 10})


@pytest.mark.parametrize("strategy", sorted(SIZERS))
def test_every_strategy_leaves_out_weight_zero(strategy: str) -> None:
    assert plan_mix(mix({"a": 1, "b": 0}, strategy), {"a": 10, "b": 10}).quotas["b"] == 0


@pytest.mark.parametrize(
    ("strategy", "more", "digest"),
    [
        ("resample", {"total_rows": 300}, "478152bb2ee7b90d"),
        ("resample", {"total_rows": 300, "replacement": True}, "f734765edf38b077"),
        ("resample", {"total_rows": 300, "max_epochs": 2, "on_shortage": "shrink"}, "aaeec93733e492b2"),
        ("resample", {"total_rows": 300, "max_epochs": 2, "on_shortage": "renormalize"}, "78365b756b5a6ac1"),
        ("interleave", {"stop": "all_exhausted"}, "ca18eac643de0eb3"),
        ("interleave", {"stop": "first_exhausted"}, "1adb518c78097497"),
        ("concat", {}, "13390180bfec7919"),
        ("temperature", {}, "371e4d942ef2557d"),
    ],
)
def test_the_order_of_rows_is_that_of_all_versions(strategy: str, more: dict[str, Any], digest: str) -> None:
    rows = built(mix({"a": 3.7, "b": 1, "c": 0.5}, strategy, **more), {"a": 37, "b": 120, "c": 64})
    order = list(rows.select("at", "epoch").iter_rows())
    assert xxhash.xxh3_64_hexdigest(repr(order).encode()) == digest
