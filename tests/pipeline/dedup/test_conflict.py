from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedup.conflict import mark_conflicts

rows_of_prompts = st.lists(st.tuples(st.sampled_from("pqrst"), st.booleans()), max_size=30).map(
    lambda rows: pl.DataFrame(rows, schema={"prompt_key": pl.String, "held": pl.Boolean}, orient="row")
)


@given(rows_of_prompts, st.sampled_from(["keep", "first", "drop"]))
def test_one_row_none_or_all_of_a_prompt_stay_and_those_held_always(rows: pl.DataFrame, on_conflict: str) -> None:
    goes = mark_conflicts(rows, on_conflict)
    assert not (goes & rows["held"]).any()
    for _, own in rows.with_columns(goes.alias("goes")).group_by("prompt_key", maintain_order=True):
        stay, held = own.filter(~pl.col("goes")), int(own["held"].sum())
        if on_conflict == "keep" or len(own) == 1:
            assert len(stay) == len(own)
        elif held or on_conflict == "drop":
            assert len(stay) == held
        else:
            assert stay.equals(own.head(1))
