"""Two arms, each one run or several, on the same rows: what tells them apart, and how sure that is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from eval.arms import differing
from eval.curves import learning_curves
from eval.measures import MEASURES
from eval.record import (
    METRICS,
    REPORT,
    Result,
    about,
    finding_entries,
    new_result,
    open_result,
    require_result_place,
    value_entries,
    write_csv,
)
from eval.report import comparison_report
from eval.rows import buckets
from eval.scores import compared, headlines, measures_of, values
from eval.subject import BASE
from eval.table import finding_lines
from eval.verdict import verdict
from pipeline.errors import ConfigError, StoreError
from train.run import open_run

Say = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """`arms` are the results of A's runs and of B's, `names` what the arms are called."""

    arms: tuple[Sequence[Result], Sequence[Result]]
    names: tuple[str, str]
    chosen: Sequence[str] | None
    seed: int


def find_results(named: Sequence[str], runs: Path) -> list[Result]:
    """The evaluations of an arm, each by a run's folder or name, or by its own folder. Raises: StoreError."""
    found: list[Result] = []
    for name in named:
        folder = Path(name).expanduser()
        if not (folder / METRICS).is_file():
            folder = open_run(name, runs).folder
        found.append(open_result(folder))
    return found


def usual_names(arms: tuple[Sequence[Result], Sequence[Result]]) -> tuple[str, str]:
    """Arms of several runs are called by their mixes, where each has one of its own; else A and B."""
    mixes = [{(result.metrics["run"] or {"bundle": {"mix": None}})["bundle"]["mix"] for result in arm} for arm in arms]
    if min(map(len, arms)) > 1 and mixes[0] != mixes[1] and len(mixes[0]) == len(mixes[1]) == 1:
        a, b = (str(next(iter(own))) for own in mixes)
        return a, b
    return "A", "B"


def compare(asked: Comparison, target: Path, pools: Path, command: str, config: Mapping[str, Any], say: Say) -> Path:
    """Compare, say it, and write it to `target`. Raises: StoreError, ConfigError if there is no common ground."""
    require_result_place(target)
    results = [result for arm in asked.arms for result in arm]
    _require_one_ground(results)
    frame = _common_rows(results, say)
    within = buckets(frame, asked.chosen)
    scores = [[result.scores(_model(result)) for result in arm] for arm in asked.arms]
    measures = measures_of(pl.concat([own for arm in scores for own in arm]))
    found = compared(scores, frame, within, headlines(measures, scores), asked.seed)
    said = verdict(found, *asked.names)
    unlike = differing(asked.arms)
    for line in ["", *finding_lines(found), "", *said]:
        say(line)
    for line in unlike:
        say(f"note       the arms differ in {line}")
    records = [
        {"arm": name, "run": number, **record}
        for name, arm in zip(asked.names, scores, strict=True)
        for number, own in enumerate(arm)
        for record in value_entries(values(own, frame, within, measures, asked.seed))
    ]
    metrics = about(command, config) | {
        "a": asked.names[0],
        "b": asked.names[1],
        "arms": {
            name: [dict(result.metrics["run"] or {}) | {"evaluation": str(result.folder)} for result in arm]
            for name, arm in zip(asked.names, asked.arms, strict=True)
        },
        "rows": dict(frame.group_by("source").len().sort("source").iter_rows()),
        "values": records,
        "differences": finding_entries(found),
        "verdict": said,
        "unlike": unlike,
        "curves": list(learning_curves(asked.arms, asked.names)),
    }
    with new_result(target, pools) as folder:
        write_csv(folder, records)
        folder.write_text(REPORT, comparison_report(metrics, _examples(asked)))
        folder.write_json(METRICS, metrics | {"files": dict(folder.files)})
    return target


def _require_one_ground(results: Sequence[Result]) -> None:
    """Raises: StoreError unless all were measured on the same validation rows, and replies were as long."""
    first = results[0]
    for other in results[1:]:
        if other.metrics["bundle"]["digest"]["validation"] != first.metrics["bundle"]["digest"]["validation"]:
            what = f"it was measured on other validation rows than {first.folder}"
            fix = "evaluate both on one bundle: bundle=PATH, and allow_other_bundle=true where need be"
            raise StoreError(f"evaluation {other.folder}", what, fix)
        a, b = (result.metrics["config"]["eval"]["max_new_tokens"] for result in (first, other))
        if a != b and _has_replies(first) and _has_replies(other):
            what = f"its replies had at most {b} tokens, those of {first.folder} {a}"
            raise StoreError(f"evaluation {other.folder}", what, "evaluate both with one eval.max_new_tokens")


def _has_replies(result: Result) -> bool:
    return any(name in MEASURES for name in result.metrics["config"]["eval"]["metrics"])


def _common_rows(results: Sequence[Result], say: Say) -> pl.DataFrame:
    """The rows that all have measured. Raises: ConfigError if there are none."""
    frame = results[0].rows()
    for other in results[1:]:
        frame = frame.join(other.rows().select("id"), on="id", how="semi", maintain_order="left")
    if not len(frame):
        raise ConfigError("compare", "the evaluations have no row in common", "evaluate both with one limit=")
    if any(len(result.rows()) != len(frame) for result in results):
        say(f"note       compared on the {len(frame):,} rows that all have measured")
    return frame


def _model(result: Result) -> str:
    """The model of a result that is compared: the tuned one where there is one."""
    return next((name for name in reversed(result.metrics["models"]) if name != BASE), BASE)


def _examples(asked: Comparison) -> list[dict[str, Any]]:
    """The replies of each arm's first run, as `generations.jsonl` has them, with the arm's name as the model."""
    found: list[dict[str, Any]] = []
    for name, arm in zip(asked.names, asked.arms, strict=True):
        path, model = arm[0].folder / "generations.jsonl", _model(arm[0])
        with path.open(encoding="utf-8") as stream:
            found += [line | {"model": name} for line in map(json.loads, stream) if line["model"] == model]
    return found
