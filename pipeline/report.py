"""What a build says while it works: one aligned line a stage, and tables."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl

from pipeline.kept import Kept
from pipeline.mix.account import accounts
from pipeline.mix.plan import Mix, Plan, relative_weights, stretches
from pipeline.pool import Pool
from pipeline.visible import visible

Say = Callable[[str], None]
_CLUSTERS = 3  # shown of the largest
_CHARS = 100  # of a row's text


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


def render_line(texts: Sequence[Kept], width: int) -> str:
    """Rows before and after rendering, under which template, and how many it refused."""
    rows, refused = (sum(kept.manifest[count] for kept in texts) for count in ("rows", "refused"))
    notes = [texts[0].manifest["template"]]
    notes += [f"cannot be rendered {refused:,}"] if refused else []
    notes += [] if any(kept.made for kept in texts) else ["ready"]
    return _stage("render", "", width, rows, rows - refused, " · ".join(notes))


def ids_line(ids: Sequence[Kept], width: int) -> str:
    """Rows before and after tokenizing, by which way, and how many rows had to go the slow one."""
    rows, slow, unmarked = (sum(kept.manifest[count] for kept in ids) for count in ("rows", "slow", "unmarked"))
    notes = sorted({kept.manifest["backend"] for kept in ids})
    notes += [f"by tokenizers {slow:,}"] if slow and "gigatoken" in notes else []
    notes += [f"special tokens in text {unmarked:,}"] if unmarked else []
    notes += [] if any(kept.made for kept in ids) else ["ready"]
    return _stage("tokenize", "", width, rows, rows - unmarked, " · ".join(notes))


def left_line(stage: str, rows: pl.DataFrame, refused: pl.DataFrame, width: int) -> str:
    """Rows before and after a stage that refuses some, and how many for which reason."""
    notes = [f"{reason} {count:,}" for reason, count in refused["reason"].value_counts().sort("reason").iter_rows()]
    return _stage(stage, "", width, len(rows), len(rows) - len(refused), " · ".join(notes))


def dedup_line(rows: int, copies: pl.DataFrame, kinds: Sequence[str], several: int, width: int) -> str:
    """Rows before and after, the copies by kind, and how many prompts have several answers still."""
    notes = [f"{kind} {int((copies['copy'] == kind).sum()):,}" for kind in kinds]
    notes += [f"prompts with several answers {several:,}"] if several else []
    return _stage("dedup", "", width, rows, rows - len(copies), " · ".join(notes))


def cluster_lines(clusters: Mapping[str, Any]) -> list[str]:
    """How many clusters of near copies there are, and the largest, each with the row that stays and one that went."""
    if not clusters["clusters"]:
        return []
    lines = [f"{'':11}{clusters['clusters']:,} clusters of near copies, the largest:"]
    for cluster in clusters["largest"][:_CLUSTERS]:
        lines.append(f"{'':11}  {cluster['dropped_rows'] + 1:,} rows")
        for what in ("kept", "dropped"):
            row = cluster[what]
            lines.append(f"{'':11}    {what:<7}  {visible(row['id'])}  {visible(row['text'][:_CHARS])}")
    return lines


def split_line(unique: pl.DataFrame, width: int) -> str:
    """Rows before, rows left for training, and the validation rows per source."""
    found = unique.filter(pl.col("fate") == "validation")["source"].value_counts().sort("source")
    validation = int(found["count"].sum())
    leaked = int((unique["fate"] == "prompt_in_validation").sum())
    notes = [f"{source} {count:,}" for source, count in found.iter_rows()]
    notes += [f"prompt_in_validation {leaked:,}"] if leaked else []
    notes[:1] = [f"validation {validation:,}{': ' if notes else ''}{''.join(notes[:1])}"]
    return _stage("split", "", width, len(unique), len(unique) - validation - leaked, " · ".join(notes))


def token_lines(manifest: Mapping[str, Any]) -> list[str]:
    """What became of the rows of each split on the way to sequences, source by source for training."""
    lines: list[str] = []
    for name, split in manifest["splits"].items():
        notes = [f"fill {split['fill']:.4f}"] + [f"{reason} {count:,}" for reason, count in split["dropped"].items()]
        notes += [f"lost {split['lost_tokens']:,} tokens"] if split["lost_tokens"] else []
        packed = f"{split['sequences']:,} sequences of {manifest['max_length']:,}"
        lines.append(f"pack       {name}  {split['rows']:,} rows → {packed}  {' · '.join(notes)}")
    train = manifest["splits"]["train"]
    rows = [
        [
            source,
            *(f"{entry[what]:,}" for what in ("rows", "tokens", "target_tokens")),
            *(f"{entry[what] / max(1, train[what]):.4f}" for what in ("tokens", "target_tokens")),
            f"{entry['lost_tokens']:,}",
        ]
        for source, entry in train["sources"].items()
    ]
    head = ["source", "rows", "tokens", "target tokens", "share", "target share", "tokens lost"]
    return [*lines, *table(head, rows, indent=11)]


def mix_lines(mix: Mix, plan: Plan, train: pl.DataFrame) -> list[str]:
    """What was asked and what was got, stage by stage and source by source.

    In: `source`, `stage`, `size` of the training rows.
    """
    found = accounts(mix, plan, train)
    head = ["source", "asked", "got", "available", "rows", "epochs"]
    rows = [
        [
            name,
            f"{source.asked:.4f}",
            f"{source.share:.4f}",
            f"{source.available.rows:,}",
            f"{source.rows:,}",
            f"{source.epochs:.2f}" if source.rows else "–",
        ]
        for name, source in found.items()
    ]
    whole = f"{len(train):,} training rows"
    if mix.unit != "rows":
        whole += f", {sum(source.size for source in found.values()):,} {mix.units}"
        head.append(mix.units)
        rows = [[*row, f"{source.size:,}"] for row, source in zip(rows, found.values(), strict=True)]
    return [f"mix        {mix.strategy} → {whole}", *_stage_lines(mix), *table(head, rows, indent=11)]


def _stage_lines(mix: Mix) -> list[str]:
    """One line a stage of the schedule: where it ends, and its weights as shares of 1."""
    lines: list[str] = []
    parts = stretches(relative_weights(mix.weights)[0], mix.schedule)
    for k, (stretch, (_, weights)) in enumerate(zip(mix.schedule, parts, strict=False), start=1):
        whole = sum(weights.values())
        shares = [f"{name} {weight / whole:.2f}" for name, weight in sorted(weights.items()) if weight]
        lines.append(f"{'':11}stage {k}  to {100 * stretch.until:>3g} %  {' · '.join(shares)}")
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
