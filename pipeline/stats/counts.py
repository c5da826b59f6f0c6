"""Counting what is in a bundle or pool: lengths, turns, tags, repeats, and prompts with several answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
import pyarrow as pa

from pipeline.damage import whole_table
from pipeline.dedup.exact import prompts_with_several_answers
from pipeline.folder import DATA
from pipeline.manifest import Bundle
from pipeline.pool import Pool
from pipeline.stats.measures import measured

_BEGINNING = 100  # characters
_MEASURES = {"median": 0.5, "p95": 0.95, "max": 1.0}


def bundle_statistics(bundle: Bundle, examples: int) -> dict[str, Any]:
    """Everything that is counted in a bundle, as data for JSON.

    `sources` has what the manifest says of each, `mix` the unit of its quotas, `tokens` what became of rows on the way
    to sequences, where the bundle has some; `splits` a line per source and split; `tags` the rows with each
    tag; `uses` how many rows of a source are used 0, 1, 2 … times in training; `several_answers` the prompts with
    more than one answer, `examples` of them with their rows.
    """
    manifest = bundle.manifest
    tables = {name: whole_table(bundle, f"{name}/{DATA}") for name in ("train", "validation")}
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
        "quota",
        "size",
        "stages",
        "stage_rows",
        "epochs",
    )
    return {
        "bundle": str(bundle.folder),
        "name": manifest["name"],
        "created": manifest["created"],
        "rows": manifest["rows"],
        "sources": {
            name: {key: entry[key] for key in keys if key in entry} for name, entry in manifest["sources"].items()
        },
        "mix": {key: manifest["config"]["mix"][key] for key in ("strategy", "unit")},
        **({"tokens": token_counts(manifest["tokens"])} if "tokens" in manifest else {}),
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


def token_counts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest says of a bundle's sequences, with each source's share of tokens and of target tokens."""
    splits: dict[str, Any] = {}
    for name, split in manifest["splits"].items():
        sources = {
            source: entry
            | {
                "share": entry["tokens"] / max(1, split["tokens"]),
                "target_share": entry["target_tokens"] / max(1, split["target_tokens"]),
            }
            for source, entry in split["sources"].items()
        }
        splits[name] = {**split, "sources": sources}
    return {**{key: manifest[key] for key in ("key", "tokenizer", "template", "max_length", "on_long", "pack")}} | {
        "splits": splits
    }


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
