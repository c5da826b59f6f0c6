"""Raw files that change: since a pool was made, and while one is being made."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.errors import SourceError
from pipeline.ingest import make_pool
from pipeline.raw import raw_files
from pipeline.sources.source import Source

MOST = 1_000_000
ROWS = [{"instruction": f"question {k}", "input": "", "output": f"answer {k} {'x' * 200}"} for k in range(20_000)]


@pytest.fixture(params=["jsonl", "parquet", "arrow", "csv"])
def raw(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"rows.{request.param}"
    frame = pl.DataFrame(ROWS)
    write = {"jsonl": frame.write_ndjson, "parquet": frame.write_parquet, "arrow": frame.write_ipc}
    write.get(request.param, frame.write_csv)(path)
    return path


@pytest.fixture
def alpaca(source: Callable[..., Source]) -> Callable[[Path], Source]:
    return lambda path: source("alpaca", {}, {}, path=str(path))


def append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b'\n{"instruction": "more", "input": "", "output": "more"}\n')


def overwrite(path: Path) -> None:
    """The same size, the same time: other bytes in the middle."""
    times = path.stat()
    with path.open("r+b") as stream:
        stream.seek(times.st_size // 2)
        byte = stream.read(1)
        stream.seek(times.st_size // 2)
        stream.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace(path: Path) -> None:
    """Another file with the same bytes."""
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def delete(path: Path) -> None:
    path.unlink()


CHANGES = [append, overwrite, replace, truncate, delete]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_file_that_changes_while_it_is_read_makes_no_pool(
    raw: Path, tmp_path: Path, alpaca: Any, change: Callable[[Path], None]
) -> None:
    done: list[int] = []

    def advance(_rows: int) -> None:
        if not done:
            change(raw)
        done.append(1)

    with pytest.raises(SourceError) as caught:
        make_pool(alpaca(raw), tmp_path / "pools", MOST, advance)
    assert done
    assert raw.name in str(caught.value)
    assert [path.name for path in (tmp_path / "pools" / "test").iterdir()] == []


@pytest.mark.parametrize("raw", ["jsonl"], indirect=True)
@pytest.mark.parametrize("change", [append, overwrite, truncate], ids=lambda change: change.__name__)
def test_a_file_that_changes_between_its_digest_and_its_reading_makes_no_pool(
    raw: Path, tmp_path: Path, alpaca: Any, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import ingest

    plain = ingest.read_files

    def late(*of: Any, **more: Any) -> Any:
        change(raw)
        return plain(*of, **more)

    monkeypatch.setattr(ingest, "read_files", late)
    with pytest.raises(SourceError, match=r"rows\.jsonl: changed while it was being read"):
        make_pool(alpaca(raw), tmp_path / "pools", MOST)
    assert not list((tmp_path / "pools" / "test").iterdir())


def test_what_is_in_a_file_decides_and_not_when_it_was_written(tmp_path: Path, alpaca: Any) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:50]))
    first = make_pool(alpaca(path), tmp_path / "pools", MOST)
    os.utime(path, ns=(1, 1))
    assert not make_pool(alpaca(path), tmp_path / "pools", MOST).made
    overwrite(path)
    second = make_pool(alpaca(path), tmp_path / "pools", MOST)
    assert second.made
    assert second.folder != first.folder
    overwrite(path)
    assert make_pool(alpaca(path), tmp_path / "pools", MOST).folder == first.folder


def test_one_of_several_files_is_named(tmp_path: Path, alpaca: Any) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in ROWS[:50]))
    with pytest.raises(SourceError, match=r"b\.jsonl: changed while"):
        make_pool(alpaca(folder), tmp_path / "pools", MOST, lambda _: append(folder / "b.jsonl"))


def test_an_unchanged_file_is_the_same_file(tmp_path: Path, alpaca: Any) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n")
    (file,), _ = raw_files(alpaca(path))
    assert file.trace() == dataclasses.replace(file).trace()
