"""What of a mix was asked for and what was got, source by source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline.mix.plan import Available, Mix, Plan, requested


@dataclass(frozen=True)
class Account:
    """One source's part in the mix. Quotas and sizes are in the mix's unit, `stages` has one quota a stage."""

    asked: float
    quota: int
    available: Available
    rows: int
    size: int
    share: float
    stages: tuple[int, ...]
    stage_rows: tuple[int, ...]

    @property
    def epochs(self) -> float:
        """How often the source was gone through."""
        return self.size / self.available.size if self.available.size else 0.0

    def entries(self, mix: Mix) -> dict[str, Any]:
        """What the manifest says of it."""
        said: dict[str, Any] = {
            "requested_weight": round(self.asked, 9),
            "quota": self.quota,
            "achieved_weight": round(self.share, 9),
            "epochs": round(self.epochs, 6),
        }
        if mix.unit != "rows":
            said["size"] = {"available": self.available.size, "train": self.size, "largest": self.available.largest}
        if mix.schedule:
            said |= {"stages": list(self.stages), "stage_rows": list(self.stage_rows)}
        return said


def accounts(mix: Mix, plan: Plan, train: pl.DataFrame) -> dict[str, Account]:
    """The account of each source of the plan. In: `source`, `stage` and `size` of the training rows."""
    found = train.group_by(pl.col("source").cast(pl.String), "stage").agg(pl.len(), pl.col("size").sum())
    rows = {(source, stage): count for source, stage, count, _ in found.iter_rows()}
    size = {(source, stage): units for source, stage, _, units in found.iter_rows()}
    whole = sum(size.values())
    asked = requested(mix.weights, mix.schedule)
    stages = range(len(plan.stages))
    return {
        name: Account(
            asked=asked[name],
            quota=quota,
            available=plan.available[name],
            rows=sum(rows.get((name, k), 0) for k in stages),
            size=(got := sum(size.get((name, k), 0) for k in stages)),
            share=got / whole,
            stages=tuple(stage.quotas[name] for stage in plan.stages),
            stage_rows=tuple(rows.get((name, k), 0) for k in stages),
        )
        for name, quota in sorted(plan.quotas.items())
    }
