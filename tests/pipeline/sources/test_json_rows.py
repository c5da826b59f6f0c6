"""JSON lines and arrays: exact values, exact numbering, and only bad records lost."""

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.sources import json_rows

BOM = b"\xef\xbb\xbf"
BAD = b'{"q": tru}'

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.sampled_from(["q", "answer", "问", "a b", "^q$", "*", ""])
flat = st.dictionaries(names, st.none() | texts | st.integers(-(10**20), 10**20), max_size=4)
deep = st.recursive(
    st.none() | st.booleans() | texts | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
rows = st.lists(flat | st.dictionaries(names, deep, max_size=3), min_size=1, max_size=8)
quick = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])


def plain(found: list[Any]) -> list[dict[str, Any]]:
    """The rows as Python values."""
    return [{name: json.loads(text) for name, text in row.items()} for _, _, row in found]


def without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


@quick
@given(rows, st.booleans())
def test_json_lines_come_back_as_they_were(read: Any, content: list[dict[str, Any]], escaped: bool) -> None:
    raw = read("a.jsonl", "\n".join(json.dumps(row, ensure_ascii=escaped) for row in content).encode())
    assert plain(raw.rows) == [without_nulls(row) for row in content]
    assert not raw.refused


@quick
@given(rows, st.sampled_from([None, 2]))
def test_an_array_gives_the_same_rows_as_lines(read: Any, content: list[dict[str, Any]], indent: int | None) -> None:
    lines = read("a.jsonl", "\n".join(json.dumps(row) for row in content).encode())
    array = read("a.json", json.dumps(content, indent=indent).encode())
    assert [(record, row) for record, _, row in array.rows] == [(record, row) for record, _, row in lines.rows]


@quick
@given(st.lists(st.fixed_dictionaries({"q": texts, "n": st.integers(0, 10**17)}), min_size=1, max_size=8))
def test_one_bad_record_changes_nothing_for_the_others(read: Any, content: list[dict[str, Any]]) -> None:
    lines = [json.dumps(row).encode() for row in content]
    fast, slow = read("a.jsonl", b"\n".join(lines)), read("b.jsonl", b"\n".join([*lines, BAD]))
    assert slow.rows == fast.rows
    assert slow.reasons == {len(lines): "bad_json"}


@pytest.mark.parametrize(
    "lines",
    [
        [b'{"a": 1}', b'{"a": -0}'],
        [b'{"a": 1}', b'{"a": 0}', b'{"a": 12345678901234567890}'],
        [b'{"a": 1}', b'{"a": 1.0}'],
        [b'{"a": 1}', b'{"a": 1e2}'],
        [b'{"a": "1"}', b'{"a": 1}'],
        [b'{"a": null}', b'{"a": "x"}', b'{"b": "y"}'],
        [b"{}", b"{}"],
        [b'{"a": "\\u0000\\u001f\\/"}'],
    ],
)
def test_the_fast_way_is_taken_only_where_it_is_exact(read: Any, lines: list[bytes]) -> None:
    fast, slow = read("a.jsonl", b"\n".join(lines)), read("b.jsonl", b"\n".join([*lines, BAD]))
    assert fast.rows == slow.rows


@pytest.mark.parametrize("value", ["123456789012345678901234567890", "1.50", "1E5", "-0.0", '[1.50, {"a": 1e999}]'])
def test_a_number_stays_as_it_was_written(read: Any, value: str) -> None:
    raw = read("a.jsonl", b'{"q": "x", "n": %b}' % value.encode())
    assert raw.rows[0][2]["n"] == value.replace(" ", "")


REFUSED = [
    (b"{", "bad_json"),
    (b"nothing", "bad_json"),
    (b'{"q": "x"} {"q": "y"}', "bad_json"),
    (b'{"q": NaN}', "bad_json"),
    (b'{"q": [Infinity]}', "bad_json"),
    (b'{"q": "\\ud800"}', "bad_json"),
    (b'{"q": ["\\udc00 and more text"]}', "bad_json"),
    (b'{"q": "a\tb"}', "bad_json"),
    (b'{"q": 01}', "bad_json"),
    (b'{"q": "\xff"}', "bad_utf8"),
    (b'{"q": "\xed\xa0\x80"}', "bad_utf8"),
    (b'{"\xff": "x"}', "bad_utf8"),
    (b'{"q": ["\xc3"]}', "bad_utf8"),
    (b'{"q": "x", "q": "y"}', "duplicate_key"),
    (b'{"q": "x", "\\u0071": "y"}', "duplicate_key"),
    (b'{"q": 1, "q": %b}' % (b"1" * 5000), "duplicate_key"),
    (b'["q"]', "wrong_type"),
    (b'"q"', "wrong_type"),
    (b"5", "wrong_type"),
    (b"null", "wrong_type"),
    (b'{"q": %b%b}' % (b"[" * 100_000, b"]" * 100_000), "too_deep"),
]


@pytest.mark.parametrize(("bad", "reason"), REFUSED)
def test_a_bad_line_is_refused_alone(read: Any, bad: bytes, reason: str) -> None:
    raw = read("a.jsonl", b'{"q": "before"}\n' + bad + b'\n{"q": "after"}\n')
    assert raw.reasons == {1: reason}
    assert raw.refused[0].line == 2
    assert raw.values("q") == ["before", "after"]
    assert [(record, line) for record, line, _ in raw.rows] == [(0, 1), (2, 3)]


@pytest.mark.parametrize(
    ("bad", "reason"), [case for case in REFUSED if case[0] != b'{"q": "x"} {"q": "y"}' and case[0] != b"{"]
)
def test_a_bad_element_is_refused_alone(read: Any, bad: bytes, reason: str) -> None:
    raw = read("a.json", b'[{"q": "before"},\n' + bad + b',\n{"q": "after"}]\n')
    assert raw.reasons == {1: reason}
    assert raw.refused[0].line == 2
    assert raw.values("q") == ["before", "after"]
    assert [(record, line) for record, line, _ in raw.rows] == [(0, 1), (2, 3)]


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize(
    ("whole", "broken"),
    [
        ('"b1"', '"b1'),  # a quote is missing
        ('"b1"', 'b1"'),
        ('"b1"', '"b1"}'),
        ('"b1"', '{"b1"'),
        ('"b1"', '["b1"'),
        ('"b1"', '"b\\x"'),
        ('"b1"', "b1, {"),
        ('"b1"', '"b1" "b2"'),
        ('"b1"', ""),
    ],
)
def test_damage_in_one_element_leaves_the_others(read: Any, indent: int | None, whole: str, broken: str) -> None:
    content = [{"q": f"a{k}", "r": [{"q": f"b{k}"}]} for k in range(3)]
    separators = (",", ":") if indent is None else None
    text = json.dumps(content, indent=indent, separators=separators).replace(whole, broken)
    raw = read("a.json", text.encode())
    assert [value for value in raw.values("q") if value != "a1"] == ["a0", "a2"]
    assert raw.refused
    assert {bad.reason for bad in raw.refused} == {"bad_json"}


def test_other_values_in_a_broken_array_are_not_dropped(read: Any) -> None:
    raw = read("a.json", b'[{"q": "a"}, 5, "x", [1], null, {"q": tru}, {"q": "b"}]')
    assert raw.values("q") == ["a", "b"]
    assert raw.reasons == {
        1: "wrong_type",
        2: "wrong_type",
        3: "wrong_type",
        4: "wrong_type",
        5: "bad_json",
    }


@pytest.mark.parametrize("rest", ['{"q": "b"}', '[{"q": "b"}]', "]", "x"])
def test_what_follows_an_array_is_refused(read: Any, rest: str) -> None:
    raw = read("a.json", b'[{"q": "a"}\n]\n' + rest.encode())
    assert raw.values("q") == ["a"]
    assert [(bad.record, bad.line) for bad in raw.refused] == [(1, 2)]


@pytest.mark.parametrize("cut", range(1, 60))
def test_an_array_cut_short_keeps_the_rows_before_the_cut(read: Any, cut: int) -> None:
    content = [{"q": f"text {k}", "n": k} for k in range(4)]
    text = json.dumps(content, indent=1).encode()
    raw = read("a.json", text[:-cut])
    whole = sum(text[:-cut].count(json.dumps(row, indent=1).replace("\n", "\n ").encode()) for row in content)
    assert raw.values("n") == list(range(whole))
    assert len(raw.refused) == 1
    assert raw.refused[0].reason == "bad_json"


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.ndjson"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n \n"])
@pytest.mark.parametrize("start", [b"", BOM, b"\n\n", BOM + b"\r\n\n"])
@pytest.mark.parametrize("between", [b"\n", b"\r\n", b"\n\n", b"\n \t\n"])
def test_lines_are_numbered_from_one_and_blank_lines_count_as_no_record(
    read: Any, name: str, start: bytes, between: bytes, end: bytes
) -> None:
    raw = read(name, start + between.join(b'{"q": "%d"}' % k for k in range(3)) + end)
    first, step = 1 + start.count(b"\n"), between.count(b"\n")
    assert [(record, line) for record, line, _ in raw.rows] == [(k, first + k * step) for k in range(3)]
    assert raw.values("q") == ["0", "1", "2"]


def test_two_records_on_one_line_are_refused_though_a_blank_line_evens_the_count(read: Any) -> None:
    raw = read("a.jsonl", b'{"q": "a"}\n{"q": "b"}{"q": "c"}\n\n{"q": "d"}\n')
    assert raw.reasons == {1: "bad_json"}
    assert [(record, line) for record, line, _ in raw.rows] == [(0, 1), (2, 4)]


@pytest.mark.parametrize("sign", [b"\n", b"\r", b"\r\n", b"\x00"])
def test_a_raw_line_break_in_a_text_of_an_array_is_no_white_space(read: Any, sign: bytes) -> None:
    raw = read("a.json", b'[{"q": "a%bb"},\n{"q": "c"}]' % sign)
    assert raw.reasons == {0: "bad_json"}
    assert raw.values("q") == ["c"]


def test_equal_elements_of_an_array_have_their_own_lines(read: Any) -> None:
    raw = read("a.json", b'[\n{"q": "1"},\n{"q":\n"1"}, 1,\n{"q": "1"}, {"q": "1"}\n]')
    assert [(record, line) for record, line, _ in raw.rows] == [(0, 2), (1, 3), (3, 5), (4, 5)]
    assert [(bad.record, bad.line) for bad in raw.refused] == [(2, 4)]


def test_lines_of_a_pretty_array_are_those_where_its_rows_begin(read: Any) -> None:
    content = [{"q": f"a\n{k}", "list": [1, {"x": None}]} for k in range(5)]
    text = json.dumps(content, indent=2)
    raw = read("a.json", BOM + text.encode())
    starts = [number for number, line in enumerate(text.split("\n"), 1) if line == "  {"]
    assert [line for _, line, _ in raw.rows] == starts


@pytest.mark.parametrize("data", [b"", b"\n\n", BOM, b"[]", b" [ ] \n", b"  "])
def test_a_file_without_records_gives_none(read: Any, data: bytes) -> None:
    raw = read("a.json", data)
    assert (raw.rows, raw.refused) == ([], [])


@quick
@given(rows, st.integers(3, 90), st.booleans(), st.sampled_from(["\n", "\r\n", "\n\n"]), st.booleans())
def test_the_size_of_blocks_changes_nothing(
    read: Any, content: list[dict[str, Any]], size: int, bad: bool, between: str, array: bool
) -> None:
    parts = [json.dumps(row, ensure_ascii=False) for row in content] + [BAD.decode()] * bad
    text = f"[{(',' + between).join(parts)}]" if array else between.join(parts)
    whole = read("a.json", text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "BLOCK_BYTES", size)
        pieces = read("a.json", text.encode())
    assert (pieces.rows, pieces.refused) == (whole.rows, whole.refused)


@pytest.mark.parametrize("block", [16, 64, 1 << 20])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_record_that_is_too_long_is_refused_alone(
    read: Any, monkeypatch: pytest.MonkeyPatch, block: int, end: bytes
) -> None:
    monkeypatch.setattr(json_rows, "BLOCK_BYTES", block)
    long = b'{"q": ["%b"]}' % (b"x" * 200)
    lines = [b'{"q": ["a"]}', long, b'{"q": ["b"]}', long]
    raw = read("a.jsonl", b"\n".join(lines) + end, max_record_bytes=100)
    assert raw.reasons == {1: "too_long", 3: "too_long"}
    assert raw.values("q") == [["a"], ["b"]]
    assert [(record, line) for record, line, _ in raw.rows] == [(0, 1), (2, 3)]
    array = read("a.json", b"[" + b",\n".join(lines) + b"]", max_record_bytes=100)
    assert array.reasons == {1: "too_long", 3: "too_long"}
    assert [(record, line) for record, line, _ in array.rows] == [(0, 1), (2, 3)]


def strictly_read(line: bytes) -> dict[str, Any] | None:
    """The record by Python's own reader, or None where it is not one for certain."""

    def constant(_: str) -> Any:
        raise ValueError

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        row = json.loads(line.decode(), parse_constant=constant, object_pairs_hook=once)
        json.dumps(row, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


CLEAN = [
    json.dumps({"q": f"题 {k}", "n": k, "m": [k, {"x": "é"}] if odd else None}, ensure_ascii=odd).encode()
    for k, odd in enumerate([False, True, False, True])
]


@settings(quick, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.binary(max_size=3)), max_size=4))
@example([(0, 0, BOM)])
def test_rows_and_refused_are_all_lines_of_a_damaged_file(read: Any, edits: list[tuple[int, int, bytes]]) -> None:
    data = b"\n".join(CLEAN)
    for place, removed, added in edits:
        data = data[:place] + added + data[place + removed :]
    if data.removeprefix(BOM).lstrip()[:1] == b"[" or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return
    lines = [(k, line) for k, line in enumerate(data.removeprefix(BOM).split(b"\n"), 1) if line.strip()]
    raw = read("a.jsonl", data)
    seen = {record: line for record, line, _ in raw.rows} | {bad.record: bad.line for bad in raw.refused}
    assert [seen[record] for record in sorted(seen)] == [k for k, _ in lines]
    assert sorted(seen) == list(range(len(raw.rows) + len(raw.refused)))
    got = dict(zip((line for _, line, _ in raw.rows), plain(raw.rows), strict=True))
    for k, line in lines:
        expected = strictly_read(line)
        if expected is not None:
            assert got.get(k) == without_nulls(expected)


@settings(quick, max_examples=300)
@example(0, 30, 2, b"", b",")
@given(st.integers(0, 3), st.integers(0, 60), st.integers(0, 3), st.binary(max_size=3), st.sampled_from([b",", b",\n"]))
def test_damage_in_an_array_loses_no_other_row(
    read: Any, which: int, place: int, removed: int, added: bytes, between: bytes
) -> None:
    parts = [json.dumps({"q": f"题 {k}", "m": [{"x": k}]}).encode() for k in range(4)]
    bad = parts[which]
    place = 1 + place % (len(bad) - 2)  # between its own braces
    bad = bad[:place] + added + bad[min(place + removed, len(bad) - 1) :]
    place = min(place, len(bad) - 1)
    raw = read("a.json", b"[" + between.join([*parts[:which], bad, *parts[which + 1 :]]) + b"]")
    kept = [row["m"] for _, _, row in raw.rows if "m" in row]
    others = [f'[{{"x":{k}}}]' for k in range(4) if k != which]
    assert [text for text in kept if text in others] == others
    assert len(raw.rows) + len(raw.refused) >= 4


@pytest.mark.parametrize("fill", ["\\u9898", '\\"', "{", '{\\"a\\": ', ", "])
def test_long_texts_take_no_more_than_linear_time(read: Any, fill: str) -> None:
    text = fill * 200_000
    started = time.perf_counter()
    raw = read("a.json", b'[{"q": ["%b"]}, {"q": tru}]' % text.encode())
    assert len(raw.rows) == 1
    assert time.perf_counter() - started < 2
