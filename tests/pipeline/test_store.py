"""Folders appear whole or not at all, damage is named, and pools are read lazily."""

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import xxhash

from pipeline import store
from pipeline.errors import StoreError
from pipeline.folder import DATA, file_digest
from pipeline.pool import FORMAT
from pipeline.store import (
    damaged_file,
    lock,
    new_folder,
    open_table,
    pool_folder,
    scan_pool,
    write_pointer,
)

SCHEMA = pa.schema([("id", pa.string()), ("n", pa.int64())])


def write(target: Path, text: str) -> dict[str, dict[str, Any]]:
    with new_folder(target) as folder:
        folder.write_text("a.txt", text)
        folder.write_text("in/b.txt", text * 2)
        folder.write_text("empty.txt", "")
    return folder.files


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


NAMES = ["plain", "with space", "br[1]*?", "题", "a=b,c"]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_appears_whole(tmp_path: Path, name: str) -> None:
    files = write(tmp_path / "deep" / name, "x")
    assert everything(tmp_path / "deep") == sorted([name, *(f"{name}/{file}" for file in [*files, "in"])])
    assert (tmp_path / "deep" / name / "in" / "b.txt").read_text() == "xx"


def write_and_fail(target: Path, error: type[BaseException]) -> None:
    with new_folder(target) as folder:
        folder.write_text("a.txt", "new")
        raise error


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_no_trace(tmp_path: Path, before: bool, error: type[BaseException]) -> None:
    if before:
        write(tmp_path / "x", "old")
    found = everything(tmp_path)
    with pytest.raises(error):
        write_and_fail(tmp_path / "x", error)
    assert everything(tmp_path) == found
    assert not before or (tmp_path / "x" / "a.txt").read_text() == "old"


def write_half(target: Path) -> None:
    with new_folder(target) as folder, folder.open("a") as stream:
        stream.write(b"half")
        raise ValueError("stop")


def test_an_error_while_a_file_is_written_leaves_no_trace(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop"):
        write_half(tmp_path / "x")
    assert everything(tmp_path) == []


@pytest.mark.parametrize("exchange", [True, False])
def test_the_old_content_is_there_until_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(store, "_exchange", lambda *_: False)
    target = tmp_path / "x"
    write(target, "old")
    with new_folder(target) as folder:
        folder.write_text("c.txt", "new")
        assert (target / "a.txt").read_text() == "old"
        assert not (target / "c.txt").exists()
    assert everything(tmp_path) == ["x", "x/c.txt"]


def test_an_open_file_stays_readable_when_its_folder_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "x"
    for text in ("old", "new"):
        with new_folder(target) as folder, folder.dataset("", SCHEMA) as rows:
            rows.write_batch(pa.record_batch([pa.array([text]), pa.array([1])], schema=SCHEMA))
        if text == "old":
            table = open_table(target / DATA)
    assert table["id"].to_pylist() == ["old"]
    assert open_table(target / DATA)["id"].to_pylist() == ["new"]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_killed_process_left_is_removed(tmp_path: Path, name: str) -> None:
    (tmp_path / f".{name}.writing-1").mkdir()
    (tmp_path / f".{name}.writing-1" / "a.txt").write_text("half")
    (tmp_path / f".{name}2.writing-1").mkdir()
    write(tmp_path / name, "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f".{name}2.writing-1"])


def test_a_manifest_s_digests_are_those_of_the_files(tmp_path: Path) -> None:
    files = write(tmp_path / "x", "text")
    for name, said in files.items():
        data = (tmp_path / "x" / name).read_bytes()
        assert said == {"bytes": len(data), "xxh3_128": xxhash.xxh3_128_hexdigest(data)}
        assert file_digest(tmp_path / "x" / name) == said["xxh3_128"]
    assert damaged_file(tmp_path / "x", files) is None


def test_every_kind_of_damage_is_named(tmp_path: Path) -> None:
    files = write(tmp_path / "x", "some text")
    path = tmp_path / "x" / "in" / "b.txt"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert damaged_file(tmp_path / "x", files) == "in/b.txt has other bytes than when it was written"
    path.write_bytes(whole[:-1])
    assert damaged_file(tmp_path / "x", files) == "in/b.txt has 17 bytes, not 18"
    path.unlink()
    assert damaged_file(tmp_path / "x", files) == "in/b.txt is missing"
    assert damaged_file(tmp_path / "x", files, ["a.txt"]) is None


def add_one(folder: Path, count: int) -> None:
    for _ in range(count):
        with lock(folder, folder / "number"):
            number = int((folder / "number").read_text())
            (folder / "number").write_text(str(number + 1))


def test_only_one_process_at_a_time_holds_a_lock(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=add_one, args=(tmp_path, 50)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "number").read_text() == "150"


def test_a_pointer_is_replaced_in_one_step(tmp_path: Path) -> None:
    write_pointer(tmp_path / "deep" / "latest", "a")
    write_pointer(tmp_path / "deep" / "latest", "题")
    assert (tmp_path / "deep" / "latest").read_text("utf-8") == "题\n"
    assert everything(tmp_path) == ["deep", "deep/latest"]


def test_a_pointer_that_cannot_be_written_stays_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pointer(tmp_path / "latest", "a")

    def fails(handle: int) -> None:
        raise OSError(5, "no")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="no"):
        write_pointer(tmp_path / "latest", "b")
    assert (tmp_path / "latest").read_text("utf-8") == "a\n"
    assert everything(tmp_path) == ["latest"]


@pytest.mark.parametrize("data", [b"", b"nothing of the kind", None])
def test_what_is_no_table_is_said_so(tmp_path: Path, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / "x").write_bytes(data)
    with pytest.raises(StoreError, match="not a readable Arrow stream"):
        open_table(tmp_path / "x")


def test_a_cut_table_is_said_so(tmp_path: Path) -> None:
    place = pool(tmp_path) / DATA
    place.write_bytes(place.read_bytes()[: place.stat().st_size // 2])
    with pytest.raises(StoreError, match="not a readable Arrow stream"):
        open_table(place)


def pool(pools: Path, name: str = "cmath") -> Path:
    with new_folder(pools / name / "0123") as folder:
        with folder.dataset("", SCHEMA) as rows:
            for start in (0, 10, 20):
                numbers = list(range(start, start + 10))
                ids = pa.array([f"s:{k}" for k in numbers])
                rows.write_batch(pa.record_batch([ids, pa.array(numbers)], schema=SCHEMA))
        folder.write_manifest({"format": FORMAT, "name": name, "files": dict(folder.files)})
    write_pointer(pools / name / "latest", "0123")
    return pools / name / "0123"


QUERIES = {
    "all": lambda frame: frame,
    "one column": lambda frame: frame.select("n"),
    "a predicate": lambda frame: frame.filter(pl.col("n") % 7 == 3),
    "a predicate on another column": lambda frame: frame.filter(pl.col("n") > 12).select("id"),
    "the first": lambda frame: frame.head(13),
    "the first of some": lambda frame: frame.filter(pl.col("n") % 2 == 1).head(8),
    "some of the first": lambda frame: frame.head(15).filter(pl.col("n") % 2 == 1),
    "none": lambda frame: frame.head(0),
    "a slice": lambda frame: frame.slice(8, 5),
    "the last": lambda frame: frame.tail(3),
    "a sum": lambda frame: frame.select(pl.col("n").sum(), pl.len().alias("rows")),
    "a count": lambda frame: frame.select(pl.len()),
    "an order": lambda frame: frame.sort("n", descending=True).select("n"),
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_scan_gives_what_the_table_gives(tmp_path: Path, query: Any) -> None:
    table = pl.DataFrame(pl.from_arrow(open_table(pool(tmp_path) / DATA)))
    assert query(scan_pool("cmath", tmp_path)).collect().equals(query(table.lazy()).collect())


def test_a_scan_reads_only_the_columns_it_needs(tmp_path: Path) -> None:
    pool(tmp_path)
    plan = scan_pool("cmath", tmp_path).filter(pl.col("n") > 3).select("n").explain()
    assert "PROJECT 1/2" in plan
    assert "FILTER" not in plan


def test_a_scan_ends_with_the_row_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool(tmp_path)
    seen: list[int] = []
    plain = pl.from_arrow
    monkeypatch.setattr(pl, "from_arrow", lambda data, **more: (seen.append(len(data)), plain(data, **more))[1])
    assert len(scan_pool("cmath", tmp_path).head(5).collect()) == 5
    assert sum(seen) <= 10


def test_a_pool_that_is_not_there_suggests_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not made yet"):
        pool_folder("cmath", tmp_path / "nowhere")
    pool(tmp_path)
    with pytest.raises(StoreError, match=r"did you mean cmath\?"):
        pool_folder("cmaht", tmp_path)
    assert pool_folder("cmath", tmp_path).name == "0123"


def test_a_split_is_laid_out_as_datasets_writes_it(tmp_path: Path) -> None:
    import datasets

    folder = pool(tmp_path)
    assert json.loads((folder / "state.json").read_text())["_data_files"] == [{"filename": DATA}]
    assert datasets.load_from_disk(str(folder))["n"][:] == list(range(30))


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
def test_everything_is_synced_before_it_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    plain = os.fsync

    def fsync(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}") if Path("/proc/self/fd").is_dir() else "")
        plain(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write(tmp_path / "x", "text")
    assert len(synced) >= 6  # three files, two folders, and the one around them
    assert synced[-1] in ("", str(tmp_path))


def test_files_of_libraries_become_the_folders_own(tmp_path: Path) -> None:
    with new_folder(tmp_path / "x") as folder:
        folder.write_text("own.txt", "own")
        own = dict(folder.files["own.txt"])
        (folder.path / "below").mkdir()
        for name in ("theirs.bin", "below/more.bin"):
            (folder.path / name).write_bytes(name.encode())
            (folder.path / name).chmod(0o600)
        folder.adopt()
    assert folder.files["own.txt"] == own
    assert sorted(folder.files) == ["below/more.bin", "own.txt", "theirs.bin"]
    assert damaged_file(tmp_path / "x", folder.files) is None
    modes = {path.stat().st_mode for path in (tmp_path / "x").rglob("*") if path.is_file()}
    assert len(modes) == 1
