"""Whatever a raw file holds, reading it ends in rows and refused records, or in an error that says what to do.

`make fuzz` runs many more examples: POOLMIX_FUZZ_FILES says how many of each kind.
"""

import gzip
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import PoolmixError
from pipeline.ingest import make_pool
from pipeline.sources import csv_rows, json_rows
from pipeline.sources.files import find_files
from pipeline.sources.read import read_files

FILES = int(os.environ.get("POOLMIX_FUZZ_FILES", "0"))
LIMIT = 400
many = settings(
    max_examples=FILES or 150,
    suppress_health_check=list(HealthCheck),
    derandomize=not FILES,
    database=None,
)

ODD = [
    "",
    " ",
    "\n",
    '"',
    '""',
    ",",
    "\\",
    "{",
    "}]",
    "题目",
    "é",
    "\u2028",
    "👩‍🔧",
    "\x00",
    "\ufeff",
    "NaN",
    "1e999",
    "a,b;c\td",
]
texts = st.lists(st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=4)
texts = texts.map("".join)
values = st.recursive(
    texts
    | st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
pairs = st.fixed_dictionaries({"q": texts, "a": texts}, optional={"n": st.integers(), "题": values, "m": values})
rows = st.lists(pairs, min_size=1, max_size=8)
forms = st.sampled_from(["lines", "array", "pretty", "csv"])
edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "double", "splice", "drop"]),
        st.integers(0, 10**6),
        st.integers(0, 60),
        st.binary(max_size=6)
        | st.sampled_from([b'"', b"\\", b"\n", b"[", b"]", b"{", b"}", b",", b"\x00", b"\xff", b"\r"]),
    ),
    min_size=1,
    max_size=4,
)


def written(content: list[dict[str, Any]], form: str) -> bytes:
    """The rows as a file: `q` and `a` alone where it is CSV."""
    if form == "csv":
        cells = (
            f'"{row["q"].replace(chr(34), chr(34) * 2)}","{row["a"].replace(chr(34), chr(34) * 2)}"' for row in content
        )
        return "\n".join(["q,a", *cells]).encode() + b"\n"
    if form == "lines":
        return "\n".join(json.dumps(row, ensure_ascii=False) for row in content).encode()
    return json.dumps(content, ensure_ascii=False, indent=1 if form == "pretty" else None).encode()


def changed(data: bytes, edit: tuple[str, int, int, bytes]) -> bytes:
    """The bytes with one piece of damage."""
    kind, place, length, added = edit
    place %= len(data) + 1
    end = place + length
    return {
        "flip": data[:place] + bytes(byte ^ (1 << length % 8) for byte in data[place : place + 1]) + data[place + 1 :],
        "cut": data[:place],
        "insert": data[:place] + added + data[place:],
        "double": data[:end] + data[place:],
        "splice": data[:place] + data[length:end] + data[place:],
        "drop": data[:place] + data[end:],
    }[kind]


def name_of(form: str) -> str:
    return {"csv": "a.csv", "lines": "a.jsonl"}.get(form, "a.json")


def as_json(value: str, is_json: bool) -> str:
    return value if is_json else json.dumps(value, ensure_ascii=False)


def seen(path: Path, size: int) -> Any:
    """Kept rows and refused records, or the error; with blocks of so many bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "BLOCK_BYTES", size)
        patch.setattr(csv_rows, "BLOCK_BYTES", size)
        try:
            blocks = [block for _, block in read_files("test", find_files("test", str(path)), max_record_bytes=LIMIT)]
        except PoolmixError as error:
            return str(error)
    kept = [
        (*place, {name: as_json(value, name in block.json_columns) for name, value in row.items() if value is not None})
        for block in blocks
        for *place, row in zip(
            block.record.tolist(),
            block.line.tolist(),
            block.offset.tolist(),
            block.frame.iter_rows(named=True),
            strict=True,
        )
    ]
    return kept, [bad for block in blocks for bad in block.refused]


@many
@given(rows, forms, st.sampled_from([64, 1 << 22]))
def test_what_is_whole_comes_back(tmp_path: Path, content: list[dict[str, Any]], form: str, size: int) -> None:
    (tmp_path / name_of(form)).write_bytes(written(content, form))
    kept, refused = seen(tmp_path / name_of(form), size)
    assert len(kept) + len(refused) == len(content)
    assert {bad.reason for bad in refused} <= {"too_long"}
    back = {record: row for record, _, _, row in kept}
    for k, row in enumerate(content):
        if k in back:
            names = ["q", "a"] if form == "csv" else [name for name, value in row.items() if value is not None]
            got = {name: json.loads(value) for name, value in back[k].items()}
            assert got == {name: row[name] for name in names}


@many
@given(rows, forms, edits, st.integers(16, 200))
def test_damage_never_ends_in_a_traceback_and_no_record_is_lost(
    tmp_path: Path, content: list[dict[str, Any]], form: str, edits: list[Any], size: int
) -> None:
    data = written(content, form)
    for edit in edits:
        data = changed(data, edit)
    (tmp_path / name_of(form)).write_bytes(data)
    found = seen(tmp_path / name_of(form), 1 << 22)
    if isinstance(found, str):
        assert "fix:" in found
        return
    kept, refused = found
    numbers = sorted([record for record, *_ in kept] + [bad.record for bad in refused])
    assert numbers == list(range(len(numbers)))
    places = [(place[0], place[2]) for place in kept] + [(bad.record, bad.offset) for bad in refused]
    offsets = [offset for _, offset in sorted(places)]
    assert offsets == sorted(offsets)
    for record, line, offset in [(*place[:3],) for place in kept] + [(b.record, b.line, b.offset) for b in refused]:
        assert data.count(b"\n", 0, offset) + 1 == line, record
    for bad in refused:
        begin = data[bad.offset : bad.offset + 800].decode("utf-8", "replace").lstrip()[:20]
        assert bad.text[:5] == begin[: len(bad.text[:5])]
    assert seen(tmp_path / name_of(form), size) == found


@settings(many, max_examples=max(FILES // 10, 25))
@given(rows, forms, edits, st.booleans())
def test_rows_in_are_rows_kept_and_quarantined(
    source: Any, tmp_path: Path, content: list[dict[str, Any]], form: str, edits: list[Any], packed: bool
) -> None:
    data = written(content, form)
    for edit in edits:
        data = changed(data, edit)
    name = name_of(form) + ".gz" * packed
    (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
    columns = {"user": "q", "assistant": "a"}
    try:
        pool = make_pool(source("columns", columns, {}, path=str(tmp_path / name)), tmp_path / "pools", 200)
    except PoolmixError:
        return
    refused = pool.refused()
    said = pool.manifest
    assert said["raw_rows"] == said["rows"] + sum(said["quarantined"].values()) == len(pool.rows()) + len(refused)
    assert said["quarantined"] == dict(Counter(refused["reason"]))
    kept = [int(name.split(":")[1]) for name in pool.rows()["id"].to_pylist()]
    assert sorted(kept + refused["row"].to_list()) == list(range(said["raw_rows"]))
