"""What tells the runs of a comparison apart: what is known of each, side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.record import Result
from pipeline.manifest import open_bundle
from train.run import open_run

# Settings in which arms may differ: places, seeds, and what is only watched or done afterwards.
_PLACES = {"bundle", "seed", "out", "paths", "threads"}
_OF_TRAINING = {*_PLACES, "build", "rows", "resume", "questions", "answer_tokens", "merge"}
_WATCHING = {"logging_steps", "eval_steps", "eval_rows", "save_steps", "save_total_limit", "report_to"}


@dataclass(frozen=True)
class Fact:
    """An entry by its dotted name, and what it says in each run ("–" where it is missing).

    `between` is where it differs: "arms", "runs" (of one arm, and in both arms alike) or "" (nowhere).
    """

    name: str
    values: Sequence[str]
    between: str


def facts(arms: Sequence[Sequence[Mapping[str, Any]]]) -> list[Fact]:
    """All entries of what is known of the runs of each arm."""
    runs = [[dict(flat(run)) for run in arm] for arm in arms]
    every = [run for arm in runs for run in arm]
    names = dict.fromkeys(name for run in every for name in run)
    return [Fact(name, [run.get(name, "–") for run in every], _between(name, runs)) for name in names]


def flat(node: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """The entries of nested mappings by dotted names, each as a text; lists are one text."""
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{above}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            yield f"{above}{name}", text


def _between(name: str, runs: Sequence[Sequence[Mapping[str, str]]]) -> str:
    said = [sorted(run.get(name, "–") for run in arm) for arm in runs]
    if any(one != said[0] for one in said):
        return "arms"
    return "runs" if len({text for arm in said for text in arm}) > 1 else ""


def differing(arms: Sequence[Sequence[Result]]) -> list[str]:
    """What tells the arms' settings apart besides weights and seeds, a line each: `train.learning_rate: 0.001 | 0.002`.

    Settings are those of the arms' first runs, by the names that they have in a command.
    """
    sides = [_settings(arm[0]) for arm in arms]
    both = set.intersection(*(set(side.get("sources", {})) for side in sides))
    for side in sides:
        side["sources"] = {name: source for name, source in side.get("sources", {}).items() if name in both}
    said = [dict(flat(side)) for side in sides]
    names = sorted({name for one in said for name in one})
    texts = ((name, [one.get(name, "–") for one in said]) for name in names)
    return [f"{name}: {' | '.join(values)}" for name, values in texts if len(set(values)) > 1]


def _settings(result: Result) -> dict[str, Any]:
    """Every setting of a run's training and of its bundle, but for places, seeds, weights and what is only watched."""
    run = result.metrics["run"]
    if run is None:
        return {"model": result.metrics["model"]}
    manifest = open_run(run["path"], Path(run["path"])).manifest
    bundle = open_bundle(manifest["bundle"]["path"], Path(manifest["bundle"]["path"]).parent).manifest["config"]
    built = _without(bundle, _PLACES) | {
        "mix": _without(bundle["mix"], {"weights", "name"}),
        "split": _without(bundle["split"], {"validation_from"}),
    }
    config = manifest["config"]
    schedule = _without(config["train"], _WATCHING) | {"max_target_tokens": manifest["steps"]["target_tokens"]}
    return built | _without(config, _OF_TRAINING) | {"train": schedule}


def _without(node: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name not in names}
