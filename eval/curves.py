"""The learning curves of the arms' runs, as their trainings wrote them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from eval.record import Result
from train.run import read_metrics


def learning_curves(arms: Sequence[Sequence[Result]], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The validations of each run's `metrics.jsonl` (`step`, `target_tokens`, `eval_loss`, `eval_loss_SOURCE`)."""
    for name, arm in zip(names, arms, strict=True):
        for number, result in enumerate(arm):
            run = result.metrics["run"]
            for record in read_metrics(Path(run["path"]) / "metrics.jsonl") if run is not None else ():
                if "eval_loss" in record:
                    yield {"arm": name, "run": number, **record}
