"""Parquet and Arrow files are read apart: what they expand to, or break, is the end of that process and no other."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import SourceError
from pipeline.sources import arrow_process
from pipeline.sources.arrow_process import end_idle, read_confined
from pipeline.sources.arrow_rows import read_arrow
from pipeline.sources.files import RawFile

MIB = 1 << 20
LIMIT = 192 * MIB


@pytest.fixture(autouse=True)
def _new_processes() -> Iterator[None]:
    end_idle()
    yield
    end_idle()


def file_of(path: Path) -> RawFile:
    return RawFile(path, path.name, path.suffix[1:], None)


def arrow_of(texts: pa.Array, path: Path) -> None:
    """One batch, whose texts lie in one compressed buffer."""
    table = pa.table({"q": texts})
    with pa.ipc.new_file(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)


def parquet_of(texts: pa.Array, path: Path) -> None:
    """One row group, whose texts lie in one compressed page."""
    pq.write_table(pa.table({"q": texts}), path, compression="zstd", use_dictionary=False, data_page_size=2**31 - 1)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux can")
@pytest.mark.parametrize(("name", "write"), [("a.arrow", arrow_of), ("a.parquet", parquet_of)])
def test_what_expands_to_more_than_it_may_is_refused(
    name: str, write: Callable[[pa.Array, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some kilobytes that stand for 8 MiB, and for more than there may be."""
    monkeypatch.setattr(arrow_process, "_MEMORY_BYTES", LIMIT)
    for mebibytes in (8, 256):
        write(pa.array(["x" * MIB] * mebibytes, pa.large_string()), tmp_path / name)
        assert (tmp_path / name).stat().st_size < MIB
        if mebibytes * MIB < LIMIT:
            (block,) = read_confined(file_of(tmp_path / name), "it", 2 * MIB)
            assert len(block.record) == mebibytes
            continue
        with pytest.raises(SourceError, match="cannot be read within") as found:
            list(read_confined(file_of(tmp_path / name), "it", 2 * MIB))
        assert len(str(found.value).splitlines()) == 2


def twice(values: list[int]) -> pa.Array:
    """Values of two fields with one name."""
    return pa.StructArray.from_arrays([pa.array(values)] * 2, ["k", "k"])


def days(values: list[int]) -> pa.Array:
    return pa.array(values, pa.int32()).view(pa.date32())


STRANGE = {
    "two fields of one name": (twice([1, 2]), "'k' has more than one occurrence"),
    "a date too far away": (days([1, 2**31 - 1]), "out-of-range date"),  # a panic of Polars
    "a zone that is none": (pa.array([1, 2], pa.timestamp("us", "Nowhere")), "unable to parse time zone"),
}


@pytest.mark.parametrize("name", ["a.arrow", "a.parquet"])
@pytest.mark.parametrize("what", STRANGE)
def test_what_polars_cannot_read_is_said_and_breaks_nothing(name: str, what: str, tmp_path: Path) -> None:
    column, said = STRANGE[what]
    table = pa.table({"q": column})
    if name.endswith("parquet"):
        pq.write_table(table, tmp_path / name)
    else:
        with pa.ipc.new_file(str(tmp_path / name), table.schema) as writer:
            writer.write_table(table)
    for _ in range(2):
        with pytest.raises(SourceError, match=f"not a readable {name[2:]} file .*{said}") as found:
            list(read_confined(file_of(tmp_path / name), "it", 100))
        assert len(str(found.value).splitlines()) == 2
    assert len(arrow_process._idle) == 1
    assert len(list(read_confined(small(tmp_path / "b.parquet"), "it", 100))) == 1


def test_a_name_without_an_end_is_not_said_as_a_whole(tmp_path: Path) -> None:
    column = pa.StructArray.from_arrays([pa.array([1])] * 2, ["k" * 100_000] * 2)
    pq.write_table(pa.table({"q": column}), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match="not a readable") as found:
        list(read_confined(file_of(tmp_path / "a.parquet"), "it", 100))
    assert len(str(found.value)) < 1000


def small(path: Path) -> RawFile:
    pq.write_table(pa.table({"q": ["a", None, "题"], "n": [1, 2, None], "l": [[1], [], None]}), path)
    return file_of(path)


def test_it_is_what_is_read_without(tmp_path: Path) -> None:
    file = small(tmp_path / "a.parquet")
    for limit in (1, 100):
        (apart,), (here,) = read_confined(file, "it", limit), read_arrow(file, "it", limit)
        assert apart.frame.equals(here.frame)
        assert apart.frame.schema == here.frame.schema
        assert (apart.refused, apart.json_columns) == (here.refused, here.json_columns)
        for place in ("record", "line", "offset"):
            assert getattr(apart, place).tolist() == getattr(here, place).tolist()


def test_a_file_that_breaks_the_process_ends_in_two_lines_and_the_next_is_read(tmp_path: Path) -> None:
    file = small(tmp_path / "a.parquet")
    assert len(list(read_confined(file, "it", 100))) == 1
    (process,) = arrow_process._idle
    assert process._process is not None
    os.kill(process._process.pid, signal.SIGKILL)
    process._process.wait()
    with pytest.raises(SourceError, match="it ended the process it ran in") as found:
        list(read_confined(file, "it", 100))
    assert len(str(found.value).splitlines()) == 2
    assert len(list(read_confined(file, "it", 100))) == 1


def test_a_file_that_is_left_in_the_middle_says_nothing_of_the_next(tmp_path: Path) -> None:
    rows = pa.table({"q": [f"{k}" for k in range(50_000)]})
    with pa.ipc.new_stream(str(tmp_path / "b.arrow"), rows.schema) as writer:
        writer.write_table(rows)
    for blocks in (1, 2, 3):
        reading = read_confined(file_of(tmp_path / "b.arrow"), "it", 100)
        assert [next(reading).record[0] for _ in range(blocks)] == [16_384 * k for k in range(blocks)]
        reading.close()
        (block,) = read_confined(small(tmp_path / "a.parquet"), "it", 100)
        assert block.frame["q"].to_list() == ["a", None, "题"]
    assert len(arrow_process._idle) <= 1


def test_two_files_at_once_do_not_mix(tmp_path: Path) -> None:
    for name in ("a", "b"):
        rows = pa.table({"q": [f"{name}{k}" for k in range(50_000)]})
        pq.write_table(rows, tmp_path / f"{name}.parquet")
    both = [read_confined(file_of(tmp_path / f"{name}.parquet"), "it", 100) for name in ("a", "b")]
    for a, b in zip(*both, strict=True):
        assert a.frame["q"].to_list() == [f"a{k}" for k in a.record]
        assert b.frame["q"].to_list() == [f"b{k}" for k in b.record]
