"""What a build says while it works: one aligned line a stage, and tables."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

import polars as pl

from pipeline.mix.strategies import Mix, Plan, shares
from pipeline.pool import Pool

Say = Callable[[str], None]


def pool_line(pool: Pool, width: int) -> str:
    """`normalize  cmath  1,098 → 1,098  empty_answer 2`."""
    manifest = pool.manifest
    counts = manifest["quarantined"] | manifest["counts"]
    notes = [f"{what} {count:,}" for what, count in counts.items() if count]
    notes += [] if pool.made else ["ready"]
    return _stage("normalize", pool.name, width, manifest["raw_rows"], manifest["rows"], " · ".join(notes))


def _stage(stage: str, source: str, width: int, before: int, after: int, notes: str) -> str:
    name = source + " " * (width - columns_wide(source))
    return f"{stage:<9}  {name}  {before:>9,} → {after:<9,}  {notes}".rstrip()


def dedup_line(rows: int, copies: pl.DataFrame, several: int, width: int) -> str:
    """Rows before and after, the copies by kind, and how many prompts have several answers (all kept)."""
    kinds = {copy: int((copies["copy"] == copy).sum()) for copy in ("within", "across")}
    notes = [f"{kind} {count:,}" for kind, count in kinds.items()]
    notes += [f"prompts with several answers {several:,}"] if several else []
    return _stage("dedup", "", width, rows, rows - len(copies), " · ".join(notes))


def split_line(unique: pl.DataFrame, width: int) -> str:
    """Rows before, rows left for training, and the validation rows per source."""
    found = unique.filter(pl.col("fate") == "validation")["source"].value_counts().sort("source")
    validation = int(found["count"].sum())
    leaked = int((unique["fate"] == "prompt_in_validation").sum())
    notes = [f"{source} {count:,}" for source, count in found.iter_rows()]
    notes += [f"prompt_in_validation {leaked:,}"] if leaked else []
    notes[:1] = [f"validation {validation:,}{': ' if notes else ''}{''.join(notes[:1])}"]
    return _stage("split", "", width, len(unique), len(unique) - validation - leaked, " · ".join(notes))


def mix_lines(mix: Mix, plan: Plan, available: Mapping[str, int]) -> list[str]:
    """What was asked and what was got, source by source."""
    whole = sum(plan.quotas.values())
    asked = shares(mix.weights)
    rows = [
        [
            name,
            f"{asked[name]:.4f}",
            f"{quota / whole:.4f}",
            f"{available[name]:,}",
            f"{quota:,}",
            f"{quota / available[name]:.2f}" if quota else "–",
        ]
        for name, quota in sorted(plan.quotas.items())
    ]
    lines = [f"mix        {mix.strategy} → {whole:,} training rows"]
    lines += table(["source", "asked", "got", "available", "rows", "epochs"], rows, indent=11)
    return lines


def table(head: Sequence[str], rows: Sequence[Sequence[str]], indent: int = 0) -> list[str]:
    """Aligned text: the first column to the left, the others to the right."""
    widths = [max(columns_wide(row[k]) for row in [head, *rows]) for k in range(len(head))]
    lines: list[str] = []
    for row in [head, *rows]:
        blanks = [" " * (width - columns_wide(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = [row[0] + blanks[0], *(blank + cell for blank, cell in zip(blanks[1:], row[1:], strict=True))]
        lines.append(" " * indent + "  ".join(cells).rstrip())
    return lines


def columns_wide(text: str) -> int:
    """How many columns of a terminal the text takes: Chinese and emoji two a sign, combining signs and joiners none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(sign) in ("Mn", "Me", "Cf") else 1 + (unicodedata.east_asian_width(sign) in "WF")
        for sign in text
    )


@contextmanager
def progress(title: str) -> Generator[Callable[[int], None]]:
    """A counter of rows on stderr, from the second second on, and only on a terminal: call it with how many more."""
    if not sys.stderr.isatty():
        yield lambda _more: None
        return
    from tqdm import tqdm

    with tqdm(desc=title, unit=" rows", unit_scale=True, delay=2, leave=False) as bar:

        def advance(more: int) -> None:
            bar.update(more)

        yield advance
