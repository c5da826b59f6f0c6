"""Time near deduplication, and say what it finds of what was planted.

    make bench-near                      (or: python tests/benchmarks/bench_near.py --rows 50000)

Half of the rows are English, half Chinese (see near_rows.py). Recall: of the planted copies of a bin of similarity,
those in one cluster with their original. Precision: of the rows that go, those that are a copy of the row that
stays. Prints medians and the peak of memory; never fails.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections import Counter

import numpy as np
import polars as pl
from near_rows import Row, make_rows

from pipeline.dedup.near import Near, near_clusters

BINS = ((0.0, 0.7), (0.7, 0.8), (0.8, 0.85), (0.85, 0.9), (0.9, 1.01))


def peak() -> float:
    """The most memory that this process held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def tell(rows: list[Row], clusters: np.ndarray, language: str) -> None:
    here = [number for number, row in enumerate(rows) if row.language == language]
    gone = [number for number in here if clusters[number] != number]
    right = sum(rows[n].kind in ("new", "copy") and rows[n].origin == rows[clusters[n]].origin for n in gone)
    alike = Counter(rows[n].kind for n in here if clusters[n] == clusters[rows[n].origin] and rows[n].origin != n)
    made = Counter(rows[n].kind for n in here)
    print(f"\n{language}  rows {len(here):,}  gone {len(gone):,}  precision {right / max(len(gone), 1):.4f}")
    for low, high in BINS:
        copies = [n for n in here if rows[n].kind == "copy" and low <= rows[n].similarity < high]
        found = sum(clusters[n] == clusters[rows[n].origin] for n in copies)
        name = f"{low:.2f}-{min(high, 1):.2f}"
        print(f"  copies  {name}  {len(copies):7,}  in one cluster {found:7,}  {found / max(len(copies), 1):.4f}")
    for kind, what in (("number", "another number"), ("words", "other words")):
        print(f"  {what:<16}   {made[kind]:7,}  in one cluster {alike[kind]:7,}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    rows = make_rows(options.rows)
    texts = pl.Series([row.text for row in rows])
    size, before = texts.str.len_bytes().sum() / 2**20, peak()
    seconds: list[float] = []
    for run in range(options.runs):
        start, used = time.perf_counter(), time.process_time()
        clusters = near_clusters(texts, Near())
        seconds.append(time.perf_counter() - start)
        print(f"run {run + 1}  {seconds[-1]:6.2f} s  ({time.process_time() - used:.2f} s of processor time)")
    print(
        f"{len(rows):,} rows, {size:,.0f} MiB of text, {pl.thread_pool_size()} threads: median of {options.runs} runs "
        f"{statistics.median(seconds):.2f} s, {peak() - before:,.0f} MiB more than before"
    )
    sizes = np.bincount(clusters)
    print(f"clusters of several rows {int((sizes > 1).sum()):,}, the largest has {int(sizes.max())} rows")
    for language in ("en", "zh"):
        tell(rows, clusters, language)


if __name__ == "__main__":
    main()
