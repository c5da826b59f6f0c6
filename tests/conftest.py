"""What several tests need: the folders of data, and raw files read or made into a pool's rows."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from pipeline.normalize import normalize
from pipeline.sources.block import Refused
from pipeline.sources.drafts import Drafts
from pipeline.sources.files import find_files
from pipeline.sources.read import read_files
from pipeline.sources.shapes import SHAPES, make_drafts
from pipeline.sources.source import Source

ROOT = Path(__file__).resolve().parents[1]

# The commands that tests start keep what Python compiles, as those of users do.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How long an example takes says something of the machine, nothing of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# One raw file as it was read: (record, line, {column: JSON text of the value}) a row, absent values left out.
Row = tuple[int, int, dict[str, str]]


@dataclass
class Raw:
    rows: list[Row] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    @property
    def reasons(self) -> dict[int, str]:
        """Record number → reason, of the refused records."""
        return {bad.record: bad.reason for bad in self.refused}

    def values(self, column: str) -> list[Any]:
        """One column, decoded."""
        return [json.loads(row[column]) if column in row else None for _, _, row in self.rows]


Read = Callable[..., Raw]
Adapt = Callable[..., list[Any]]


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real raw data beside the repository; absent in a plain checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data beside the repository")
    return folder


@pytest.fixture(scope="session")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """read("x.csv", b"…") → the file's rows and refused records; `more` is what `read_files` may be told."""
    folder = tmp_path_factory.mktemp("raw")

    def call(name: str, data: bytes, delimiter: str | None = None, **more: Any) -> Raw:
        (folder / name).write_bytes(data)
        found = Raw()
        for _, block in read_files("test", find_files("test", str(folder / name)), delimiter, **more):
            found.refused += block.refused
            for record, line, row in zip(block.record, block.line, block.frame.iter_rows(named=True), strict=True):
                texts = {
                    column: value if column in block.json_columns else json.dumps(value, ensure_ascii=False)
                    for column, value in row.items()
                    if value is not None
                }
                found.rows.append((int(record), int(line), texts))
        return found

    return call


def make_source(shape: str, columns: Mapping[str, str], options: Mapping[str, Any], **more: Any) -> Source:
    """Settings with the shape's own defaults filled in."""
    known = SHAPES[shape]
    columns, options = {**known.usual_columns, **columns}, {**known.usual_options, **options}
    return Source("test", shape, (), columns=columns, options=options, **more)


def outcomes(drafts: Drafts) -> list[Any]:
    """For each row its reason, if it was refused, or what it has: `turns` and whatever else is not null."""
    found: dict[int, Any] = {i: reason for i, reason, _ in drafts.refused.reverse().iter_rows()}
    for row in drafts.rows.iter_rows(named=True):
        turns = drafts.turns.filter(drafts.turns["i"] == row["i"]).drop("i").to_dicts()
        found[row["i"]] = {
            "turns": [{name: value for name, value in turn.items() if value is not None} for turn in turns],
            **{name: value for name, value in row.items() if name != "i" and value is not None},
        }
    return [found[i] for i in sorted(found)]


@pytest.fixture(scope="session")
def adapt(tmp_path_factory: pytest.TempPathFactory) -> Adapt:
    """adapt("alpaca", [{…}, …], columns={…}, options={…}) → the outcome of each row, normalized."""
    folder = tmp_path_factory.mktemp("adapt")

    def call(
        shape: str,
        rows: list[Any] | bytes,
        columns: Mapping[str, str] = {},
        options: Mapping[str, Any] = {},
        name: str = "rows.jsonl",
        max_chars: int = 100_000,
        counts: dict[str, int] | None = None,
        split_think: bool = False,
    ) -> list[Any]:
        data = rows if isinstance(rows, bytes) else "\n".join(json.dumps(row) for row in rows).encode()
        (folder / name).write_bytes(data)
        source = make_source(shape, columns, options, split_think=split_think)
        found: list[Any] = []
        for _, block in read_files("test", find_files("test", str(folder / name))):
            drafts = normalize(make_drafts(block, source), max_chars) if len(block.record) else None
            done = iter(outcomes(drafts) if drafts else [])
            bad = {refused.record: refused.reason for refused in block.refused}
            numbers = sorted([*bad, *(int(record) for record in block.record)])
            found += [bad[number] if number in bad else next(done) for number in numbers]
            for what, times in (drafts.counts if drafts and counts is not None else {}).items():
                counts[what] = counts.get(what, 0) + times
        return found

    return call


@pytest.fixture(scope="session")
def source() -> Callable[..., Source]:
    """source("alpaca", {columns}, {options}, path=…) → settings with the shape's defaults."""
    return make_source
