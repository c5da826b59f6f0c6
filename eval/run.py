"""From settings to a result on disk, and what is said on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from eval.evaluate import evaluate
from eval.record import (
    METRICS,
    REPORT,
    ROWS,
    SCORES,
    about,
    finding_entries,
    new_result,
    require_result_place,
    value_entries,
    write_csv,
    write_generations,
    write_table,
)
from eval.report import evaluation_report
from eval.rows import buckets, choose_rows
from eval.scores import compared, headlines, measures_of, values
from eval.settings import Evaluation
from eval.subject import BASE, TUNED, Subject, find_subject
from eval.table import value_lines
from eval.verdict import verdict
from pipeline import ending
from pipeline.names import file_part

Say = Callable[[str], None]


def run_evaluation(settings: Evaluation, command: str, root: Path, say: Say) -> Path:
    """Evaluate and write the result; its folder. Raises: PoolmixError, with everything that was generated kept."""
    subject = find_subject(settings, root, say)
    target = _target(settings, subject)
    require_result_place(target)
    rows = choose_rows(subject.bundle, settings.limit)
    within = buckets(rows.frame, settings.buckets)
    counts = dict(rows.frame.group_by("source").len().sort("source").iter_rows())
    ending.advise("replies are kept; the same command goes on from here")
    say(f"rows       {len(rows.values):,}: {', '.join(f'{source} {count:,}' for source, count in counts.items())}")
    found = evaluate(settings, subject, rows, say)
    measures = measures_of(found.scores, settings.metrics)
    own = values(found.scores, rows.frame, within, measures, settings.seed)
    arms = [[found.scores.filter(pl.col("model") == name)] for name in found.models]
    both = compared(arms, rows.frame, within, headlines(measures, arms), settings.seed) if len(arms) == 2 else []
    said = verdict(both, BASE, TUNED, of_run=True) if both else []
    for line in ["", *value_lines(own, both), "", *said]:
        say(line)
    records = value_entries(own)
    metrics = about(command, settings.config) | {
        "bundle": _bundle(subject),
        "model": _model(settings, subject),
        "run": _run(subject),
        "models": list(found.models),
        "rows": counts,
        "unanswered": list(found.unanswered),
        "values": records,
        "differences": finding_entries(both),
        "verdict": said,
        "seconds": {name: round(spent, 1) for name, spent in found.seconds.items()},
    }
    with new_result(target, settings.paths.pools) as folder:
        write_csv(folder, records)
        write_table(folder, SCORES, found.scores)
        write_table(folder, ROWS, rows.frame)
        write_generations(folder, found.generations)
        folder.write_text(REPORT, evaluation_report(metrics, found.generations))
        folder.write_json(METRICS, metrics | {"files": dict(folder.files)})
    ending.advise("")
    return target


def _target(settings: Evaluation, subject: Subject) -> Path:
    """Where the result goes."""
    if settings.out is None and subject.run is not None:
        return subject.run.folder / "eval"
    if settings.out is None:
        name = settings.server.model if settings.server is not None else settings.model.short
        return (
            settings.paths.runs
            / f"eval-{subject.bundle.manifest['name']}-{file_part(name)}-{datetime.now():%Y%m%d-%H%M%S}"
        )
    return settings.out


def _bundle(subject: Subject) -> Mapping[str, Any]:
    manifest = subject.bundle.manifest
    mix = manifest["config"]["mix"]
    return {
        "name": manifest["name"],
        "path": str(subject.bundle.folder.resolve()),
        "digest": manifest["digest"],
        "mix": mix.get("name") or manifest["name"],
        "weights": mix["weights"],
        "other": subject.other_bundle,
    }


def _model(settings: Evaluation, subject: Subject) -> Mapping[str, Any]:
    if settings.server is not None:
        return {"name": settings.server.model, "server": settings.server.address, "api": settings.server.api}
    if subject.run is not None:
        return {name: subject.run.manifest["model"][name] for name in ("name", "short", "id", "commit")}
    return {"name": settings.model.name, "short": settings.model.short, "id": settings.model.id}


def _run(subject: Subject) -> Mapping[str, Any] | None:
    if subject.run is None:
        return None
    manifest = subject.run.manifest
    return {
        "name": manifest["name"],
        "path": str(subject.run.folder.resolve()),
        "bundle": manifest["bundle"],
        "seed": manifest["seed"],
        "target_tokens": manifest["results"]["target_tokens"] if "results" in manifest else None,
    }
