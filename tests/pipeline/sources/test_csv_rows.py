"""CSV and TSV: cells as they stand, numbered by record and by line, only bad rows lost."""

import csv
import io
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.sources import csv_rows

BOM = b"\xef\xbb\xbf"
cells = st.text(st.sampled_from('ab,;\t"\n\r 题é\x00'), max_size=6)
tables = st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=8)
quick = settings(max_examples=150)


def written(rows: list[list[str]], delimiter: str = ",", end: str = "\n", header: str = "a b c") -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([header.split(" "), *rows])
    return text.getvalue()


@quick
@given(tables, st.sampled_from([",", ";", "\t"]), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_cells_come_back_as_they_were(read: Any, rows: list[list[str]], delimiter: str, end: str, last: bool) -> None:
    text = written(rows, delimiter, end)
    raw = read("a.csv", text.encode() if last else text.removesuffix(end).encode(), delimiter)
    assert not raw.refused
    assert list(zip(*(raw.values(name) for name in "abc"), strict=True)) == [tuple(row) for row in rows]
    lines, line = [], 2
    for row in rows:
        lines.append(line)
        line += 1 + sum(cell.count("\n") for cell in row)
    assert [line for _, line, _ in raw.rows] == lines


@quick
@given(tables)
def test_one_bad_row_changes_nothing_for_the_others(read: Any, rows: list[list[str]]) -> None:
    text = written(rows).encode()
    fast, slow = read("a.csv", text), read("a.csv", text + b"only,two\n")
    assert slow.rows == fast.rows
    assert slow.reasons == {len(rows): "ragged_row"}


@quick
@given(st.text(st.sampled_from('ab,"\n\r 1'), max_size=40))
@example('"a"b,1\n')
@example('1",2\n3,4\n')
@example("1,2\r3,4\n")
@example('1,"2\n3,4\n')
@example(",\n,\n\n,\n")
@example('1","')
@example('1",2\n3,"x\n')
def test_any_text_reads_as_it_does_row_by_row(read: Any, text: str) -> None:
    data = b"a,b\n" + text.encode()
    plain = read("a.csv", data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "_fast", lambda *_: None)
        slow = read("a.csv", data)
    assert (plain.rows, plain.refused) == (slow.rows, slow.refused)
    numbers = sorted([record for record, _, _ in plain.rows] + [bad.record for bad in plain.refused])
    assert numbers == list(range(len(numbers)))


@quick
@given(tables, st.integers(3, 60), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_the_size_of_blocks_changes_nothing(
    read: Any, rows: list[list[str]], size: int, ragged: bool, end: str
) -> None:
    text = written(rows, end=end).encode() + b"only,two\n" * ragged + b"\n\n1,2,3\n"
    whole = read("a.csv", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "BLOCK_BYTES", size)
        pieces = read("a.csv", text)
    assert (pieces.rows, pieces.refused) == (whole.rows, whole.refused)


@quick
@given(st.text(st.sampled_from('ab,"\n\r 1'), max_size=40), st.integers(4, 30))
@example('5",x\n"y\nz",1\n2,3\n', 1 << 20)
def test_quotes_in_odd_places_do_not_matter_to_blocks(read: Any, text: str, size: int) -> None:
    data = b"a,b\n" + text.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "_record_end", lambda data: 0)  # the file as one block
        whole = read("a.csv", data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "BLOCK_BYTES", size)
        pieces = read("a.csv", data)
    assert (pieces.rows, pieces.refused) == (whole.rows, whole.refused)


@pytest.mark.parametrize("header", [b"a,b\n", BOM + b"a,b\n", b"a,b\r\n", b' a ,"b"\n', b'"a", b\n'])
def test_a_header_is_read_without_mark_and_white_space(read: Any, header: bytes) -> None:
    raw = read("a.csv", header + b"1,2\n")
    assert raw.rows == [(0, 2, {"a": '"1"', "b": '"2"'})]


def test_a_header_may_hold_line_breaks(read: Any) -> None:
    raw = read("a.csv", b'"a\nx","b\r\ny"\n1,2\n')
    assert raw.rows == [(0, 4, {"a\nx": '"1"', "b\r\ny": '"2"'})]


def test_an_unnamed_column_keeps_its_empty_name(read: Any) -> None:
    rows = [(0, 2, {"": '"1"', "b": '"2"'})]
    assert read("a.csv", b",b\n1,2\n").rows == rows
    assert read("a.csv", b",b\n1,2\n1\n").rows == rows


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"a,b,a\n1,2,3\n", "a twice"),
        (b"a, a\n1,2\n", "a twice"),
        (b"\na,b\n1,2\n", "no header"),
        (b",,\n1,2,3\n", "no header"),
        (b"a,b\r1,2\r3,4\r", "CR"),
        (b"a,b\r1,2\n3,4\n", "CR"),
    ],
)
def test_a_wrong_header_stops_the_source(read: Any, data: bytes, what: str) -> None:
    with pytest.raises(SourceError, match=what):
        read("a.csv", data)


@pytest.mark.parametrize("data", [b"", BOM, b"a,b", b"a,b\n", b"a,b\n\n\r\n"])
def test_a_file_without_records_gives_none(read: Any, data: bytes) -> None:
    raw = read("a.csv", data)
    assert (raw.rows, raw.refused) == ([], [])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"1", "ragged_row"),
        (b"1,2,3", "ragged_row"),
        (b'"1,2"', "ragged_row"),
        (b"1,\xff", "bad_utf8"),
        (b"\xed\xa0\x80,2", "bad_utf8"),
        (b"1,2\r3,4", "bad_csv"),
    ],
)
def test_a_bad_row_is_refused_alone(read: Any, bad: bytes, reason: str) -> None:
    raw = read("a.csv", b'a,b\n"x\ny",2\n\n' + bad + b"\n3,4\n")
    assert raw.reasons == {1: reason}
    assert raw.refused[0].line == 5
    assert raw.refused[0].text
    assert [(record, line) for record, line, _ in raw.rows] == [(0, 2), (2, 6)]
    assert raw.values("a") == ["x\ny", "3"]


def test_a_quote_within_a_character_does_not_vanish(read: Any) -> None:
    raw = read("a.csv", b'a,b\n"\xc2"\x80",1\n2,3\n')
    assert raw.values("a") == ["2"]
    assert raw.reasons == {0: "bad_utf8"}


@pytest.mark.parametrize("tail", [b'3,"x\n4,5\n', b'"3,4\n', b'3,"', b'3,"x""'])
def test_a_quote_that_is_never_closed_is_refused(read: Any, tail: bytes) -> None:
    raw = read("a.csv", b"a,b\n1,2\n" + tail)
    assert raw.values("a") == ["1"]
    assert [(bad.record, bad.line, bad.reason) for bad in raw.refused] == [(1, 3, "bad_csv")]


def test_a_cell_that_is_too_long_is_refused_alone(read: Any) -> None:
    limit = csv.field_size_limit(100)
    try:
        raw = read("a.csv", b"a,b\n1,2\n3,%b\n3\n5,6\n" % (b"x" * 200))
    finally:
        csv.field_size_limit(limit)
    assert raw.values("a") == ["1", "5"]
    assert raw.reasons == {1: "bad_csv", 2: "ragged_row"}


def test_cells_are_never_guessed(read: Any) -> None:
    raw = read("a.csv", b"a,b,c,d\n1.50,NA,true,\n")
    assert raw.rows == [(0, 2, {"a": '"1.50"', "b": '"NA"', "c": '"true"', "d": '""'})]


@pytest.mark.parametrize("name", ["a.tsv", "b.TSV"])
def test_tsv_is_separated_by_tabs(read: Any, name: str) -> None:
    assert read(name, b"a\tb\n1,5\t2\n").rows == [(0, 2, {"a": '"1,5"', "b": '"2"'})]


def test_one_column_may_have_blank_cells_but_blank_lines_are_no_rows(read: Any) -> None:
    raw = read("a.csv", b'a\n1\n\n""\n2\n')
    assert raw.rows == [(0, 2, {"a": '"1"'}), (1, 4, {"a": '""'}), (2, 5, {"a": '"2"'})]
