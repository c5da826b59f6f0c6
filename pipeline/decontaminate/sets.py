"""Evaluation sets become pools, as any source does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from pipeline import report
from pipeline.errors import SourceError
from pipeline.ingest import make_pool
from pipeline.pool import Pool
from pipeline.sources.files import find_files
from pipeline.sources.read import read_files
from pipeline.sources.shapes import SHAPES
from pipeline.sources.source import Source

# The columns that a question stands in, the likeliest first.
QUESTION = ("question", "problem", "instruction", "prompt", "input", "text")
_WHOLE = {"messages": {"messages"}, "alpaca": {"instruction", "output"}}


def make_sets(against: Sequence[Source], pools: Path, max_chars: int, say: report.Say, width: int) -> list[Pool]:
    """A pool for each evaluation set. Raises: SourceError where one cannot be read."""
    made: list[Pool] = []
    for source in against:
        with report.progress(f"normalize  {source.name}") as advance:
            try:
                made.append(make_pool(shaped(source), pools, max_chars, advance))
            except SourceError as error:
                raise evaluation_error(source, error) from error
        say(report.pool_line(made[-1], width))
    return made


def set_warnings(sets: Sequence[Pool]) -> list[str]:
    """What the user should know: evaluation rows that no row was held against."""
    refused = {pool.name: pool.manifest["quarantined"] for pool in sets if pool.manifest["quarantined"]}
    return [
        f"{sum(reasons.values()):,} rows of the evaluation set {name} cannot be read and are compared with nothing "
        f"({', '.join(reasons)})"
        for name, reasons in refused.items()
    ]


def evaluation_error(source: Source, error: SourceError) -> SourceError:
    """The error said of the evaluation set, which no setting below `sources` mends."""
    fix = "name a file that is here, decontaminate.against=[FILE], or set decontaminate=none"
    return SourceError(f"evaluation set {source.name}", error.what, fix)


def shaped(source: Source) -> Source:
    """A set named by its path alone gets the shape that its columns show: `messages`, Alpaca's columns, or else the
    first of QUESTION, whose texts alone are then compared, without answers.

    Raises: SourceError if the file has none of them.
    """
    if source.shape or source.path is None:
        return source
    columns: list[str] = []
    for _, block in read_files(source.name, find_files(source.name, source.path)):
        columns = block.frame.columns
        if columns:
            break
    for shape, needed in _WHOLE.items():
        if needed <= set(columns):
            known = SHAPES[shape]
            return dataclasses.replace(source, shape=shape, columns=known.usual_columns, options=known.usual_options)
    question = next((name for name in QUESTION if name in columns), None)
    if question is None:
        what = f"no column of questions in {source.path} (have: {', '.join(columns)}; known: {', '.join(QUESTION)})"
        raise SourceError(f"source {source.name}", what, "")
    return dataclasses.replace(source, shape="columns", columns={"user": question, "assistant": question})
