"""Rows as values and text: the first of a bundle, a pool or its quarantine, safe to print on a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from pipeline.errors import ConfigError, known_names
from pipeline.schema import POOL
from pipeline.visible import ACTIVE, visible

_SLICE = 1 << 15


def json_line(value: Any) -> str:
    """One line of JSON that is safe to print: what `visible` spells out stands as `\\u…`."""
    return ACTIVE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


def refuse_both(config: Mapping[str, Any]) -> None:
    """Raises: ConfigError if a bundle is named beside a pool."""
    if config.get("bundle") not in (None, "latest"):
        raise ConfigError(f"bundle={config['bundle']}", "has no effect beside pool", "take bundle or pool out")


def first_places(table: pa.Table, n: int, sources: Sequence[str], tag: str | None) -> list[int]:
    """Where the first `n` rows of some sources (none: all) and with a tag (None: any) stand.

    Raises: ConfigError if no row has the tag.
    """
    found: list[int] = []
    tags: set[str] = set()
    for start in range(0, table.num_rows, _SLICE):
        part = table.slice(start, _SLICE)
        frame = pl.DataFrame(pl.from_arrow(part.select(["source", "tags"]))).with_row_index("at")
        if sources:
            frame = frame.filter(pl.col("source").is_in(sources))
        if tag is not None:
            tags |= set(frame["tags"].explode().drop_nulls().unique())
            frame = frame.filter(pl.col("tags").list.contains(tag))
        found += [start + at for at in frame["at"].head(n - len(found))]
        if len(found) == n and (n or tag in tags):
            return found
    if tag is not None and tag not in tags:
        where = f"no row of {' or '.join(sources)}" if sources else "no row"
        what = f"{where} has it ({visible(known_names(tag, tags))})"
        raise ConfigError(f"tag={visible(tag)}", what, "name one of these, or leave it out")
    return found


def places_of(table: pa.Table, key: str) -> list[int]:
    """Where the rows with this key stand."""
    return (pl.Series(pl.from_arrow(table["key"])) == key).arg_true().to_list()


def plain_row(table: pa.Table, at: int) -> dict[str, Any]:
    """One row as plain values: no nulls, tools, tool calls and meta as objects."""
    row = {name: value for name, value in table.slice(at, 1).to_pylist()[0].items() if value is not None}
    row["messages"] = [_objects(message, "tool_calls") for message in row["messages"]]
    return _objects(row, "tools", "meta")


def one_row(row: Mapping[str, Any]) -> pa.RecordBatch:
    """The columns of POOL of a row given as plain values."""
    whole = _texts(row, "tools", "meta")
    whole["messages"] = [_texts(message, "tool_calls") for message in row["messages"]]
    return pa.RecordBatch.from_pylist([{name: whole.get(name) for name in POOL.names}], schema=POOL)


def _texts(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    there = [name for name in names if name in values and not isinstance(values[name], str)]
    return dict(values) | {name: json.dumps(values[name], ensure_ascii=False) for name in there}


def _objects(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {
        name: json.loads(value) if name in names and isinstance(value, str) else value
        for name, value in values.items()
        if value is not None
    }


def refused_rows(refused: pl.DataFrame, n: int, sources: Sequence[str], reason: str | None) -> list[dict[str, Any]]:
    """The first `n` quarantined rows of some sources and a reason (none: all).

    Raises: ConfigError if none was refused for the reason.
    """
    if sources:
        refused = refused.filter(pl.col("source").is_in(sources))
    if reason is not None:
        known = refused["reason"].unique().to_list()
        if reason not in known:
            raise ConfigError(
                f"reason={visible(reason)}",
                f"no row was refused for it ({known_names(reason, known)})",
                "name one of these, or leave it out",
            )
        refused = refused.filter(pl.col("reason") == reason)
    return refused.head(n).to_dicts()


def require_source(setting: str, name: str, known: Sequence[str]) -> None:
    """Raises: ConfigError if the source is none of `known`."""
    if name not in known:
        raise ConfigError(setting, f"no source {visible(name)} there ({known_names(name, known)})", "name one of these")
