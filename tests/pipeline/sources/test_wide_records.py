"""Records and tables with very many columns: refused beyond a number, and bounded in memory below it."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from pipeline.errors import SourceError
from pipeline.sources.block import MAX_CELLS, MAX_COLUMNS, Block
from pipeline.sources.files import find_files
from pipeline.sources.read import read_files


def blocks(path: Path) -> list[Block]:
    return [block for _, block in read_files("test", find_files("test", str(path)))]


@pytest.mark.parametrize("array", [False, True], ids=["lines", "array"])
def test_rows_with_keys_of_their_own_come_in_small_blocks(tmp_path: Path, array: bool) -> None:
    """As one block, these rows would have eleven million cells, one in a thousand of them with a value."""
    rows = [{"q": f"question {k}", f"k{k}": k, "bad": None} for k in range(3_300)]
    rows.insert(1_000, {f"wide{k}": k for k in range(MAX_COLUMNS)})
    texts = [json.dumps(row) for row in rows]
    texts.insert(2_000, "{")
    path = tmp_path / "rows.json"
    path.write_text(f"[{','.join(texts)}]" if array else "\n".join(texts))
    if array:  # what cannot be read in an array ends where the next row begins
        path.write_text(f"[{','.join(texts[:2_000] + texts[2_001:])}]")
    found = blocks(path)
    assert max(block.frame.width * len(block.record) for block in found) <= MAX_CELLS
    assert [int(record) for block in found for record in block.record] == [
        k for k in range(len(texts) - array) if array or k != 2_000
    ]
    back = [
        {name: value for name, value in row.items() if value is not None}
        for block in found
        for row in block.frame.iter_rows(named=True)
    ]
    assert back == [{name: str(value) for name, value in row.items() if value is not None} for row in rows]
    assert [bad.record for block in found for bad in block.refused] == ([] if array else [2_000])


def test_a_wide_first_record_does_not_make_all_others_wide(tmp_path: Path) -> None:
    first = {f"k{k}": "x" for k in range(MAX_COLUMNS)}
    (tmp_path / "rows.jsonl").write_text(json.dumps(first) + '\n{"k0": "y"}' * 2_000)
    found = blocks(tmp_path / "rows.jsonl")
    assert sum(len(block.record) for block in found) == 2_001
    assert max(block.frame.width * len(block.record) for block in found) <= MAX_CELLS


def test_a_record_that_is_too_wide_is_refused(tmp_path: Path) -> None:
    wide = {f"k{k}": k for k in range(100_000)}
    lines = ['{"q": 1}', json.dumps(wide), '{"q": 2}', ""]
    for first in (0, 1):
        (tmp_path / "rows.jsonl").write_text("\n".join(lines[first:]))
        (block,) = blocks(tmp_path / "rows.jsonl")
        assert block.frame["q"].to_list() == ["1", "2"][first:]
        assert [(bad.record, bad.line, bad.reason) for bad in block.refused] == [(1 - first, 2 - first, "too_wide")]


def test_a_key_that_stands_twice_among_many_is_found(tmp_path: Path) -> None:
    members = ", ".join(f'"k{k}": {k}' for k in range(3_000))
    (tmp_path / "rows.jsonl").write_text(f'{{{members}, "k7": 0}}\n{{{members}}}')
    found = blocks(tmp_path / "rows.jsonl")
    assert [bad.reason for block in found for bad in block.refused] == ["duplicate_key"]
    assert sum(len(block.record) for block in found) == 1


@pytest.mark.parametrize("ending", ["csv", "parquet", "arrow"])
def test_a_table_that_is_too_wide_is_refused(tmp_path: Path, ending: str) -> None:
    table = pl.DataFrame({f"k{k}": ["a"] for k in range(20_000)})
    path = tmp_path / f"rows.{ending}"
    {"csv": table.write_csv, "parquet": table.write_parquet, "arrow": table.write_ipc}[ending](path)
    with pytest.raises(SourceError, match="20,000 columns, at most 4,096"):
        blocks(path)
