"""A record that is too long costs neither memory nor the rest of its file, in whatever format and compression."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard

from pipeline.sources import csv_rows, json_rows

MIB = 1 << 20
SHORT = [
    (b'{"q": "before"}\n', b'\n{"q": "after"}\n'),
    (b'[{"q": "before"},\n', b',\n{"q": "after"}]'),
    (b'q\n"before"\n', b"\nafter\n"),
]
# What is repeated within the long record: texts, escapes, numbers, brackets, quotes, line breaks.
FILLS = [
    ("a.jsonl", SHORT[0], b'{"q": "', b"x" * 64, b'"}'),
    ("a.jsonl", SHORT[0], b'{"q": [', b"[],{}" * 12 + b",", b"0]}"),
    ("a.json", SHORT[1], b'{"q": "', b'\\"{[\\\\' * 10, b'"}'),
    ("a.json", SHORT[1], b'{"q": [', b'{"q": "],["},\n', b"0]}"),
    ("a.json", SHORT[1], b'"', b"x" * 64, b'"'),
    ("a.csv", SHORT[2], b'"', b'x,""\n' * 12, b'"'),
    ("a.csv", SHORT[2], b'x"', b'"y"' * 12, b""),
    ("a.csv", SHORT[2], b"", b"x" * 64, b""),
]
# Reads a file in a process of its own and prints its rows, its refused records and the peak of memory in MiB.
PROGRAM = """
import json, resource, sys
from pipeline.sources.files import find_files
from pipeline.sources.read import read_files
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
start, rows, bad = peak(), [], []
for _, block in read_files("test", find_files("test", sys.argv[1]), max_record_bytes=2**20):
    rows += block.frame.to_series().to_list() if len(block.record) else []
    bad += [(one.record, one.line, one.offset, one.reason, len(one.text)) for one in block.refused]
print(json.dumps([rows, bad, peak() - start]))
"""


def write(path: Path, around: tuple[bytes, bytes], parts: tuple[bytes, bytes, bytes], size: int) -> None:
    """A file with one record of so many bytes between two short ones."""
    opener = {".gz": gzip.open, ".zst": zstandard.open}.get(path.suffix, open)
    begin, fill, end = parts
    with opener(path, "wb") as stream:
        stream.write(around[0] + begin)
        for _ in range(size // MIB):
            stream.write(fill * (MIB // len(fill)))
        stream.write(end + around[1])


@pytest.mark.parametrize(("name", "around", "begin", "fill", "end"), FILLS)
@pytest.mark.parametrize("block", [777, 1 << 22])
def test_reading_goes_on_behind_it(
    read: Any,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    around: Any,
    begin: bytes,
    fill: bytes,
    end: bytes,
    block: int,
) -> None:
    monkeypatch.setattr(json_rows, "BLOCK_BYTES", block)
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", block)
    data = around[0] + begin + fill * 100 + end + around[1]
    raw = read(name, data, max_record_bytes=600)
    assert raw.values("q") == ["before", "after"]
    assert raw.reasons == {1: "too_long"}
    bad = raw.refused[0]
    assert (bad.line, bad.offset) == (around[0].count(b"\n") + 1, len(around[0]))
    assert len(bad.text) == 200
    assert raw.rows[1][:2] == (2, data[: data.index(b"after")].count(b"\n") + 1)


@pytest.mark.parametrize(("which", "ending"), [(0, ""), (2, ".gz"), (2, ".zst"), (5, ""), (5, ".zst")])
def test_it_takes_no_memory(tmp_path: Path, root: Path, which: int, ending: str) -> None:
    check_memory(tmp_path, root, FILLS[which], ending, 96 * MIB)


@pytest.mark.fuzz
@pytest.mark.parametrize("which", range(len(FILLS)))
def test_a_gibibyte_takes_no_memory(tmp_path: Path, root: Path, which: int) -> None:
    check_memory(tmp_path, root, FILLS[which], ".gz", 1024 * MIB)


def check_memory(tmp_path: Path, root: Path, case: Any, ending: str, size: int) -> None:
    name, around, *parts = case
    path = tmp_path / (name + ending)
    write(path, around, tuple(parts), size)
    if ending:
        assert path.stat().st_size * 100 < size
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows, refused, memory = json.loads(done.stdout)
    assert rows == ["before", "after"]
    assert [bad[3] for bad in refused] == ["too_long"]
    assert memory < 200, memory


def test_an_array_of_many_rows_on_one_line_is_no_long_record(read: Any) -> None:
    rows = [{"q": f"{k}", "m": [{"q": k}]} for k in range(50_000)]
    raw = read("a.json", json.dumps(rows, separators=(",", ":")).encode(), max_record_bytes=100)
    assert raw.values("m") == [row["m"] for row in rows]
    assert not raw.refused
    assert {line for _, line, _ in raw.rows} == {1}
