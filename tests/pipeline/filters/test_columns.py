"""The columns behind the names are what a plain loop over the rows finds."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from pipeline import turns
from pipeline.filters.columns import NAMES, columns_of
from pipeline.schema import POOL
from pipeline.turns import conversation_texts


def message(role: str, content: str, **more: str) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


ROWS = [
    [message("user", "How many?"), message("assistant", "Three 🍎", reasoning_content="1 + 2")],
    [
        message("system", "Be brief."),
        message("user", "First"),
        message("assistant", "", tool_calls='[{"name":"f"}]'),
        message("tool", "7"),
        message("assistant", "Seven"),
    ],
    [message("user", "a"), message("assistant", "b"), message("user", "你好"), message("assistant", "好")],
]


def table() -> pa.Table:
    small = [
        {"id": f"s:{k}", "source": "s", "tags": ["x"], "messages": messages, "key": str(k), "prompt_key": "p"}
        for k, messages in enumerate(ROWS)
    ]
    small[1] |= {"tools": "[]", "answer": "7"}
    return pa.Table.from_pylist(small, schema=POOL)


def said(one: dict[str, Any]) -> int:
    return sum(len(one.get(name) or "") for name in ("content", "reasoning_content", "tool_calls"))


@pytest.mark.parametrize("rows_at_once", [1, 2, 1000])
def test_every_name_has_its_column(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_SLICE", rows_at_once)
    found = columns_of(table(), set(NAMES))
    assert set(found.columns) == set(NAMES)
    assert found["prompt"].to_list() == ["How many?", "First", "你好"]
    assert found["reply"].to_list() == ["Three 🍎", "Seven", "好"]
    assert found["len_answer"].to_list() == [said(row[-1]) for row in ROWS]
    assert found["len_prompt"].to_list() == [sum(map(said, row[:-1])) for row in ROWS]
    assert found["turns"].to_list() == [2, 5, 4]
    assert found["has_system"].to_list() == [False, True, False]
    assert found["has_reasoning"].to_list() == [True, False, False]
    assert found["has_tools"].to_list() == found["has_answer"].to_list() == [False, True, False]
    assert found["answer"].to_list() == [None, "7", None]
    for name, kind in NAMES.items():
        assert columns_of(table(), {name}).columns == [name]
        text = {"text": pl.String, "truth": pl.Boolean, "list of texts": pl.List(pl.String)}
        assert found[name].dtype == text.get(kind, found[name].dtype)
        assert kind != "number" or found[name].dtype.is_integer()


@pytest.mark.parametrize("rows_at_once", [1, 2, 1000])
def test_a_conversation_as_one_text(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_SLICE", rows_at_once)
    assert conversation_texts(table()["messages"]).to_list() == [
        "How many?\n1 + 2\nThree 🍎",
        'Be brief.\nFirst\n\n[{"name":"f"}]\n7\nSeven',
        "a\nb\n你好\n好",
    ]
    assert conversation_texts(table()["messages"].slice(0, 0)).to_list() == []


def test_a_table_without_rows_has_the_same_columns() -> None:
    assert columns_of(table().slice(0, 0), set(NAMES)).schema == columns_of(table(), set(NAMES)).schema
