"""Finding raw files, and opening them whatever their name, ending and compression."""

import glob
import gzip
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import zstandard

from pipeline.errors import SourceError
from pipeline.sources.files import find_files
from pipeline.sources.read import read_files, read_literal

ROWS = [{"q": f"题 {k}", "n": k} for k in range(500)]
JSONL = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()
CSV = ("q,n\n" + "".join(f"题 {row['n']},{row['n']}\n" for row in ROWS)).encode()


def squeeze(data: bytes, ending: str) -> bytes:
    return gzip.compress(data) if ending == ".gz" else zstandard.compress(data)


def names(path: Path | str) -> list[str]:
    return [file.name for file in find_files("test", str(path))]


def fill(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b'{"q": "x"}\n')
    return folder


@pytest.mark.parametrize("ending", [".gz", ".zst"])
@pytest.mark.parametrize(("name", "data"), [("a.jsonl", JSONL), ("a.csv", CSV)])
def test_a_compressed_file_reads_like_the_plain_one(read: Any, name: str, data: bytes, ending: str) -> None:
    plain = read(name, data)
    assert read(name + ending, squeeze(data, ending)).rows == plain.rows
    assert len(plain.rows) == len(ROWS)


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_several_compressed_parts_in_one_file_are_all_read(read: Any, ending: str) -> None:
    both = squeeze(JSONL + b"\n", ending) + squeeze(JSONL, ending)
    assert len(read("a.jsonl" + ending, both).rows) == 2 * len(ROWS)


@pytest.mark.parametrize("ending", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: data[: len(data) // 2], lambda _: b"plain text"]
)
def test_a_damaged_compressed_file_stops_the_source(read: Any, name: str, ending: str, damage: Any) -> None:
    with pytest.raises(SourceError, match=name):
        read(name + ending, damage(squeeze(JSONL, ending)))


def test_utf_16_is_named_as_such(read: Any) -> None:
    with pytest.raises(SourceError, match="UTF-16"):
        read("a.csv", "q,n\nx,1\n".encode("utf-16"))


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a b.jsonl", "a[1].jsonl", "题.jsonl", "a*?.jsonl", "a=1,b.JSONL", ".a.jsonl"]
)
def test_one_file_of_any_name(tmp_path: Path, name: str) -> None:
    fill(tmp_path, name)
    assert names(tmp_path / name) == [name]


def test_a_folder_stands_for_the_data_files_directly_in_it(tmp_path: Path) -> None:
    fill(
        tmp_path, "b.json", "a.csv.gz", "c.txt", "README.md", "in/d.json", "e.json.bak", "f", ".hidden.json", "._b.json"
    )
    assert names(tmp_path) == ["a.csv.gz", "b.json"]


@pytest.mark.parametrize("folder", ["plain", "with space", "br[1]", "题"])
def test_a_folder_of_any_name(tmp_path: Path, folder: str) -> None:
    fill(tmp_path / folder, "a.json")
    assert names(tmp_path / folder) == ["a.json"]


def test_a_glob_gives_names_relative_to_its_fixed_part(tmp_path: Path) -> None:
    fill(tmp_path, "x/b.jsonl", "x/a.jsonl", "y/c.jsonl", "y/c.csv")
    assert names(tmp_path / "*" / "*.jsonl") == ["x/a.jsonl", "x/b.jsonl", "y/c.jsonl"]
    assert names(tmp_path / "**" / "*.jsonl") == ["x/a.jsonl", "x/b.jsonl", "y/c.jsonl"]
    assert names(tmp_path / "x" / "[ab].jsonl") == ["a.jsonl", "b.jsonl"]


def test_links_that_lead_round_in_circles_are_left_alone(tmp_path: Path) -> None:
    fill(tmp_path, "a.jsonl", "in/b.jsonl", "in/.hidden/c.jsonl", "notes.txt", "in/d.bin")
    for name, target in (("loop.jsonl", "loop.jsonl"), ("one", "."), ("two", "."), ("in/up", "..")):
        (tmp_path / name).symlink_to(target)
    assert names(tmp_path) == ["a.jsonl"]
    assert names(tmp_path / "**" / "*.jsonl") == ["a.jsonl", "in/b.jsonl"]
    assert names(tmp_path / "in" / ".." / "*.jsonl") == ["a.jsonl"]
    assert names(tmp_path / "in" / ".." / "a.jsonl") == ["a.jsonl"]
    with pytest.raises(SourceError, match="leads nowhere"):
        names(tmp_path / "loop.jsonl")


def test_a_name_that_is_no_text_stops_the_source(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl")).write_bytes(b'{"q": "x"}')
    with pytest.raises(SourceError, match=r"udcff\.jsonl is no UTF-8") as error:
        names(tmp_path)
    str(error.value).encode()


def test_the_order_of_a_listing_never_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, *(f"{name}.jsonl" for name in ["b", "a", "B", "a10", "a2", "é", "题", "a b"]))
    expected = sorted((file.name for file in tmp_path.iterdir()), key=str.encode)
    listing, found, shuffled = list(tmp_path.iterdir()), glob.glob(str(tmp_path / "*")), random.Random(1)

    def any_order(items: list[Any]) -> list[Any]:
        return shuffled.sample(items, len(items))

    monkeypatch.setattr(Path, "iterdir", lambda _: iter(any_order(listing)))
    monkeypatch.setattr(glob, "glob", lambda *_, **__: any_order(found))
    for _ in range(5):
        assert names(tmp_path) == expected
        assert names(tmp_path / "*.jsonl") == expected


def test_records_are_numbered_through_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"q": "1"}\nbad\n{"q": "2"}\n')
    (tmp_path / "b.csv").write_bytes(b"q\n3\n4,5\n")
    (tmp_path / "c.json").write_bytes(b'[{"q": "6"}, 7]')
    found = [
        (file, block.record.tolist(), [bad.record for bad in block.refused])
        for file, block in read_files("test", find_files("test", str(tmp_path)))
    ]
    assert found == [("a.jsonl", [0, 2], [1]), ("b.csv", [3], [4]), ("c.json", [5], [6])]


def test_a_missing_file_suggests_the_nearest_name(tmp_path: Path) -> None:
    fill(tmp_path, "cmath.jsonl", "other.csv")
    with pytest.raises(SourceError, match=r"did you mean cmath\.jsonl\?"):
        find_files("test", str(tmp_path / "cmaht.jsonl"))
    with pytest.raises(SourceError, match=r"no file .*zzz\n"):
        find_files("test", str(tmp_path / "zzz"))
    with pytest.raises(SourceError, match="no file"):
        find_files("test", str(tmp_path / "nowhere" / "cmath.jsonl"))


def test_an_unknown_ending_asks_for_the_format(tmp_path: Path) -> None:
    fill(tmp_path, "data.txt", "data", "data.gz")
    for name in ("data.txt", "data", "data.gz"):
        with pytest.raises(SourceError, match=r"sources\.test\.format"):
            find_files("test", str(tmp_path / name))
        assert find_files("test", str(tmp_path / name), "json")[0].format == "json"


@pytest.mark.parametrize("path", ["empty", "empty/*.jsonl", "[", "empty/**"])
def test_nothing_to_read_stops_the_source(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="test"):
        find_files("test", str(tmp_path / path))


def test_a_digest_is_that_of_the_bytes_on_disk(tmp_path: Path) -> None:
    fill(tmp_path, "a.jsonl")
    shutil.copy(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    (tmp_path / "c.jsonl").write_bytes(b"")
    a, b, c = (file.digest() for file in find_files("test", str(tmp_path)))
    assert a == b != c
    assert (a[0], c[0]) == (11, 0)


def test_rows_written_in_the_configuration_read_like_a_file() -> None:
    rows = [{"messages": [{"role": "user", "content": "x\ny"}]}, {"q": None}, 5]
    blocks = list(read_literal(rows))
    assert {name for name, _ in blocks} == {"(configuration)"}
    assert [number for _, block in blocks for number in block.record] == [0, 1]
    assert [(bad.record, bad.reason) for _, block in blocks for bad in block.refused] == [(2, "wrong_type")]
    assert list(read_literal([])) == []
