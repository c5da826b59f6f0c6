"""Files in another encoding are named, and read exactly where the settings say which."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.sources import json_rows
from pipeline.sources.encodings import ENCODINGS, seems_to_be

ROWS = [{"q": f"第{k}题：一共有几个苹果？", "a": f"共有{k}个"} for k in range(40)]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
FORMS = {
    "a.jsonl": LINES,
    "a.json": json.dumps(ROWS, ensure_ascii=False, indent=1),
    "b.json": json.dumps(ROWS, ensure_ascii=False),
    "a.csv": "q,a\n" + "".join(f"{row['q']},{row['a']}\n" for row in ROWS),
}
quick = settings(max_examples=60)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "gb18030", "gbk"])
def test_another_encoding_is_named_and_read_only_on_request(read: Any, name: str, encoding: str) -> None:
    data = FORMS[name].encode(encoding)
    named = {"gbk": "gb18030"}.get(encoding, encoding)
    with pytest.raises(
        SourceError, match=rf"seems to be {named.upper()}\n  fix: set \+\+sources\.test\.encoding={named}$"
    ):
        read(name, data)
    raw = read(name, data, encoding=encoding)
    assert (raw.values("q"), raw.values("a")) == ([row["q"] for row in ROWS], [row["a"] for row in ROWS])
    assert not raw.refused
    assert read(name, data, encoding=named).rows == raw.rows == read(name, FORMS[name].encode()).rows


@quick
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.sampled_from(ENCODINGS), st.integers(3, 9))
def test_text_of_any_encoding_comes_back(read: Any, text: str, encoding: str, size: int) -> None:
    text = text.encode(encoding, "ignore").decode(encoding)
    data = json.dumps({"q": text}, ensure_ascii=False).encode(encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "BLOCK_BYTES", size)
        assert read("a.jsonl", data, encoding=encoding).values("q") == [text]


@pytest.mark.parametrize(
    ("encoding", "bad"),
    [
        ("gb18030", b"\xff"),
        ("gbk", b"\x81"),
        ("gb18030", b"\x81\x30\x81"),
        ("utf-16-le", b"\x00\xd8"),
        ("utf-16-be", b"\xdc\x00"),
        ("utf-16", b"\x00\xd8"),
    ],
)
def test_what_an_encoding_has_not_is_refused_with_its_record_alone(read: Any, encoding: str, bad: bytes) -> None:
    before, mark, after = ('{"q": "题"}\n', '{"q": "', '"}\n{"q": "目"}\n')
    data = (
        (before + mark).encode(encoding)
        + bad
        + after.encode(encoding.replace("utf-16", "utf-16-le", 1) if encoding == "utf-16" else encoding)
    )
    raw = read("a.jsonl", data, encoding=encoding)
    assert raw.values("q") == ["题", "目"]
    assert raw.reasons == {1: "bad_utf8"}
    assert raw.refused[0].line == 2


@pytest.mark.parametrize("form", ["lines", "array"])
@pytest.mark.parametrize(
    "bad", ["好".encode("gb18030"), "这一行是用另一种编码写的".encode("gb18030"), b"\xff", b"\xe9t\xe9", b"\x81"]
)
@pytest.mark.parametrize("text", ["x", "é", "题目"])
def test_one_bad_line_makes_no_other_encoding(read: Any, form: str, bad: bytes, text: str) -> None:
    lines = [json.dumps({"q": f"{text} {k}"}, ensure_ascii=False).encode() for k in range(30)]
    lines[7] = b'{"q": "%b"}' % bad
    data = b"\n".join(lines) if form == "lines" else b"[" + b",\n".join(lines) + b"]"
    raw = read("a.json", data)
    assert raw.reasons == {7: "bad_utf8"}
    assert len(raw.rows) == 29


def test_latin_1_is_not_taken_for_chinese() -> None:
    text = "L'été dernier, la fenêtre était ouverte à côté du château.\n" * 50
    assert seems_to_be(text.encode("latin-1")) is None


@quick
@given(st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=8))
def test_utf_8_is_never_another_encoding(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        return
    if b"\x00" not in data:
        assert seems_to_be(data) is None


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_what_is_said_in_the_settings_is_not_doubted(read: Any, encoding: str) -> None:
    data = LINES.encode("gb18030")
    raw = read("a.jsonl", data, encoding=encoding)
    assert len(raw.rows) + len(raw.refused) == len(ROWS)
    assert bool(raw.refused) == (encoding == "utf-8")
