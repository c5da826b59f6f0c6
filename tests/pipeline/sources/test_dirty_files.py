"""What people's files are like: one small file of each kind, what is read of it, and what is refused."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import polars as pl
import pytest

from pipeline.errors import SourceError

Read = Callable[..., Any]
DIGITS = "123456789012345678901234567890"
DEEP = '{"q": ' + "[" * 100_000 + "]" * 100_000 + "}"


class File(NamedTuple):
    """Its name and bytes; the JSON text of `q` in each row that is read (None where there is none), and reason by
    number of each record that is refused."""

    name: str
    data: bytes
    q: list[str | None]
    refused: Mapping[int, str] = {}
    delimiter: str | None = None


def lines(*texts: str) -> bytes:
    return "\n".join(texts).encode("utf-8", "surrogatepass")


def parquet() -> bytes:
    column = pl.Series("q", ["a", "b", "a"])
    stream = io.BytesIO()
    pl.DataFrame({"q": column.cast(pl.Categorical), "n": [[{"role": "user"}]] * 3}).write_parquet(stream)
    return stream.getvalue()


FILES: dict[str, File] = {
    "mark of order before JSON": File("a.jsonl", b"\xef\xbb\xbf" + lines('{"q": "a"}'), ['"a"']),
    "mark of order before an array": File("a.json", b"\xef\xbb\xbf" + lines('[{"q": "a"}]'), ['"a"']),
    "mark of order before CSV": File("a.csv", b"\xef\xbb\xbf" + lines("q", "a"), ['"a"']),
    "CRLF in JSON lines": File("a.jsonl", b'{"q": "a"}\r\n{"q": "b"}\r\n', ['"a"', '"b"']),
    "CRLF in CSV": File("a.csv", b"q,b\r\na,1\r\nb,2\r\n", ['"a"', '"b"']),
    "bad UTF-8 in one line": File("a.jsonl", b'{"q": "a"}\n{"q": "\xff"}\n{"q": "b"}', ['"a"', '"b"'], {1: "bad_utf8"}),
    "bad UTF-8 in one row of CSV": File("a.csv", b"q\na\n\xff\nb", ['"a"', '"b"'], {1: "bad_utf8"}),
    "a lone surrogate": File("a.jsonl", lines('{"q": "\\ud83d"}', '{"q": "b"}'), ['"b"'], {0: "bad_json"}),
    "NaN": File("a.jsonl", lines('{"q": NaN}', '{"q": "b"}'), ['"b"'], {0: "bad_json"}),
    "Infinity": File("a.jsonl", lines('{"q": -Infinity}', '{"q": "b"}'), ['"b"'], {0: "bad_json"}),
    "a key twice": File("a.jsonl", lines('{"q": 1, "q": 2}', '{"q": 3}'), ["3"], {0: "duplicate_key"}),
    "30 digits": File("a.jsonl", lines(f'{{"q": {DIGITS}}}', '{"q": -0}'), [DIGITS, "-0"]),
    "100,000 levels": File("a.jsonl", lines(DEEP, '{"q": "b"}'), ['"b"'], {0: "too_deep"}),
    "100,000 levels in an array": File("a.json", lines(f'[{DEEP}, {{"q": "b"}}]'), ['"b"'], {0: "too_deep"}),
    "a last line cut in the middle": File("a.jsonl", lines('{"q": "a"}', '{"q": "b'), ['"a"'], {1: "bad_json"}),
    "an array cut in a row": File("a.json", lines('[{"q": "a"}, {"q": 2}, {"q": "c'), ['"a"', "2"], {2: "bad_json"}),
    "an array cut between rows": File("a.json", lines('[{"q": "a"}, {"q": "b"},'), ['"a"', '"b"'], {2: "bad_json"}),
    "two sets of keys": File("a.jsonl", lines('{"q": "a"}', '{"other": 1}', '{"q": "b"}'), ['"a"', None, '"b"']),
    "text here, a number there": File("a.jsonl", lines('{"q": "1"}', '{"q": 1}', '{"q": 1.50}'), ['"1"', "1", "1.50"]),
    "nothing at all": File("a.jsonl", b"", []),
    "no rows": File("a.json", b" [ ] ", []),
    "a header alone": File("a.csv", b"q,b\n", []),
    "cells with line breaks": File("a.csv", lines('q,b', '"a\nb",1', '"say ""c""",2'), ['"a\\nb"', '"say \\"c\\""']),
    "another delimiter": File("a.csv", lines("q;b", "a,1;2", "b;3"), ['"a,1"', '"b"'], delimiter=";"),
    "rows of other lengths": File(
        "a.csv", lines("q,b", "a,1", "b", "c,1,2", "d,4"), ['"a"', '"d"'], {1: "ragged_row", 2: "ragged_row"}
    ),
    "a dictionary and nested messages": File("a.parquet", parquet(), ['"a"', '"b"', '"a"']),
}  # fmt: skip


@pytest.mark.parametrize("file", FILES.values(), ids=FILES.keys())
def test_a_dirty_file_gives_what_can_be_read_and_says_the_rest(read: Read, file: File) -> None:
    raw = read(file.name, file.data, file.delimiter)
    assert [row.get("q") for _, _, row in raw.rows] == file.q
    assert raw.reasons == dict(file.refused)
    records = {*raw.reasons, *(record for record, _, _ in raw.rows)}
    assert records == set(range(len(file.q) + len(file.refused)))


@pytest.mark.parametrize("encoding", ["utf-16", "gb18030", "gbk"])
def test_text_of_another_encoding_is_named_and_read_when_asked(read: Read, encoding: str) -> None:
    data = lines('{"q": "一支铅笔两元"}', '{"q": "三支铅笔多少元"}').decode().encode(encoding)
    named = "gb18030" if encoding == "gbk" else encoding
    with pytest.raises(SourceError, match=f"(?i){named}") as caught:
        read("a.jsonl", data)
    assert f"encoding={named}" in caught.value.fix
    assert read("a.jsonl", data, encoding=encoding).values("q") == ["一支铅笔两元", "三支铅笔多少元"]
