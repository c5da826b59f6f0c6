"""Every mix that can be laid out passes the checks; what is changed by hand does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.mix.account import accounts
from pipeline.mix.checks import starved, uneven_use, wrong_quotas
from pipeline.mix.plan import Mix, Stretch
from pipeline.mix.strategies import SIZERS

weights = st.fixed_dictionaries({name: st.sampled_from([0.5, 1.0, 3.7]) for name in "abc"})
pools = st.fixed_dictionaries({name: st.lists(st.integers(0, 20), min_size=1, max_size=20) for name in "abc"})


@st.composite
def mixes(draw: st.DrawFn) -> Mix:
    unit, strategy = draw(st.sampled_from(["rows", "target_tokens"])), draw(st.sampled_from(sorted(SIZERS)))
    whole = strategy in ("concat", "interleave")
    total = None if whole else draw(st.one_of(st.none(), st.integers(1, 500)))
    staged = strategy == "resample" and draw(st.booleans())
    return Mix(
        "test",
        draw(weights),
        strategy,
        stop=draw(st.sampled_from(["all_exhausted", "first_exhausted"])),
        replacement=not whole and draw(st.booleans()),
        unit=unit,
        total_rows=total if unit == "rows" else None,
        total_tokens=total if unit != "rows" else None,
        schedule=[Stretch(0.3, draw(weights)), Stretch(1.0, draw(weights) | {"a": 0.0})] if staged else [],
        on_shortage=draw(st.sampled_from(["error", "shrink", "renormalize"])),
        max_epochs=draw(st.sampled_from([None, None, 2.0])) if not whole else None,
    )


def written(lay: Any, mix: Mix, sizes: dict[str, list[int]]) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The rows and the manifest as they stand in a bundle: without sizes and stages of rows."""
    units = sizes if mix.unit != "rows" else {name: [1] * len(own) for name, own in sizes.items()}
    plan, train = lay(mix, units)
    frame = train.select(pl.col("at").alias("id"), pl.col("source").cast(pl.String), "key", "epoch")
    counts = dict(frame["source"].value_counts().iter_rows())
    sources = {
        name: {"available": len(sizes[name]), "train_rows": counts.get(name, 0)} | account.entries(mix)
        for name, account in accounts(mix, plan, train).items()
    }
    return frame, {"config": {"mix": asdict(mix)}, "sources": sources}


def faults(train: pl.DataFrame, manifest: dict[str, Any]) -> set[str]:
    checks = {"repeats": uneven_use, "quotas": wrong_quotas, "prefixes": starved}
    return {name for name, check in checks.items() if check(train, manifest)}


@given(mixes(), pools)
@settings(max_examples=150)
def test_every_mix_is_found_sound(lay: Any, mix: Mix, sizes: dict[str, list[int]]) -> None:
    try:
        train, manifest = written(lay, mix, sizes)
    except ConfigError:  # too little for max_epochs, or nothing at all
        return
    assert faults(train, manifest) == set()


POOLS = {"a": [9, 1, 4, 6] * 10, "b": [20, 30] * 8, "c": [5] * 50}
TOKENS = Mix("test", {"a": 2, "b": 1, "c": 1}, "resample", unit="tokens", total_tokens=1200)
STAGED = Mix(
    "test",
    {"a": 1, "b": 1, "c": 1},
    "resample",
    total_rows=300,
    schedule=[Stretch(0.5, {"a": 3, "b": 1}), Stretch(1, {"a": 1, "b": 1, "c": 1})],
)


@pytest.mark.parametrize("mix", [TOKENS, STAGED], ids=["tokens", "schedule"])
def test_rows_sorted_by_source_are_found(lay: Any, mix: Mix) -> None:
    train, manifest = written(lay, mix, POOLS)
    assert "prefixes" in faults(train.sort("source", maintain_order=True), manifest)


@pytest.mark.parametrize("mix", [TOKENS, STAGED], ids=["tokens", "schedule"])
def test_a_lost_row_is_found(lay: Any, mix: Mix) -> None:
    train, manifest = written(lay, mix, POOLS)
    assert "quotas" in faults(train.head(-1), manifest)


def test_stages_in_another_order_are_found(lay: Any) -> None:
    train, manifest = written(lay, STAGED, POOLS)
    assert "quotas" in faults(pl.concat([train.tail(150), train.head(150)]), manifest)


def test_two_neighbours_of_different_sources_exchanged_are_found_where_rows_count(lay: Any) -> None:
    train, manifest = written(
        lay, Mix("test", {"a": 3, "b": 1}, "resample", total_rows=40), {"a": [1] * 9, "b": [1] * 9}
    )
    at = next(k for k in range(12, 40) if train["source"][k] == "b")
    order = [*range(at - 2), at, at - 1, at - 2, *range(at + 1, 40)]
    assert faults(train[order], manifest) == {"prefixes"}


@pytest.mark.parametrize(
    "forge",
    [
        lambda entry: entry.update(quota=entry["quota"] + 40),
        lambda entry: entry["size"].update(train=entry["size"]["train"] + 40),
        lambda entry: entry["size"].update(largest=1),
        lambda entry: entry.update(achieved_weight=entry["achieved_weight"] + 0.01),
        lambda entry: entry.update(epochs=entry["epochs"] * 2),
        lambda entry: entry.update(requested_weight=0.9),
    ],
    ids=["quota", "size", "largest", "achieved_weight", "epochs", "requested_weight"],
)
def test_numbers_that_do_not_agree_are_found(lay: Any, forge: Callable[[dict[str, Any]], Any]) -> None:
    train, manifest = written(lay, TOKENS, POOLS)
    assert faults(train, manifest) == set()
    forge(manifest["sources"]["b"])
    assert "quotas" in faults(train, manifest)


def test_a_stage_off_its_weights_is_found(lay: Any) -> None:
    train, manifest = written(lay, STAGED, POOLS)
    manifest["config"]["mix"]["schedule"][1]["weights"] = {"a": 2, "b": 1, "c": 1}
    assert "quotas" in faults(train, manifest)


def test_a_manifest_from_before_units_and_schedules_is_read(lay: Any) -> None:
    train, manifest = written(lay, Mix("test", {"a": 1, "b": 1}, "resample"), {"a": [1] * 9, "b": [1] * 20})
    for key in ("unit", "total_tokens", "schedule"):
        del manifest["config"]["mix"][key]
    assert faults(train, manifest) == set()
