"""What is read from outside is bounded: each limit of the README's table at the limit, and one past it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import SourceError, listed
from pipeline.quarantine import quarantined
from pipeline.sources import arrow_rows
from pipeline.sources.drafts import Drafts
from pipeline.sources.files import find_files
from pipeline.sources.read import read_files
from pipeline.sources.turns import MAX_TURNS
from tests.hostile.limits_of_commands import OF_COMMANDS, Limit, Tools, said

Row = dict[str, Any]
USER, ASSISTANT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


def _record_bytes(size: int, tools: Any) -> str:
    frame = len(json.dumps({"q": ""}))
    found = tools.read("a.jsonl", json.dumps({"q": "x" * (size - frame)}).encode(), max_record_bytes=1000)
    return found.reasons.get(0, "")


def _cell_bytes(size: int, tools: Any) -> str:
    found = tools.read("a.csv", b'q\n"' + b"x" * (size - 2) + b'"\n', max_record_bytes=1000)
    return found.reasons.get(0, "")


def _reason(found: Any) -> str:
    return found if isinstance(found, str) else ""


def _characters(size: int, tools: Any) -> str:
    row = {"messages": [USER, {"role": "assistant", "content": "a" * (size - 1)}]}
    return _reason(tools.adapt("messages", [row], max_chars=1000)[0])


def _columns_of_json(size: int, tools: Any) -> str:
    return tools.read("a.jsonl", json.dumps({f"c{k}": k for k in range(size)}).encode()).reasons.get(0, "")


def _columns_of_csv(size: int, tools: Any) -> str:
    line = ",".join(f"c{k}" for k in range(size))
    return said(SourceError, lambda: tools.read("a.csv", f"{line}\n{line}\n".encode()))


def _columns_of_arrow(size: int, tools: Any) -> str:
    table = pa.table({f"c{k}": ["x"] for k in range(size)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return said(SourceError, lambda: tools.read("a.arrow", sink.getvalue().to_pybytes()))


def _depth_of_record(size: int, tools: Any) -> str:
    return tools.read("a.jsonl", b'{"q":' + b"[" * (size - 1) + b"]" * (size - 1) + b"}").reasons.get(0, "")


def _depth_of_tools(size: int, tools: Any) -> str:
    """JSON within a text has a depth of its own."""
    text = '[{"a":' * 1 + "[" * (size - 2) + "]" * (size - 2) + "}]"
    return _reason(tools.adapt("messages", [{"messages": [USER, ASSISTANT], "tools": text}])[0])


def _depth_of_arguments(size: int, tools: Any) -> str:
    arguments = '{"a":' + "[" * (size - 1) + "]" * (size - 1) + "}"
    call = {"function": {"name": "f", "arguments": arguments}}
    calling = {"role": "assistant", "content": "", "tool_calls": [call]}
    return _reason(tools.adapt("messages", [{"messages": [USER, calling]}])[0])


def _depth_of_messages(size: int, tools: Any) -> str:
    deep = "[" * (size - 2) + "]" * (size - 2)
    text = json.dumps([USER | {"x": 0}, ASSISTANT]).replace("0", deep)
    return _reason(tools.adapt("messages", [{"messages": text}])[0])


def _turns_of_messages(size: int, tools: Any) -> str:
    return _reason(tools.adapt("messages", [{"messages": [USER, ASSISTANT] * (size // 2) + [USER] * (size % 2)}])[0])


def _turns_of_dialogue(size: int, tools: Any) -> str:
    return _reason(tools.adapt("dialogue", [{"dialogue": ["q", "a"] * (size // 2) + ["q"] * (size % 2)}])[0])


def _turns_of_sharegpt(size: int, tools: Any) -> str:
    said = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}] * (size // 2)
    said += [{"from": "human", "value": "q"}] * (size % 2)
    return _reason(tools.adapt("sharegpt", [{"conversations": said}])[0])


def _turns_of_alpaca(size: int, tools: Any) -> str:
    """The history brings two turns each, and the row itself two more."""
    row = {"instruction": "q", "output": "a", "history": [["q", "a"]] * -(-(size - 2) // 2)}
    return _reason(tools.adapt("alpaca", [row])[0])


def _held(size: int, tools: Any) -> str:
    tools.monkeypatch.setattr(arrow_rows, "_MOST_BYTES", 10_000)
    data = b"PAR1" + b"\0" * (size - 4)
    import gzip

    (tools.folder / "a.parquet.gz").write_bytes(gzip.compress(data))
    (file,) = find_files("test", str(tools.folder / "a.parquet.gz"))
    found = said(SourceError, lambda: list(arrow_rows.read_arrow(file, "test", 1000)))
    return found if "expands" in found else ""


def _json_of_reply(text: str) -> str:
    schemas = import_module("eval.schemas")
    return said(schemas.NotJsonError, lambda: schemas.strict_json(text))


def _terms(text: str) -> str:
    return "" if import_module("eval.arithmetic").find_terms(text) else "nothing is found"


def _shown(size: int, tools: Any) -> str:
    """What is cut is not the row."""
    path = tools.folder / "a.jsonl"
    row = json.dumps({"m": "x" * (size - len('{"m": ""}'))})
    path.write_text(row)
    [block] = [block for _, block in read_files("test", find_files("test", str(path)))]
    refused = pl.DataFrame({"i": [0], "reason": ["empty_prompt"], "detail": [""]})
    found = quarantined("test", "a.jsonl", block, Drafts(block.frame, block.frame, refused))
    return "" if found["text"][0] == row else "it is cut"


LIMITS: tuple[Limit, ...] = (
    *OF_COMMANDS,
    Limit("normalize.max_record_bytes", None, _record_bytes, 1000),
    Limit("normalize.max_record_bytes", None, _cell_bytes, 1000),
    Limit("normalize.max_chars", None, _characters, 1000),
    Limit("MAX_COLUMNS", "pipeline.sources.block", _columns_of_json),
    Limit("MAX_COLUMNS", "pipeline.sources.block", _columns_of_csv),
    Limit("MAX_COLUMNS", "pipeline.sources.block", _columns_of_arrow),
    Limit("MAX_DEPTH", "pipeline.sources.nesting", _depth_of_record),
    Limit("MAX_DEPTH", "pipeline.sources.nesting", _depth_of_tools),
    Limit("MAX_DEPTH", "pipeline.sources.nesting", _depth_of_arguments),
    Limit("MAX_DEPTH", "pipeline.sources.nesting", _depth_of_messages),
    Limit("MAX_TURNS", "pipeline.sources.turns", _turns_of_messages),
    Limit("MAX_TURNS", "pipeline.sources.turns", _turns_of_dialogue),
    Limit("MAX_TURNS", "pipeline.sources.turns", _turns_of_sharegpt),
    Limit("MAX_TURNS", "pipeline.sources.turns", _turns_of_alpaca),
    Limit("_MOST_BYTES", "pipeline.sources.arrow_rows", _held, 10_000),
    Limit("_SHOWN_CHARS", "pipeline.quarantine", _shown),
    Limit("MAX_DEPTH", "eval.schemas", lambda size, _: _json_of_reply("[" * size + "]" * size)),
    Limit("MAX_DIGITS", "eval.schemas", lambda size, _: _json_of_reply("9" * size)),
    Limit("_MOST", "eval.arithmetic", lambda size, _: _terms("1" + "+1" * (size - 1))),
    Limit("_LONGEST", "eval.numerals", lambda size, _: _terms("9" * size)),
    Limit("_EXPONENT", "eval.numerals", lambda size, _: _terms(f"1e{size}")),
)
# Those of processes and servers: `test_process_limits.py`, `test_arrow_process.py`, `tests/eval/test_server.py`.
ELSEWHERE: list[tuple[str, str | None]] = [
    ("_ANSWER_SECONDS", "pipeline.render.renderer"),
    ("_MEMORY_BYTES", "pipeline.render.sandbox"),
    ("_SECONDS", "eval.judge"),
    ("_MEMORY_BYTES", "eval.sandbox"),
    ("_ANSWER_SECONDS", "pipeline.sources.arrow_process"),
    ("_ANSWER_SECONDS", "pipeline.tokens.reference"),
    ("_ANSWER_SECONDS", "pipeline.tokens.fast"),
    ("_MEMORY_BYTES", "pipeline.sources.arrow_process"),
    ("_MOST_LINE", "pipeline.child"),
    ("_MOST_BYTES", "pipeline.child"),
    ("MOST_BYTES", "eval.bounded"),
]
# Past it, and what is said there where it is not the reason of a quarantined row.
EXPECTED = {"normalize.max_record_bytes": "too_long", "normalize.max_chars": "too_long", "MAX_TURNS": "too_long"}
IDS = [f"{limit.name} {getattr(limit.outcome, '__name__', '')}" for limit in LIMITS]


@pytest.fixture
def tools(read: Any, adapt: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tools:
    return Tools(read, adapt, monkeypatch, tmp_path)


@pytest.mark.parametrize("limit", LIMITS, ids=IDS)
def test_at_the_limit_it_is_taken(limit: Limit, tools: Tools) -> None:
    assert limit.outcome(limit.size, tools) == ""


@pytest.mark.parametrize("limit", LIMITS, ids=IDS)
def test_past_the_limit_it_is_refused_with_a_word(limit: Limit, tools: Tools) -> None:
    found = limit.outcome(limit.size + 1, tools)
    assert found
    assert EXPECTED.get(limit.name, "") in found
    assert len(found) < 1000


def _in_words(size: int) -> str:
    return f"{size >> 30} GiB" if size >> 30 else f"{size >> 20} Mi"


def test_the_readme_has_every_limit(root: Path) -> None:
    """A row for each, with its name and, where that has one, its value as it is."""
    section = re.search(r"^## Limits\n(.*?)(?=^## |\Z)", (root / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    assert section, "the README has no section Limits"
    rows = [line for line in section[1].splitlines() if line.startswith("|")]
    for name, module in [(limit.name, limit.module) for limit in LIMITS] + ELSEWHERE:
        file = module.replace(".", "/") + ".py" if module else ""
        (row, *_) = [row for row in rows if f"`{name}`" in row and (not file or f"`{file}`" in row)] or [""]
        assert row, f"no row for {name} of {file}"
        value = getattr(import_module(module), name) if module else None
        assert value is None or f"{value:,}" in row or f"{value:g} s" in row or _in_words(value) in row, row


def test_long_names_do_not_fill_what_issaid(read: Any, adapt: Any) -> None:
    long = "k" * 5_000_000
    assert len(listed([long] * 5000)) < 10_000
    found = read("a.jsonl", f'{{"{long}": 1, "{long}": 2}}'.encode())
    assert len(found.refused[0].detail) < 1000
    with pytest.raises(SourceError) as error:
        read("a.csv", f"{long},{long}\nx,y\n".encode())
    assert len(str(error.value)) < 1000


def test_a_long_role_does_not_fill_the_quarantine(tmp_path: Path, source: Any) -> None:
    import dataclasses

    from pipeline.ingest import make_pool

    rows = [{"messages": [USER, ASSISTANT]}, {"messages": [{"role": "r" * 1_000_000, "content": "x"}]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = dataclasses.replace(source("messages", {}, {}), path=str(tmp_path / "a.jsonl"))
    pool = make_pool(settings, tmp_path / "pools", 10**6)
    assert pool.manifest["quarantined"] == {"bad_role": 1}
    assert (pool.folder / "quarantine.jsonl").stat().st_size < 2000


# Each would take hours, or all of memory, if its time or memory grew with the square of its size.
LARGE: Mapping[str, Callable[[Any], Any]] = {
    "calls in turn": lambda tools: tools.adapt(
        "sharegpt",
        [
            {
                "conversations": [
                    {"from": "human", "value": "q"},
                    *[{"from": "function_call", "value": json.dumps({"name": "f", "arguments": {"a": "x" * 300}})}]
                    * (MAX_TURNS - 2),
                    {"from": "gpt", "value": "a"},
                ]
            }
        ],
        max_chars=10**9,
    ),
    "messages of nothing": lambda tools: tools.adapt("messages", b'{"messages":[' + b"{}," * 500_000 + b"{}]}"),
    "tags": lambda tools: tools.adapt(
        "messages", [{"messages": [USER, ASSISTANT], "tags": [str(k) for k in range(200_000)]}]
    ),
    "keys of a reply": lambda _: _json_of_reply("{" + ",".join(f'"{k}":1' for k in range(200_000)) + ',"199999":2}'),
    "quotes of a reply": lambda _: _json_of_reply('"\\' * 500_000 + "[{" * 101),
    "brackets of a reply": lambda _: _json_of_reply("[" * 1_000_000),
    "numbers of a reply": lambda _: _terms("1+" * 2000 + "9^9^9**9**9"),
}


@pytest.mark.parametrize("what", LARGE)
def test_very_many_of_anything_come_to_an_end(what: str, tools: Tools) -> None:
    LARGE[what](tools)


def test_numbers_of_any_length_stay_what_they_are(adapt: Any) -> None:
    digits = "123456789" * 4
    [found] = adapt("columns", f'{{"q": {digits}, "a": 1e999999}}'.encode(), {"user": "q", "assistant": "a"})
    assert [turn["content"] for turn in found["turns"]] == [digits, "1e999999"]


# Reads a file and prints how many rows it has, and the peak of the memory, in MiB, that this and what it starts take.
PROGRAM = """
import os, sys
from pipeline.sources.files import find_files
from pipeline.sources.read import read_files
from pathlib import Path
def taken():
    own = Path("/proc/self/task") / str(os.getpid()) / "children"
    names = ["self", *own.read_text().split()]
    texts = [Path("/proc", name, "status").read_text() for name in names]
    return sum(int(text.partition("RssAnon:")[2].split()[0]) for text in texts) // 1024
start, most, rows = taken(), 0, 0
for _, block in read_files("test", find_files("test", sys.argv[1])):
    rows, most = rows + len(block.record), max(most, taken() - start)
print(rows, most)
"""


def _one_text_in_many_rows(path: Path) -> None:
    """Some kilobytes that stand for 500 MB of text."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), pa.array(["x" * 1_000_000]))
    table = pa.table({"q": [str(k) for k in range(500)], "a": texts})
    if path.suffix == ".parquet":
        pq.write_table(table, path, store_schema=False)
    else:
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)


def _long_texts(path: Path) -> None:
    """A gigabyte of long documents, which take little room on the disk."""
    texts = pa.array(["x" * 1_000_000 + str(k) for k in range(25)])
    with pq.ParquetWriter(path, pa.schema([("a", pa.string())]), compression="zstd", use_dictionary=False) as writer:
        for _ in range(40):
            writer.write_table(pa.table({"a": texts}))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux tells it")
@pytest.mark.parametrize(
    ("name", "write", "expected", "limit"),
    [
        ("a.arrow", _one_text_in_many_rows, 500, 480),
        ("a.parquet", _one_text_in_many_rows, 500, 480),
        ("b.parquet", _long_texts, 1000, 800),
    ],
)
def test_long_texts_are_never_held_by_the_thousand(
    name: str, write: Callable[[Path], None], expected: int, limit: int, tmp_path: Path
) -> None:
    write(tmp_path / name)
    done = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path / name], capture_output=True, text=True, check=True)
    rows, most = map(int, done.stdout.split())
    assert rows == expected
    assert most < limit
