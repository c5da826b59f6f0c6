"""How a file is to be read is told from its content, whatever its name says."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.sniff.content import find_delimiter
from pipeline.sources.encodings import seems_to_be

ROWS = [{"question": f"Wie viel ist {n}, plus 1?", "answer": f"{n + 1}; genau"} for n in range(20)]
CHINESE = [
    {"question": f"{n} 加一等于多少？请说明理由。", "answer": f"等于 {n + 1}，因为要进一位。"} for n in range(20)
]


def table(rows: list[dict[str, str]], delimiter: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.txt", "rows", "rows.json"])
def test_the_delimiter_is_found(sniffed: Any, delimiter: str, name: str) -> None:
    finding = sniffed(table(ROWS, delimiter).encode(), name)
    assert finding.kept == len(ROWS)
    assert finding.kind.delimiter == (None if delimiter == "," else delimiter)
    assert finding.kind.format == (None if name == "rows.csv" else "csv")


def test_a_tab_needs_no_word_in_a_tsv(sniffed: Any) -> None:
    kind = sniffed(table(ROWS, "\t").encode(), "rows.tsv").kind
    assert (kind.format, kind.delimiter) == (None, None)


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.txt", "rows"])
@pytest.mark.parametrize("array", [False, True])
def test_json_is_json_by_any_name(sniffed: Any, name: str, array: bool) -> None:
    data = json.dumps(ROWS) if array else "\n".join(map(json.dumps, ROWS))
    finding = sniffed(data.encode(), name)
    assert (finding.kept, finding.kind.format) == (len(ROWS), "json")


def test_parquet_and_arrow_are_known_by_their_first_bytes(sniffed: Any) -> None:
    for write, kind in ((pl.DataFrame.write_parquet, "parquet"), (pl.DataFrame.write_ipc, "arrow")):
        out = io.BytesIO()
        write(pl.DataFrame(ROWS), out)
        finding = sniffed(out.getvalue(), "rows.bin")
        assert (finding.kept, finding.kind.format) == (len(ROWS), kind)


def test_gzip_is_read_by_its_ending_and_named_where_that_lacks(sniffed: Any) -> None:
    data = gzip.compress(table(ROWS, ";").encode())
    assert sniffed(data, "rows.csv.gz").kind.delimiter == ";"
    with pytest.raises(SourceError, match=r"gzip data under another name\n.*\.gz"):
        sniffed(data, "rows.csv")


@pytest.mark.parametrize("encoding", ["gb18030", "gbk", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_the_encoding_is_found(sniffed: Any, encoding: str, form: str) -> None:
    lines = [json.dumps(row, ensure_ascii=False) for row in CHINESE]
    text = table(CHINESE) if form == "csv" else "\n".join(lines)
    finding = sniffed(text.encode(encoding), f"rows.{form}")
    assert finding.kept == len(CHINESE)
    assert finding.kind.encoding == ("gb18030" if encoding == "gbk" else encoding)
    assert finding.columns[0].example == CHINESE[0]["question"]


@given(st.text(max_size=200))
def test_utf8_is_never_taken_for_another_encoding(text: str) -> None:
    assert "\0" in text or seems_to_be(text.encode()) is None
    assert "\0" in text or seems_to_be(text.encode()[:-1]) is None  # broken off within a character


def test_single_bad_bytes_are_no_other_encoding() -> None:
    assert seems_to_be("这是一个很长的句子，没有什么问题。".encode() * 9 + b"\xff") is None
    assert seems_to_be("Un café, s'il vous plaît. Voilà l'été: très bien, merci.".encode("latin-1")) is None


cell = st.text(alphabet=st.sampled_from(list("ab ,;\t|\"'\n1")), max_size=8)


@given(st.lists(st.tuples(cell, cell, cell), min_size=3, max_size=9), st.sampled_from(",;\t|"))
def test_a_table_has_its_delimiter_among_the_steady_ones(rows: list[tuple[str, ...]], delimiter: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(["alpha", "beta", "gamma"])  # no other delimiter is steady, since the header has none
    writer.writerows(rows)
    assert find_delimiter(out.getvalue(), whole=True) == (delimiter, len(rows) + 1)


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("rows.csv", b"", "is empty"),
        ("rows.dat", b"\x00\x01\x02\xffbinary\x00" * 50, "binary"),
        ("rows.csv", bytes(range(256)) * 20, "binary"),
        ("rows.csv", b"PK\x03\x04...", "a zip archive or an Excel workbook"),
        ("rows.json", b"%PDF-1.7 ...", "a PDF document"),
        ("rows.txt", b"Once upon a time there was a table.\nIt had no legs.\n", "plain text"),
        ("rows.md", "从前有一张桌子。\n它没有腿。\n".encode(), "plain text"),
        ("rows", b"One, two.\nThree.\nFour, five, six.\n", "plain text"),
        ("rows.jsonl", b'{"text": "Once upon a time."}\n' * 3, "plain text: only a column 'text'"),
        ("rows.csv", b"text\nOnce upon a time.\n", "plain text: only a column 'text'"),
        ("rows.csv", b"question,answer\n", "no rows"),
        ("rows.json", b"[]", "no rows"),
        ("rows.jsonl", b" \n\n", "no rows"),
        ("rows.jsonl", b'{"a": \n', "none of the first 1 records"),
        ("rows.jsonl", b'{"a": 1}\n', "no known shape; columns: a (number)"),
        (
            "rows.jsonl",
            b'{"message_id": "b", "parent_id": "a", "text": "t", "role": "prompter"}\n',
            "one message a row",
        ),
        ("rows.jsonl", b'{"chosen": "Human: a", "rejected": "Human: b"}\n', "without a prompt"),
        ("rows.jsonl", b'{"question": "a", "answer": ""}\n' * 3, "only 0 of 3 rows fit columns: empty_answer 3"),
    ],
)
def test_what_is_no_table_of_a_known_shape_is_refused(sniffed: Any, name: str, data: bytes, what: str) -> None:
    with pytest.raises(SourceError) as error:
        sniffed(data, name)
    assert what in str(error.value)
    assert error.value.fix


def test_a_broken_parquet_file_is_an_error_of_its_own(sniffed: Any, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not a readable parquet file"):
        sniffed(b"PAR1 and then nothing", "rows.parquet")


def test_a_chinese_table_in_its_own_encoding_is_known_or_gets_a_command_that_reads_it(sniffed: Any) -> None:
    rows = "".join(f"第{k}题是什么？,答案是{k}\n" for k in range(30))
    finding = sniffed(f"问题,答案\n{rows}".encode("gb18030"), "known.csv")
    assert (finding.kind.encoding, finding.kept) == ("gb18030", 30)
    assert finding.kind.columns == {"user": "问题", "assistant": "答案"}
    with pytest.raises(SourceError) as caught:
        sniffed(f"甲,乙\n{rows}".encode("gb18030"), "other.csv")
    assert "encoding: gb18030, shape: columns" in caught.value.fix
