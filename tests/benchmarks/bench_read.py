"""Time reading clean JSON lines beside pyarrow's reader and orjson.

    make bench-read                 (or: python tests/benchmarks/bench_read.py --megabytes 100 --runs 3)

Instruction rows in words of their own, the same each time. Ours gives exact text columns with line numbers and
offsets, checked; pyarrow's reader gives a table (all at once, or batch by batch), and orjson a dictionary a line.
They run in turn in one process on all cores (POLARS_MAX_THREADS and OMP_NUM_THREADS limit them); prints medians
and ratios, never fails.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.json as pa_json

from pipeline.sources.files import find_files
from pipeline.sources.read import read_files

PLAIN = "the a river counts seven apples before evening while every small answer follows from plain numbers"
WORDS = [*PLAIN.split(), "题目", "一共", "有", "几个", "苹果", '"quoted"', "line\nbreak", "tab\tstop", "über", "naïve"]


def make_rows(path: Path, size: int) -> int:
    """A file of about so many bytes; returns its rows."""
    rows = 0
    with path.open("wb") as stream:
        while stream.tell() < size:
            lines: list[str] = []
            for k in range(rows, rows + 1000):
                text = " ".join(WORDS[(k * 7 + j * j) % len(WORDS)] for j in range(12 + k % 60))
                row = {"id": k, "instruction": text[:90], "input": text[20:60] if k % 3 == 0 else "", "output": text}
                lines.append(json.dumps(row, ensure_ascii=False))
            stream.write(("\n".join(lines) + "\n").encode())
            rows += 1000
    return rows


def ours(path: Path) -> int:
    """Rows that this project's reader gives."""
    return sum(len(block.record) for _, block in read_files("bench", find_files("bench", str(path))))


def arrow_table(path: Path) -> int:
    """Rows that pyarrow reads at once."""
    return pa_json.read_json(str(path), read_options=pa_json.ReadOptions(use_threads=pa.cpu_count() > 1)).num_rows


def arrow_batches(path: Path) -> int:
    """Rows that pyarrow reads batch by batch."""
    options = pa_json.ReadOptions(use_threads=pa.cpu_count() > 1)
    return sum(batch.num_rows for batch in pa_json.open_json(str(path), read_options=options))


def orjson_lines(path: Path) -> int:
    """Rows that orjson reads line by line."""
    with path.open("rb") as stream:
        return sum(1 for line in stream if orjson.loads(line))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    told = parser.parse_args()
    readers: list[Callable[[Path], int]] = [ours, arrow_table, arrow_batches, orjson_lines]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        rows = make_rows(path, told.megabytes * 10**6)
        size = path.stat().st_size
        seconds: dict[str, list[float]] = {reader.__name__: [] for reader in readers}
        for _ in range(told.runs):
            for reader in readers:
                start = time.perf_counter()
                found = reader(path)
                seconds[reader.__name__].append(time.perf_counter() - start)
                assert found == rows, (reader.__name__, found, rows)
    print(f"{rows:,} rows, {size / 1e6:,.0f} MB, {pa.cpu_count()} threads, median of {told.runs}")
    base = statistics.median(seconds["ours"])
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:14} {size / median / 1e6:7,.0f} MB/s   ours is {median / base:.2f} times as fast")


if __name__ == "__main__":
    main()
