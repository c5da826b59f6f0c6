from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipeline.split import Split, choose_validation, reuse_validation, validation_targets

USUAL = Split("prompts", valid_ratio=0.02, min_per_source=100, min_validation=100)


def rows(sizes: dict[str, int], copies: int = 1) -> pl.DataFrame:
    """Rows of so many prompts a source, each prompt `copies` times."""
    found = [
        (name, f"{name}{prompt}", f"{name}{prompt}/{copy}")
        for name, size in sizes.items()
        for prompt in range(size)
        for copy in range(copies)
    ]
    return pl.DataFrame(found, schema={"source": pl.String, "prompt_key": pl.String, "key": pl.String}, orient="row")


def taken(frame: pl.DataFrame, split: Split = USUAL, seed: int = 42) -> dict[str, int]:
    chosen = frame.filter(choose_validation(frame, split, seed))
    return dict(chosen["source"].value_counts().sort("source").iter_rows())


many = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40)), min_size=1, max_size=150).map(
    lambda drawn: pl.DataFrame(
        [(source, f"p{prompt}") for source, prompt in drawn],
        schema={"source": pl.String, "prompt_key": pl.String},
        orient="row",
    )
)


@given(many, st.integers(0, 5), st.floats(0, 0.5), st.integers(0, 60))
def test_copies_of_one_prompt_stay_on_one_side(frame: pl.DataFrame, seed: int, ratio: float, least: int) -> None:
    chosen = choose_validation(frame, Split("s", ratio, 10, least), seed)
    sides = frame.with_columns(chosen.alias("side")).group_by("prompt_key").agg(pl.col("side").n_unique())
    assert (sides["side"] == 1).all()
    assert chosen.sum() <= len(frame) / 2 + 1e-9


def test_a_share_of_each_source_at_least_the_minimum_but_not_beyond_a_tenth() -> None:
    assert taken(rows({"big": 20_000, "small": 3_000, "tiny": 300})) == {"big": 400, "small": 100, "tiny": 30}


def test_the_total_is_raised_to_the_minimum_never_beyond_half() -> None:
    assert sum(taken(rows({"a": 300, "b": 100})).values()) == 100
    assert taken(rows({"a": 20, "b": 10})) == {"a": 10, "b": 5}
    assert taken(rows({"a": 2})) == {"a": 1}
    assert taken(rows({"a": 1})) == {}


def test_one_prompt_alone_is_never_split() -> None:
    assert taken(rows({"a": 1}, copies=50)) == {}


def test_weights_and_other_sources_leave_the_choice_alone() -> None:
    alone, beside = rows({"a": 6_000}), rows({"a": 6_000, "b": 9_000})
    chosen = set(alone.filter(choose_validation(alone, USUAL, 42))["key"])
    with_b = beside.filter(choose_validation(beside, USUAL, 42))
    assert set(with_b.filter(pl.col("source") == "a")["key"]) == chosen


def test_rows_that_come_later_move_few_others() -> None:
    before, after = rows({"a": 6_000}), rows({"a": 6_600})
    old = set(before.filter(choose_validation(before, USUAL, 42))["key"])
    new = set(after.filter(choose_validation(after, USUAL, 42))["key"])
    added = {f"a{k}/0" for k in range(6_000, 6_600)}
    assert len(old - new) <= len(new & added)


def test_the_seed_decides() -> None:
    frame = rows({"a": 6_000})
    assert not choose_validation(frame, USUAL, 42).equals(choose_validation(frame, USUAL, 43))
    assert choose_validation(frame, USUAL, 42).equals(choose_validation(frame, USUAL, 42))


def test_a_prompt_that_two_sources_share_counts_for_both() -> None:
    frame = pl.DataFrame({"source": ["a"] * 1000 + ["b"] * 1000, "prompt_key": [f"p{k}" for k in range(1000)] * 2})
    chosen = frame.with_columns(choose_validation(frame, USUAL, 42).alias("side")).filter("side")
    assert dict(chosen["source"].value_counts().iter_rows()) == {"a": 100, "b": 100}
    assert chosen["prompt_key"].n_unique() == 100


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 5000), min_size=1),
    st.floats(0, 0.5),
    st.integers(0, 500),
    st.integers(0, 500),
)
def test_targets_keep_their_bounds(sizes: dict[str, int], ratio: float, per_source: int, least: int) -> None:
    targets = validation_targets(sizes, Split("s", ratio, per_source, least))
    for name, size in sizes.items():
        assert min(round(size * ratio), size // 2) <= targets[name] <= max(size // 2, round(size * ratio))
    assert sum(targets.values()) >= min(least, sum(size // 2 for size in sizes.values()))


def test_a_reused_validation_split_keeps_its_prompts_out_of_training() -> None:
    fixed = pl.DataFrame({"key": ["k1"], "prompt_key": ["p1"]})
    fresh = pl.DataFrame({"key": ["k1", "k2", "k3"], "prompt_key": ["p1", "p1", "p3"]})
    assert reuse_validation(fresh, fixed).to_list() == ["validation", "prompt_in_validation", "train"]
