"""A pool is made once, is a function of its inputs, and loses nothing silently."""

import dataclasses
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.folder import DATA, file_digest
from pipeline.ingest import make_pool
from pipeline.schema import POOL, REFUSED_COLUMNS
from pipeline.sources import json_rows
from pipeline.store import scan_pool

MOST = 1_000_000
ROWS = [{"instruction": f"q{k}", "input": "", "output": f"a{k}", "n": k} for k in range(20)]


def raw_file(folder: Path, rows: list[Any], name: str = "rows.jsonl") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), "utf-8")
    return str(folder / name)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: file_digest(path) for path in folder.iterdir()}


@pytest.fixture
def alpaca(source: Any, tmp_path: Path) -> Any:
    return source("alpaca", {}, {}, path=raw_file(tmp_path / "raw", ROWS))


def test_a_pool_is_found_ready_the_second_time(alpaca: Any, tmp_path: Path) -> None:
    first, second = (make_pool(alpaca, tmp_path / "pools", MOST) for _ in range(2))
    assert (first.made, second.made) == (True, False)
    assert first.folder == second.folder
    assert first.manifest == second.manifest
    assert scan_pool("test", tmp_path / "pools").collect().height == len(ROWS)


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_a_damaged_pool_is_made_again(alpaca: Any, tmp_path: Path, damage: str) -> None:
    pool = make_pool(alpaca, tmp_path / "pools", MOST)
    whole = digests(pool.folder)
    for name in sorted(whole):
        data = (pool.folder / name).read_bytes()
        if damage == "missing":
            (pool.folder / name).unlink()
        else:
            place = len(data) // 2
            flipped = data[:place] + bytes([byte ^ 1 for byte in data[place : place + 1]]) + data[place + 1 :]
            (pool.folder / name).write_bytes((data[:-1] if damage == "cut" else flipped) or b"x")
        assert make_pool(alpaca, tmp_path / "pools", MOST).made, name
        assert digests(pool.folder) == whole


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b"{", b"\xff", b"null"])
def test_a_damaged_manifest_is_no_traceback(alpaca: Any, tmp_path: Path, damage: bytes) -> None:
    pool = make_pool(alpaca, tmp_path / "pools", MOST)
    whole = digests(pool.folder)
    (pool.folder / "manifest.json").write_bytes(damage)
    assert make_pool(alpaca, tmp_path / "pools", MOST).made
    assert digests(pool.folder) == whole


def test_the_address_follows_content_and_settings_but_not_the_place(alpaca: Any, tmp_path: Path) -> None:
    pools = tmp_path / "pools"
    first = make_pool(alpaca, pools, MOST)
    moved = dataclasses.replace(alpaca, path=raw_file(tmp_path / "elsewhere", ROWS), licence="MIT")
    assert not make_pool(moved, pools, MOST).made
    others = [
        make_pool(dataclasses.replace(alpaca, path=raw_file(tmp_path / "other", ROWS[1:])), pools, MOST),
        make_pool(dataclasses.replace(alpaca, path=raw_file(tmp_path / "as long", ROWS[::-1])), pools, MOST),
        make_pool(dataclasses.replace(alpaca, tags=("x",)), pools, MOST),
        make_pool(dataclasses.replace(alpaca, options={"language": "en"}), pools, MOST),
        make_pool(alpaca, pools, 5),
        make_pool(alpaca, pools, MOST, max_record_bytes=10**6),
    ]
    assert len({pool.folder for pool in [first, *others]}) == 7


def test_the_same_inputs_give_the_same_bytes(alpaca: Any, tmp_path: Path) -> None:
    one, two = (make_pool(alpaca, tmp_path / name, MOST) for name in ("a", "b"))
    assert digests(one.folder) == digests(two.folder)


def test_the_rows_do_not_depend_on_blocks_or_files(
    alpaca: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_pool(alpaca, tmp_path / "a", MOST)
    raw_file(tmp_path / "parts", ROWS[:7], "part-0.jsonl")
    raw_file(tmp_path / "parts", ROWS[7:], "part-1.jsonl")
    parts = make_pool(dataclasses.replace(alpaca, path=str(tmp_path / "parts")), tmp_path / "b", MOST)
    monkeypatch.setattr(json_rows, "BLOCK_BYTES", 64)
    blocks = make_pool(alpaca, tmp_path / "c", MOST)
    for pool in (parts, blocks):
        assert pool.rows().combine_chunks().equals(whole.rows().combine_chunks())
        assert pool.lines().combine_chunks().equals(whole.lines().combine_chunks())


def test_a_pool_holds_its_rows_and_their_lines(alpaca: Any, tmp_path: Path) -> None:
    pool = make_pool(dataclasses.replace(alpaca, tags=("chat", "x")), tmp_path / "pools", MOST)
    rows, lines = pool.rows(), pool.lines()
    assert rows.schema.equals(POOL)
    assert rows["id"].to_pylist() == [f"test:{k}" for k in range(len(ROWS))]
    assert rows["tags"].to_pylist() == [["chat", "x"]] * len(ROWS)
    for row, line in zip(rows.to_pylist(), lines["line"].to_pylist(), strict=True):
        said = json.loads(line)
        assert (said["id"], said["tags"]) == (row["id"], row["tags"])
        assert [turn["content"] for turn in said["messages"]] == [turn["content"] for turn in row["messages"]]
    with pa.memory_map(str(pool.folder / DATA)) as data:
        assert pl.read_ipc_stream(data).height == len(ROWS)


BAD = ["{", json.dumps({"instruction": "q"}), json.dumps({"instruction": "q", "output": " "}), "[]", "x" * 300]


def test_refused_rows_are_kept_with_place_reason_and_text(alpaca: Any, tmp_path: Path) -> None:
    rows = [ROWS[0], BAD[0], "", BAD[1], ROWS[1], BAD[2], BAD[3], BAD[4], ROWS[2]]
    path = raw_file(tmp_path / "bad", rows)
    pool = make_pool(dataclasses.replace(alpaca, path=path), tmp_path / "pools", MOST)
    refused = pool.refused()
    assert refused.schema == REFUSED_COLUMNS
    assert refused.select("row", "line", "reason").rows() == [
        (1, 2, "bad_json"),
        (2, 4, "missing_column"),
        (4, 6, "empty_answer"),
        (5, 7, "wrong_type"),
        (6, 8, "bad_json"),
    ]
    data = Path(path).read_bytes()
    assert [data[offset:].split(b"\n")[0].decode() for offset in refused["offset"]] == [
        rows[k] for k in (1, 3, 5, 6, 7)
    ]
    assert set(refused["file"]) == {"rows.jsonl"}
    assert refused["text"].to_list() == [BAD[0], BAD[1], BAD[2], BAD[3], BAD[4][:200]]
    assert pool.rows()["id"].to_pylist() == ["test:0", "test:3", "test:7"]
    assert pool.manifest["quarantined"] == {"bad_json": 2, "empty_answer": 1, "missing_column": 1, "wrong_type": 1}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([*ROWS[:3], *BAD, "{}", "null"]), max_size=12), st.sampled_from([48, 1 << 20]))
def test_raw_rows_are_kept_or_quarantined(alpaca: Any, tmp_path: Path, rows: list[Any], size: int) -> None:
    source = dataclasses.replace(alpaca, path=raw_file(tmp_path / "some", [ROWS[0], *rows]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "BLOCK_BYTES", size)
        pool = make_pool(source, tmp_path / f"pools{size}", MOST)
    said, refused = pool.manifest, pool.refused()
    assert said["raw_rows"] == len(rows) + 1 == said["rows"] + sum(said["quarantined"].values())
    assert said["quarantined"] == dict(Counter(refused["reason"]))
    kept = [int(name.split(":")[1]) for name in pool.rows()["id"].to_pylist()]
    assert sorted(kept + refused["row"].to_list()) == list(range(len(rows) + 1))
    assert kept == sorted(kept)


def test_progress_counts_raw_rows(alpaca: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "BLOCK_BYTES", 200)
    seen: list[int] = []
    make_pool(alpaca, tmp_path / "pools", MOST, seen.append)
    assert sum(seen) == len(ROWS)
    assert len(seen) > 2


def test_a_column_that_all_rows_lack_is_a_wrong_setting(source: Any, tmp_path: Path) -> None:
    path = raw_file(tmp_path / "raw", [{"q": "x", "a": "y"}] * 3)
    with pytest.raises(SourceError, match=r"no column 'question' \(have: q, a\)\n.*sources\.test\.columns\.user="):
        make_pool(source("columns", {"user": "question", "assistant": "a"}, {}, path=path), tmp_path / "pools", MOST)
    assert not list((tmp_path / "pools").rglob(DATA))


@pytest.mark.parametrize("data", [b"", b"\n\n", b"[]"])
def test_a_source_without_rows_is_an_empty_pool(source: Any, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "empty.json").write_bytes(data)
    pool = make_pool(source("alpaca", {}, {}, path=str(tmp_path / "empty.json")), tmp_path / "pools", MOST)
    assert pool.manifest["raw_rows"] == pool.manifest["rows"] == len(pool.rows()) == len(pool.refused()) == 0
    assert scan_pool("test", tmp_path / "pools").collect().is_empty()


def test_a_failure_leaves_no_pool(source: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(b'{"instruction": "q", "output": "a"}\n' * 999)[:-9])
    with pytest.raises(SourceError):
        make_pool(source("alpaca", {}, {}, path=str(tmp_path / "rows.jsonl.gz")), tmp_path / "pools", MOST)
    assert [path for path in (tmp_path / "pools").rglob("*") if ".locks" not in path.parts and path.is_file()] == []


def test_rows_in_the_configuration_make_a_pool(source: Any, tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    pool = make_pool(source("messages", {}, {}, literal=[{"messages": messages}, {"messages": 5}]), tmp_path, MOST)
    assert pool.manifest["rows"] == 1
    assert pool.refused().select("file", "line", "reason").rows() == [("(configuration)", 2, "wrong_type")]
