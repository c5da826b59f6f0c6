"""Parquet and Arrow files: text stays text, everything else becomes its JSON."""

import datetime
import decimal
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import SourceError
from pipeline.sources import arrow_rows
from pipeline.sources.files import find_files

TEXTS = ["x", None, "题\n\u2028", ""]


def packed(table: pa.Table, form: str, tmp_path: Path) -> bytes:
    """The bytes of a Parquet file, an Arrow stream or an Arrow file."""
    place = tmp_path / "packed"
    if form == "parquet":
        pq.write_table(table, place)
    else:
        new = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
        with new(str(place), table.schema) as writer:
            writer.write_table(table)
    return place.read_bytes()


def name_of(form: str) -> str:
    return "a.parquet" if form == "parquet" else "a.arrow"


FORMS = ["parquet", "stream", "file"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "column",
    [
        pa.array(TEXTS),
        pa.array(TEXTS, pa.large_string()),
        pa.array(TEXTS).dictionary_encode(),
        pa.array(TEXTS, pa.large_string()).dictionary_encode(),
        pa.array(TEXTS, pa.string_view()),
    ],
    ids=lambda column: str(column.type),
)
def test_text_of_every_type_stays_text(read: Any, tmp_path: Path, form: str, column: pa.Array) -> None:
    raw = read(name_of(form), packed(pa.table({"q": column}), form, tmp_path))
    assert raw.values("q") == TEXTS
    assert [(record, line) for record, line, _ in raw.rows] == [(k, 0) for k in range(4)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, None, -(2**63)]), ["1", None, "-9223372036854775808"]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([1.0, None, 0.1, 1e300]), ["1.0", None, "0.1", "1e+300"]),
        (pa.array([0.1], pa.float32()), ["0.1"]),
        (pa.array([math.nan, math.inf, 1.5]), [None, None, "1.5"]),
        (pa.array([True, None, False]), ["true", None, "false"]),
        (pa.nulls(2), [None, None]),
        (pa.array([1, 2, 1]).dictionary_encode(), ["1", "2", "1"]),
        (pa.array([decimal.Decimal("1.50")]), ['"1.50"']),
        (pa.array([datetime.date(2020, 1, 2)]), ['"2020-01-02"']),
        (pa.array([["a", None], [], None]), ['["a",null]', "[]", None]),
        (pa.array([{"a": [1], "é": "\n"}, None]), ['{"a":[1],"é":"\\n"}', None]),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())), ['{"k":1}']),
    ],
    ids=str,
)
def test_other_values_become_json(
    read: Any, tmp_path: Path, form: str, column: pa.Array, expected: list[str | None]
) -> None:
    raw = read(name_of(form), packed(pa.table({"q": column}), form, tmp_path))
    assert [row.get("q") for _, _, row in raw.rows] == expected


@pytest.mark.parametrize("form", FORMS)
def test_a_column_of_any_name_is_kept(read: Any, tmp_path: Path, form: str) -> None:
    names = ["", "^q$", "*", "_", "问"]
    table = pa.table([pa.array([[k]]) for k in range(len(names))], names=names)
    raw = read(name_of(form), packed(table, form, tmp_path))
    assert raw.rows == [(0, 0, {name: f"[{k}]" for k, name in enumerate(names)})]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [0, 1, 99, 250])
def test_all_rows_come_once_in_their_order(
    read: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, rows: int
) -> None:
    data = packed(pa.table({"q": [str(k) for k in range(rows)]}), form, tmp_path)
    whole = read(name_of(form), data)
    assert whole.values("q") == [str(k) for k in range(rows)]
    assert [record for record, _, _ in whole.rows] == list(range(rows))
    monkeypatch.setattr(arrow_rows, "_BATCH_ROWS", 50)
    (tmp_path / name_of(form)).write_bytes(data)
    blocks = list(arrow_rows.read_arrow(*find_files("test", str(tmp_path / name_of(form))), "test", 1000))
    assert [len(block.record) for block in blocks] == [50] * (rows // 50) + [rows % 50] * (rows % 50 > 0)
    assert [text for block in blocks for text in block.frame["q"]] == whole.values("q")
    assert [record for block in blocks for record in block.record] == list(range(rows))


@pytest.mark.parametrize("form", FORMS)
def test_nested_messages_keep_every_value(read: Any, tmp_path: Path, form: str) -> None:
    messages = [
        [{"role": "user", "content": "题\n", "parts": [{"n": 1}]}, {"role": "assistant", "content": None}],
        [],
        None,
    ]
    kind = pa.large_list(
        pa.struct(
            [
                ("role", pa.dictionary(pa.int8(), pa.string()) if form != "parquet" else pa.string()),
                ("content", pa.large_string()),
                ("parts", pa.list_(pa.struct([("n", pa.int64())]))),
            ]
        )
    )
    raw = read(name_of(form), packed(pa.table({"messages": pa.array(messages, kind)}), form, tmp_path))
    found = [[{k: v for k, v in turn.items() if v is not None} for turn in row or []] for row in raw.values("messages")]
    assert found == [[{k: v for k, v in turn.items() if v is not None} for turn in row or []] for row in messages]


@pytest.mark.parametrize("form", FORMS)
def test_a_row_that_is_too_long_is_refused_alone(read: Any, tmp_path: Path, form: str) -> None:
    raw = read(name_of(form), packed(pa.table({"q": ["a", "x" * 200, "b"]}), form, tmp_path), max_record_bytes=100)
    assert raw.values("q") == ["a", "b"]
    assert [(bad.record, bad.line, bad.offset, bad.reason) for bad in raw.refused] == [(1, 0, -1, "too_long")]


def bad_text() -> pa.Array:
    offsets = pa.py_buffer(b"\0\0\0\0\1\0\0\0")
    return pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff")])


@pytest.mark.parametrize(
    "column",
    [
        pa.array([b"ab"]),
        pa.array([{"image": b"\xff"}]),
        pa.array([decimal.Decimal("1.5")], pa.decimal256(50, 2)),
        pa.array([pa.MonthDayNano([1, 2, 3])]),
        pa.RunEndEncodedArray.from_arrays([1], ["x"]),
        pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1]), pa.array(["a"])]),
        bad_text(),
    ],
    ids=lambda column: str(column.type),
)
def test_a_column_that_has_no_text_stops_the_source(read: Any, tmp_path: Path, column: pa.Array) -> None:
    with pytest.raises(SourceError, match=r"q|column 0"):
        read("a.arrow", packed(pa.table({"q": column}), "stream", tmp_path))


def test_two_columns_of_one_name_stop_the_source(read: Any, tmp_path: Path) -> None:
    table = pa.table([pa.array(["x"]), pa.array(["y"])], names=["q", "q"])
    with pytest.raises(SourceError, match="q twice"):
        read("a.arrow", packed(table, "stream", tmp_path))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda _: b"", lambda _: b"nothing of the kind"]
)
def test_a_damaged_file_stops_the_source(read: Any, tmp_path: Path, form: str, damage: Any) -> None:
    data = packed(pa.table({"q": ["text"] * 1000}), form, tmp_path)
    with pytest.raises(SourceError, match=name_of(form)):
        read(name_of(form), damage(data))


@pytest.mark.parametrize("form", FORMS)
def test_no_flipped_byte_ends_in_a_traceback(read: Any, tmp_path: Path, form: str) -> None:
    data = packed(pa.table({"q": ["text", "题"], "n": [1, 2]}), form, tmp_path)
    for place in range(0, len(data), 7):
        try:
            raw = read(name_of(form), data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        except SourceError:
            continue
        assert all(json.loads(text) is not None for _, _, row in raw.rows for text in row.values())


@pytest.mark.parametrize("form", FORMS)
def test_names_that_are_no_utf_8_stop_the_source(read: Any, tmp_path: Path, form: str) -> None:
    table = pa.table({"outside": [[{"within": "x"}]]})
    data = packed(table, form, tmp_path)
    for name in (b"outside", b"within"):
        with pytest.raises(SourceError, match=name_of(form)):
            read(name_of(form), data.replace(name, b"\xff" * len(name)))
