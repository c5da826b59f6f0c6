"""Counting what is in a bundle or pool: lengths, turns, tags, repeats, and prompts with several answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import numbers
from pipeline.dedup.exact import prompts_with_several_answers
from pipeline.folder import DATA
from pipeline.manifest import Bundle
from pipeline.pool import Pool
from pipeline.store import open_table

# Rows whose messages are measured at once; only their lengths are kept.
_SLICE = 1 << 15
_BEGINNING = 100  # characters
_MEASURES = {"median": 0.5, "p95": 0.95, "max": 1.0}


def bundle_statistics(bundle: Bundle, examples: int) -> dict[str, Any]:
    """Everything that is counted in a bundle, as data for JSON.

    `sources` has what the manifest says of each; `splits` a line per source and split; `tags` the rows with each
    tag; `uses` how many rows of a source are used 0, 1, 2 … times in training; `several_answers` the prompts with
    more than one answer, `examples` of them with their rows.
    """
    manifest = bundle.manifest
    tables = {name: open_table(bundle.folder / name / DATA) for name in ("train", "validation")}
    rows = pl.concat(measured(table, name) for name, table in tables.items())
    keys = (
        "raw_rows",
        "quarantined",
        "duplicates",
        "unique",
        "validation",
        "available",
        "requested_weight",
        "achieved_weight",
        "train_rows",
        "epochs",
    )
    return {
        "bundle": str(bundle.folder),
        "name": manifest["name"],
        "created": manifest["created"],
        "rows": manifest["rows"],
        "sources": {name: {key: entry[key] for key in keys} for name, entry in manifest["sources"].items()},
        "splits": split_counts(rows),
        "tags": tag_counts(rows),
        "uses": use_counts(rows, {name: entry["available"] for name, entry in manifest["sources"].items()}),
        "several_answers": several_answers(rows, tables, examples),
    }


def pool_statistics(pool: Pool, examples: int) -> dict[str, Any]:
    """The same for a pool, as far as it applies."""
    table = pool.rows()
    rows = measured(table, "pool")
    unique = rows["key"].n_unique()
    return {
        "pool": str(pool.folder),
        "name": pool.name,
        "rows": {"pool": len(rows)},
        "sources": {
            pool.name: {
                "raw_rows": pool.manifest["raw_rows"],
                "quarantined": pool.manifest["quarantined"],
                "duplicates": {"within": len(rows) - unique},
                "unique": unique,
            }
        },
        "splits": split_counts(rows),
        "tags": tag_counts(rows),
        "several_answers": several_answers(rows, {"pool": table}, examples),
    }


def measured(table: pa.Table, split: str) -> pl.DataFrame:
    """The small columns of all rows (`at`, `split`, `id`, `source`, `tags`, `key`, `prompt_key`) and their measures.

    `prompt` and `answer` are characters (Unicode code points) before the last message and in it, `turns` is the
    number of messages; `tools`, `reasoning` and `gold` say whether a row has tool schemas, a reasoning, an answer.
    """
    small = pl.DataFrame(pl.from_arrow(table.select(["id", "source", "tags", "key", "prompt_key"]))).with_columns(
        tools=_has(table["tools"]), gold=_has(table["answer"])
    )
    parts = [_message_measures(table["messages"].slice(start, _SLICE)) for start in range(0, table.num_rows, _SLICE)]
    empty = pl.DataFrame(schema={"prompt": pl.Int64, "answer": pl.Int64, "turns": pl.Int64, "reasoning": pl.Boolean})
    return small.hstack(pl.concat([empty, *parts])).with_row_index("at").with_columns(pl.lit(split).alias("split"))


def _has(column: pa.ChunkedArray) -> pl.Series:
    return pl.Series(column.is_valid().to_numpy(), dtype=pl.Boolean)


def _message_measures(messages: pa.ChunkedArray) -> pl.DataFrame:
    lists = messages.combine_chunks()
    turns = numbers(lists.value_lengths()).astype(np.int64)
    ends = np.cumsum(turns)
    structs = lists.flatten()
    fields = dict(zip((field.name for field in structs.type), structs.flatten(), strict=True))
    content, thought, calls = (_characters(fields[name]) for name in ("content", "reasoning_content", "tool_calls"))
    chars = content + thought + calls
    reasoning = _sums(fields["reasoning_content"].is_valid().to_numpy(zero_copy_only=False), ends) > 0
    answer = chars[ends - 1]
    return pl.DataFrame(
        {"prompt": _sums(chars, ends) - answer, "answer": answer, "turns": turns, "reasoning": reasoning}
    )


def _characters(texts: pa.Array) -> np.ndarray:
    plain = texts.storage if isinstance(texts, pa.ExtensionArray) else texts
    if plain.null_count == len(plain):
        return np.zeros(len(plain), np.int64)
    return pl.Series(pl.from_arrow(plain)).str.len_chars().fill_null(0).cast(pl.Int64).to_numpy()


def _sums(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The sum over each row's stretch of `values`; the stretches lie end to end."""
    return np.diff(np.append(0, np.cumsum(values, dtype=np.int64))[ends], prepend=0)


def split_counts(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Per source and split: rows, characters and turns (median and 95th percentile are those of an actual row)."""
    measures = [
        pl.col(name).quantile(share, "nearest").cast(pl.Int64).alias(f"{name} {label}")
        for name in ("prompt", "answer", "turns")
        for label, share in _MEASURES.items()
    ]
    found = (
        rows.group_by("source", "split")
        .agg(pl.len().alias("rows"), *measures, pl.col("tools", "reasoning", "gold").sum())
        .sort("source", "split")
    )
    return [
        {
            "source": line["source"],
            "split": line["split"],
            "rows": line["rows"],
            "characters": {
                name: {label: line[f"{name} {label}"] for label in _MEASURES} for name in ("prompt", "answer")
            },
            "turns": {label: line[f"turns {label}"] for label in _MEASURES},
            "with": {"tools": line["tools"], "reasoning": line["reasoning"], "answer": line["gold"]},
        }
        for line in found.iter_rows(named=True)
    ]


def tag_counts(rows: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Tag → split → rows, the most frequent tag first."""
    splits = rows["split"].unique().sort().to_list()
    found = (
        rows.group_by("split", "tags")
        .len()
        .explode("tags")
        .filter(pl.col("tags").is_not_null())
        .group_by("tags", "split")
        .agg(pl.col("len").sum())
    )
    totals = found.group_by("tags").agg(pl.col("len").sum()).sort("len", "tags", descending=[True, False])
    counts = {tag: dict.fromkeys(splits, 0) for tag in totals["tags"]}
    for tag, split, count in found.iter_rows():
        counts[tag][split] = count
    return counts


def use_counts(rows: pl.DataFrame, available: Mapping[str, int]) -> dict[str, dict[int, int]]:
    """Source → number of uses in training → rows used so often; the available rows that were not drawn are at 0."""
    train = rows.filter(pl.col("split") == "train").group_by("source", "key").len("uses")
    found = train.group_by("source", "uses").len("rows").sort("source", "uses")
    counts: dict[str, dict[int, int]] = {}
    for source, count in available.items():
        uses: dict[int, int] = dict(found.filter(pl.col("source") == source).select("uses", "rows").iter_rows())
        unused = count - sum(uses.values())
        counts[source] = ({0: unused} if unused > 0 else {}) | uses
    return counts


def several_answers(rows: pl.DataFrame, tables: Mapping[str, pa.Table], examples: int) -> dict[str, Any]:
    """The prompts whose rows differ: how many in all, how many each source has a part in, and the first of them."""
    distinct = rows.unique("key", keep="first", maintain_order=True)
    found = prompts_with_several_answers(distinct).select("prompt_key")
    row = pl.col("id").str.extract(r":(\d+)$").cast(pl.Int64)
    parts = distinct.join(found, on="prompt_key").with_columns(row.alias("row"))
    sources = parts.group_by("source").agg(pl.col("prompt_key").n_unique()).sort("source")
    parts = parts.sort("source", "row")
    listed: list[dict[str, Any]] = []
    for prompt in parts["prompt_key"].unique(maintain_order=True).head(examples):
        same = parts.filter(pl.col("prompt_key") == prompt).select("id", "split", "at")
        texts = [_beginnings(tables[split], at) for split, at in same.select("split", "at").iter_rows()]
        listed.append(
            {
                "prompt": texts[0][0],
                "rows": [
                    {"id": row["id"], "split": row["split"], "answer": answer}
                    for row, (_, answer) in zip(same.iter_rows(named=True), texts, strict=True)
                ],
            }
        )
    return {"prompts": len(found), "sources": dict(sources.iter_rows()), "examples": listed}


def _beginnings(table: pa.Table, at: int) -> tuple[str, str]:
    """How the last message before the answer and the answer itself begin."""
    messages = table["messages"][at].as_py()
    before, last = messages[-2:] if len(messages) > 1 else [{"content": ""}, messages[-1]]
    return before["content"][:_BEGINNING], (last["content"] or str(last["tool_calls"] or ""))[:_BEGINNING]
