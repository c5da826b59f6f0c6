"""The result of an evaluation on disk, and reading it back.

EVAL/
  metrics.json          settings, what was measured, values and differences, digests of the other files
  metrics.csv           a line a model, measure and bucket
  scores.parquet        a line a model, row and measure: what comparisons are made of
  rows.parquet          the rows: id, source, tags, and which share a prompt
  generations.jsonl     a line a model and reply: prompt, reply, gold reply, each verdict
  report.html           the same for the eye; needs no network
"""

from __future__ import annotations

import csv
import io
import json
import math
import platform
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from eval.scores import Value
from eval.verdict import Finding
from pipeline import __version__
from pipeline.errors import StoreError
from pipeline.folder import Folder
from pipeline.room import require_place, writing
from pipeline.secrets import scrubbed
from pipeline.store import damaged_file, lock, new_folder, read_manifest, require_own
from pipeline.visible import visible

FORMAT = "poolmix evaluation 1"
METRICS, CSV, SCORES, ROWS = "metrics.json", "metrics.csv", "scores.parquet", "rows.parquet"
GENERATIONS, REPORT = "generations.jsonl", "report.html"


@dataclass(frozen=True)
class Result:
    """An evaluation that was written."""

    folder: Path
    metrics: Mapping[str, Any]

    def scores(self, model: str) -> pl.DataFrame:
        """Those of one of its models, as `eval.scores.SCORES` has them."""
        return pl.read_parquet(self.folder / SCORES).filter(pl.col("model") == model)

    def rows(self) -> pl.DataFrame:
        """`id`, `source`, `tags` and `group` of the rows that were measured."""
        return pl.read_parquet(self.folder / ROWS)


def open_result(folder: Path) -> Result:
    """A result by its folder, or by the folder that holds it as eval/.

    Raises: StoreError if there is none, or a file of it is not as it was written.
    """
    for place in (folder, folder / "eval"):
        metrics = read_manifest(place, FORMAT, METRICS)
        if metrics is not None:
            damage = damaged_file(place, metrics.get("files"))
            if damage is not None:
                raise StoreError(f"evaluation {place}", damage, "evaluate again")
            return Result(place, metrics)
    raise StoreError(f"evaluation {folder}", "there is none", "run `python -m eval run run=DIR`, or name its folder")


def require_result_place(target: Path) -> None:
    """Raises: StoreError unless a result can be written there, in place of nothing but an earlier one."""
    require_place("out", target)
    require_own(target, FORMAT, "an evaluation", METRICS)


@contextmanager
def new_result(target: Path, pools: Path) -> Generator[Folder]:
    """The folder of a result. Raises: StoreError where it cannot be written, or something else stands."""
    with writing(target), lock(pools, target):
        require_result_place(target)
        with new_folder(target) as folder, writing(target):
            yield folder


def about(command: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What every result says of itself first."""
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "config": scrubbed(config),
        "versions": {"poolmix": __version__, "python": platform.python_version()},
    }


def value_entries(values: Iterable[Value]) -> list[dict[str, Any]]:
    """A record a model, measure and bucket; null where there is nothing to say, which n = 0 explains."""
    return [
        {
            "model": one.model,
            "measure": one.measure.name,
            "bucket": one.bucket,
            "value": _number(one.estimate.value),
            "low": _number(one.estimate.low),
            "high": _number(one.estimate.high),
            "n": one.estimate.rows,
            "groups": one.estimate.groups,
        }
        for one in values
    ]


def finding_entries(found: Iterable[Finding]) -> list[dict[str, Any]]:
    """A record a measure and bucket that were compared."""
    return [
        {
            "measure": one.measure.name,
            "bucket": one.bucket,
            **{name: _number(getattr(one.difference, name)) for name in ("value", "low", "high", "p")},
            "p_holm": _number(one.adjusted),
            "seen": one.seen,
            "n": one.difference.rows,
            "groups": one.difference.groups,
            "runs": list(one.difference.runs),
        }
        for one in found
    ]


def write_csv(folder: Folder, records: Sequence[Mapping[str, Any]]) -> None:
    """`metrics.csv`, with the records' keys as its header. A text that a spreadsheet would compute, such as `=1+1`,
    has a ' before it; `metrics.json` has it as it is."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(records[0]) if records else ["model"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in record.items()} for record in records)
    folder.write_text(CSV, stream.getvalue())


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    shown = visible(value)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown


def write_table(folder: Folder, name: str, frame: pl.DataFrame) -> None:
    """A Polars frame as Parquet."""
    with folder.open(name) as stream:
        data = io.BytesIO()
        frame.write_parquet(data)
        stream.write(data.getvalue())


def write_generations(folder: Folder, lines: Iterable[Mapping[str, Any]]) -> None:
    """`generations.jsonl`, in real UTF-8 but for what UTF-8 cannot say."""
    with folder.open(GENERATIONS) as stream:
        for line in lines:
            try:
                stream.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            except UnicodeEncodeError:
                stream.write(json.dumps(line).encode() + b"\n")


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
