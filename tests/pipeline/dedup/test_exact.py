from __future__ import annotations

from collections import Counter

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedup.exact import mark_duplicates, preference, prompts_with_several_answers

rows_of_keys = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyzw")), max_size=40).map(
    lambda rows: pl.DataFrame(
        sorted(rows, key=lambda row: row[0]), schema={"source": pl.String, "key": pl.String}, orient="row"
    )
)


@given(rows_of_keys)
def test_one_row_of_each_key_stays_the_first(rows: pl.DataFrame) -> None:
    copies = mark_duplicates(rows)
    kept = rows.filter(copies.is_null())
    assert sorted(kept["key"]) == sorted(set(rows["key"]))
    assert kept.equals(rows.unique("key", keep="first", maintain_order=True))


@given(rows_of_keys)
def test_a_copy_of_an_earlier_row_of_its_source_is_within_else_across(rows: pl.DataFrame) -> None:
    seen: set[tuple[str, str]] = set()
    anywhere: set[str] = set()
    expected: list[str | None] = []
    for source, key in rows.iter_rows():
        expected.append("within" if (source, key) in seen else "across" if key in anywhere else None)
        seen.add((source, key))
        anywhere.add(key)
    assert mark_duplicates(rows).to_list() == expected


def test_preferred_sources_come_first_then_the_names() -> None:
    assert preference(["c", "a", "b"], []) == ["a", "b", "c"]
    assert preference(["c", "a", "b"], ["c", "b"]) == ["c", "b", "a"]


@given(st.lists(st.sampled_from("pqrs")))
def test_prompts_with_several_rows_are_counted_not_dropped(prompts: list[str]) -> None:
    found = prompts_with_several_answers(pl.DataFrame({"prompt_key": prompts}, schema={"prompt_key": pl.String}))
    assert dict(found.iter_rows()) == {prompt: count for prompt, count in Counter(prompts).items() if count > 1}
