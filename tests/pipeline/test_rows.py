"""Rows in their three forms say the same."""

import json
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.normalize import clean_text
from pipeline.rows import flat_turns, messages_array, pool_rows
from pipeline.schema import MESSAGE, POOL, ROW_COLUMNS, TURN_COLUMNS
from pipeline.sources.drafts import REFUSAL, Drafts

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
turns = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant"]), "content": texts},
    optional={
        "tool_calls": st.sampled_from([None, '[{"type":"function","function":{"name":"f","arguments":{"n":1.50}}}]']),
        "weight": st.sampled_from([None, 0.5, 1.0]),
        "name": st.none() | texts,
        "reasoning_content": st.none() | texts,
        "tool_call_id": st.none() | texts,
    },
)
conversations = st.lists(st.lists(turns, min_size=1, max_size=4), min_size=1, max_size=5)
quick = settings(max_examples=100)


def flat(some: list[list[dict[str, Any]]]) -> tuple[pl.DataFrame, np.ndarray]:
    lines = [{name: turn.get(name) for name in TURN_COLUMNS} | {"i": i} for i, row in enumerate(some) for turn in row]
    return pl.DataFrame(lines, schema=TURN_COLUMNS), np.cumsum([0, *map(len, some)]).astype(np.int64)


@quick
@given(conversations, st.booleans())
def test_flat_turns_undo_the_messages_column(some: list[list[dict[str, Any]]], in_json: bool) -> None:
    frame, offsets = flat(some)
    column = messages_array(frame, offsets)
    assert column.type == POOL.field("messages").type
    chunked = pa.chunked_array([column.slice(0, 1), column.slice(1)]) if in_json else pa.chunked_array([column])
    back, places = flat_turns(chunked)
    assert back.equals(frame)
    assert places.tolist() == offsets.tolist()


def drafts_of(some: list[list[dict[str, Any]]], tags: list[Any], tools: list[Any]) -> Drafts:
    frame, _ = flat(some)
    rows = pl.DataFrame(
        {
            "i": range(len(some)),
            "tags": tags,
            "tools": tools,
            "answer": ["1"] * len(some),
            "meta": [None] * len(some),
        },
        schema=ROW_COLUMNS,
    )
    return Drafts(frame, rows, pl.DataFrame(schema=REFUSAL))


@quick
@given(conversations, st.data())
def test_a_line_of_jsonl_says_the_row(some: list[list[dict[str, Any]]], data: st.DataObject) -> None:
    tags = [data.draw(st.none() | st.lists(texts, max_size=2)) for _ in some]
    tools = [data.draw(st.sampled_from([None, '[{"type":"function"}]'])) for _ in some]
    numbers = np.arange(10, 10 + len(some))
    batch, lines = pool_rows(drafts_of(some, tags, tools), "s", ["first", "a"], numbers)
    assert batch.schema == POOL
    for row, line, own, turns in zip(batch.to_pylist(), lines.to_pylist(), tags, some, strict=True):
        assert line.endswith("\n")
        assert line.count("\n") == 1
        said = json.loads(line)
        assert said["tags"] == row["tags"] == list(dict.fromkeys(["first", "a", *(own or [])]))
        assert (said["id"], said["source"]) == (row["id"], "s")
        assert "tools" not in said if row["tools"] is None else json.loads(row["tools"]) == said["tools"]
        assert list(said) == [name for name in ("id", "source", "tags", "messages", "tools") if name in said]
        present = [{name: value for name, value in turn.items() if value is not None} for turn in turns]
        for message in present:
            if "tool_calls" in message:
                message["tool_calls"] = json.loads(message["tool_calls"])
        assert said["messages"] == present
        assert [list(message) for message in said["messages"]] == [
            [field.name for field in MESSAGE if field.name in message] for message in present
        ]


def test_ids_count_the_raw_rows() -> None:
    some = [[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]] * 3
    drafts = drafts_of(some, [None] * 3, [None] * 3)
    kept = Drafts(
        drafts.turns.filter(drafts.turns["i"] != 1), drafts.rows.filter(drafts.rows["i"] != 1), drafts.refused
    )
    batch, _ = pool_rows(kept, "s", [], np.array([7, 8, 12]))
    assert batch["id"].to_pylist() == ["s:7", "s:12"]


def test_cleaned_text_needs_no_escapes_but_the_plain_ones() -> None:
    text = clean_text(pl.Series(['a"\\\n\t\x00\x1f\u2028题🎉']))[0]
    some = [[{"role": "user", "content": text}, {"role": "assistant", "content": "a"}]]
    _, lines = pool_rows(drafts_of(some, [None], [None]), "s", [], np.array([0]))
    assert r'"a\"\\\n\t' + "\u2028题🎉" in lines[0].as_py()
