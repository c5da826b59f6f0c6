"""Print rows of a bundle, a pool or the quarantine, or what became of one raw row.

Examples:
  python -m pipeline show
  python -m pipeline show bundle=math_heavy-1a2b3c4d rows=validation sources=cmath n=10
  python -m pipeline show id=cmath:17
  python -m pipeline show quarantine=true reason=empty_answer
  python -m pipeline show pool=alpaca tag=zh
  python -m pipeline show tag=tool format=json | jq .messages

Often used:
  n=N               the first N rows of training; rows=validation those of validation
  sources=NAME      only those of a source; tag=NAME only those with a tag
  id=SOURCE:ROW     one raw row, wherever it went: train, validation, quarantine, a copy of another,
                    not drawn; with its raw record while the raw files are there
  quarantine=true   the refused rows with reason, file and line; reason=NAME those of one reason
  pool=NAME         rows of the newest pool of a source instead of a bundle
  format=json       one object a line

Control characters of the data are spelt out (\\x1b). Colours only on a terminal, not with NO_COLOR.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cli.front import Job
from pipeline.errors import ConfigError, ConfigErrors, PoolmixError

_BOLD, _DIM, _COLOURS = "1", "2", {"system": "35", "user": "36", "assistant": "32", "tool": "33"}


@dataclass(frozen=True)
class _Asked:
    """The settings of this verb."""

    n: int
    pool: str | None
    rows: str | None
    sources: list[str]
    tag: str | None
    id: str | None
    quarantine: bool
    reason: str | None
    json: bool
    pools: Path


def run(config: dict[str, Any], _job: Job) -> None:
    """Print what was asked for."""
    from pipeline.folder import DATA
    from pipeline.manifest import open_bundle
    from pipeline.pool import open_pool, read_quarantine
    from pipeline.settings import bundle_setting
    from pipeline.show import first_rows, refuse_both, refused_rows, require_source
    from pipeline.store import open_table

    asked = _read(config)
    if asked.pool is not None:
        refuse_both(config)
    place = open_bundle(*bundle_setting(config, "bundle")) if asked.pool is None else open_pool(asked.pool, asked.pools)
    if asked.id is not None:
        _print_found(place, asked.id, asked)
        return
    known = list(place.manifest["sources"]) if asked.pool is None else [place.manifest["name"]]
    for name in asked.sources:
        require_source(f"sources={name}", name, known)
    if asked.quarantine:
        refused = read_quarantine(place.folder)
        rows = refused_rows(refused, asked.n, asked.sources, asked.reason)
        _print_all(place.folder, "refused", len(refused), rows, asked)
        return
    split = "pool" if asked.pool is not None else asked.rows or "train"
    table = open_table(place.folder / DATA if split == "pool" else place.folder / split / DATA)
    _print_all(place.folder, split, table.num_rows, first_rows(table, asked.n, asked.sources, asked.tag), asked)


def _read(config: Mapping[str, Any]) -> _Asked:
    from pipeline.settings import Settings, is_text, is_text_list, is_whole, read_paths

    errors: list[PoolmixError] = []
    tag = config.get("tag")
    top = Settings({**config, "tag": str(tag) if isinstance(tag, int) else tag}, "", errors)  # a tag may be 2024

    def is_bool(value: Any) -> bool:
        return isinstance(value, bool)

    names = top.value("sources", lambda value: is_text(value) or is_text_list(value), "a source or a list", "NAME", [])
    quarantine = top.required("quarantine", is_bool, "true or false", "true", False)
    asked = _Asked(
        n=top.required("n", is_whole(0), "a whole number from 0", "3", 0),
        pool=top.value("pool", is_text, "the name of a source", "NAME"),
        rows=top.value("rows", lambda value: value in ("train", "validation"), "train or validation", "train"),
        sources=[names] if isinstance(names, str) else names,
        tag=top.value("tag", is_text, "a tag", "NAME"),
        id=top.value("id", is_text, "SOURCE:ROW", "cmath:17"),
        quarantine=bool(quarantine) or config.get("reason") is not None,
        reason=top.value("reason", is_text, "a reason", "NAME"),
        json=top.required("format", lambda value: value in ("text", "json"), "text or json", "json", "text") == "json",
        pools=read_paths(config, errors).pools,
    )
    idle = {
        "rows": asked.rows is not None and (asked.pool is not None or asked.quarantine or asked.id is not None),
        "tag": asked.tag is not None and (asked.quarantine or asked.id is not None),
        "sources": bool(asked.sources) and asked.id is not None,
        "quarantine": asked.quarantine and asked.id is not None,
    }
    beside = "id" if asked.id is not None else "quarantine" if asked.quarantine else "pool"
    errors += [
        ConfigError(name, f"has no effect beside {beside}", f"take {name} or {beside} out")
        for name, wrong in idle.items()
        if wrong
    ]
    if errors:
        raise ConfigErrors(errors)
    return asked


def _print_all(folder: Path, what: str, of: int, rows: Sequence[Mapping[str, Any]], asked: _Asked) -> None:
    from pipeline.show import json_line

    if asked.json:
        for row in rows:
            print(json_line(row))
        return
    print(_paint(f"{folder} · {what} · {len(rows):,} of {of:,} rows", _DIM))
    for row in rows:
        print()
        print("\n".join(_refused_text(row) if asked.quarantine else _row_text(row)))


def _print_found(place: Any, id: str, asked: _Asked) -> None:
    from pipeline.cli import root
    from pipeline.pool import Pool
    from pipeline.provenance import find_in_bundle, find_in_pool
    from pipeline.show import json_line, visible

    found = find_in_pool(place, id) if isinstance(place, Pool) else find_in_bundle(place, asked.pools, id, root())
    if asked.json:
        print(json_line({name: value for name, value in vars(found).items() if value is not None}))
        return
    print(_paint(f"{place.folder}", _DIM))
    print(visible(found.note))
    if found.row is not None:
        print("\n".join(_row_text(found.row, found.epochs)))
    if found.refused is not None:
        print("\n".join(_refused_text(found.refused)))
    print(_paint(f"raw: {visible(found.raw_note)}" if found.raw is not None else visible(found.raw_note), _DIM))
    for name, value in (found.raw or {}).items():
        print("\n".join(_indented(f"{name}: {value}", 2)))


def _row_text(row: Mapping[str, Any], epochs: Sequence[int] = ()) -> Iterator[str]:
    from pipeline.show import visible

    facts = [f"source {row['source']}", f"tags {', '.join(row['tags']) or 'none'}"]
    facts += [f"epoch {', '.join(map(str, epochs or [row['epoch']]))}"] if "epoch" in row else []
    facts += [f"answer {row['answer']}"] if "answer" in row else []
    yield f"{_paint(visible(row['id']), _BOLD)}  {visible(' · '.join(facts))}"
    for name in ("tools", "meta"):
        if name in row:
            yield from _indented(f"{name}: {json.dumps(row[name], ensure_ascii=False)}", 2)
    for message in row["messages"]:
        more = [f"{name} {message[name]}" for name in ("name", "tool_call_id", "weight") if name in message]
        yield "  " + _paint(visible(" · ".join([message["role"], *more])), _COLOURS.get(message["role"], _BOLD))
        if "reasoning_content" in message:
            yield from _indented(f"(reasoning) {message['reasoning_content']}", 4)
        if message.get("content"):
            yield from _indented(message["content"], 4)
        if "tool_calls" in message:
            yield from _indented(f"(calls) {json.dumps(message['tool_calls'], ensure_ascii=False)}", 4)


def _refused_text(row: Mapping[str, Any]) -> Iterator[str]:
    from pipeline.show import visible

    line = f", line {row['line']:,}" if row["line"] is not None else ""
    where = f"{row['file']}{line}" if row["file"] is not None else ""
    heading = _paint(visible(f"{row['source']}:{row['row']}"), _BOLD)
    yield f"{heading}  {visible(' · '.join(part for part in (row['reason'], where) if part))}"
    if row["detail"]:
        yield f"  {visible(row['detail'])}"
    yield f"  {visible(row['text'] or '')}"


def _indented(text: str, spaces: int) -> Iterator[str]:
    from pipeline.show import visible

    for line in visible(text, keep="\n\t").split("\n"):
        yield (" " * spaces + line).rstrip()


def _paint(text: str, code: str) -> str:
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\x1b[{code}m{text}\x1b[0m" if coloured else text
