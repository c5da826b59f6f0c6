"""A source's YAML as one frozen `Source`, its shape's defaults filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, PoolmixError
from pipeline.names import name_fault
from pipeline.settings import Settings, is_bool, is_text, is_text_list
from pipeline.sources.encodings import ENCODINGS
from pipeline.sources.shapes import SHAPES
from pipeline.sources.source import Source

NAME = re.compile(r"\w[\w-]*")  # it becomes a folder's name and the beginning of ids
SOURCE_KEYS = {
    "shape",
    "tags",
    "path",
    "at",
    "hub",
    "revision",
    "files",
    "literal",
    "format",
    "delimiter",
    "encoding",
    "columns",
    "options",
    "split_think",
    "licence",
    "card",
    "loss",  # read by `pipeline.input_settings`
}


def read_sources(config: Mapping[str, Any], root: Path, errors: list[PoolmixError]) -> dict[str, Source]:
    """The sources of a build, by name in sorted order."""
    corpus = Settings(config.get("corpus"), "corpus", errors).required(
        "name", is_text, "a corpus", "samples", "samples"
    )
    nodes = Settings(config.get("sources"), "sources", errors).node
    return {
        str(name): _source(str(name), Settings(nodes[name], f"sources.{name}", errors), corpus, root)
        for name in sorted(nodes, key=str)
    }


def _source(name: str, node: Settings, corpus: str, root: Path) -> Source:
    node.known(SOURCE_KEYS)
    if not NAME.fullmatch(name):
        node.errors.append(ConfigError(f"source {name!r}", "names have letters, digits, _ and - only", "rename it"))
    elif (fault := name_fault(name)) is not None:
        node.errors.append(ConfigError(f"source {name!r}", f"its name {fault}", "rename it"))
    shape_name = node.required(
        "shape", lambda value: value in SHAPES, f"one of {', '.join(sorted(SHAPES))}", "columns", "columns"
    )
    shape = SHAPES[shape_name]
    columns = Settings(node.node.get("columns"), node.path("columns"), node.errors)
    columns.known(set(shape.columns))
    for role in shape.needs:
        if shape.columns[role] is None:
            columns.required(role, is_text, "the name of a column", "NAME", "")
    options = Settings(node.node.get("options"), node.path("options"), node.errors)
    options.known(set(shape.options))
    place = _place(name, node, corpus, root)
    return Source(
        name=name,
        shape=shape_name,
        tags=tuple(node.value("tags", is_text_list, "a list of texts", "[chat,en]", [])),
        format=node.value(
            "format", lambda value: value in ("json", "csv", "parquet", "arrow"), "json, csv, parquet or arrow", "json"
        ),
        delimiter=node.value(
            "delimiter", lambda value: isinstance(value, str) and len(value) == 1, "one character", "';'"
        ),
        encoding=node.value("encoding", lambda value: value in ENCODINGS, f"one of {', '.join(ENCODINGS)}", "gb18030"),
        columns=shape.usual_columns
        | {role: columns.value(role, is_text, "the name of a column", "NAME", "") for role in columns.node},
        options={
            option: options.value(option, good, allowed, str(default or allowed.split(",")[0]), default)
            for option, (default, good, allowed) in shape.options.items()
        },
        split_think=node.value("split_think", is_bool, "true or false", "true", False),
        **place,
    )


def _place(name: str, node: Settings, corpus: str, root: Path) -> dict[str, Any]:
    """Where the rows are: `path` or `literal` as set, else what `at` says for the corpus."""
    own = {
        key: node.value(key, is_text, what, example)
        for key, what, example in (
            ("path", "a file, a glob or a folder", "FILE"),
            ("hub", "a data set's id", "ORG/NAME"),
            ("revision", "a branch, tag or commit", "main"),
            ("files", "a glob", "'*.jsonl'"),
            ("licence", "text", "Apache-2.0"),
            ("card", "text", "URL"),
        )
    }
    own = {key: value for key, value in own.items() if value is not None}
    if node.node.get("literal") is not None:
        own["literal"] = node.value(
            "literal",
            lambda value: isinstance(value, list) and all(isinstance(row, Mapping) for row in value),
            "a list of rows",
            "[{…}]",
            [],
        )
    if "path" in own or "hub" in own or "literal" in own:
        return own
    at = Settings(node.node.get("at"), node.path("at"), node.errors).node
    if corpus not in at:
        have = f"only in {', '.join(sorted(at))}" if at else "no path, hub, literal or at"
        fix = f"set sources.{name}.path=FILE" + "".join(f", or corpus={other}" for other in sorted(at))
        node.errors.append(ConfigError(f"source {name}", f"no data for corpus={corpus} ({have})", fix))
        return own
    there = Settings(at[corpus], node.path(f"at.{corpus}"), node.errors)
    there.known({"path", "hub", "revision", "files", "licence", "card"})
    place = {key: str(value) for key, value in there.node.items()} | own
    return place | ({"path": str(root / place["path"])} if "path" in place else {})
