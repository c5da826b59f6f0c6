"""The curves of a run as a picture: losses over target tokens, rate and gradient norm over steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw_curves(records: Sequence[Mapping[str, Any]], title: str, target: Path) -> None:
    """Write a PNG of the lines of a `metrics.jsonl`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    steps = [record for record in records if "loss" in record]
    measures = [record for record in records if "eval_loss" in record]
    figure = Figure(figsize=(10, 7), layout="constrained")
    loss, rate = figure.subplots(2, 1, height_ratios=[3, 1])
    figure.suptitle(title, parse_math=False)
    loss.plot([r["target_tokens"] for r in steps], [r["loss"] for r in steps], color="0.7", label="training")
    names = sorted({name for record in measures for name in record if name.startswith("eval_loss")})
    for name in names:
        own = [record for record in measures if name in record]
        label = "validation" if name == "eval_loss" else name.removeprefix("eval_loss_")
        style = {"color": "black", "linewidth": 2} if name == "eval_loss" else {"linestyle": "--"}
        loss.plot([r["target_tokens"] for r in own], [r[name] for r in own], marker="o", label=label, **style)
    loss.set_xlabel("target tokens")
    loss.set_ylabel("loss (nats per target token)")
    loss.legend()
    rate.plot([r["step"] for r in steps], [r["learning_rate"] for r in steps], label="learning rate")
    rate.set_xlabel("step")
    rate.set_ylabel("learning rate")
    norm = rate.twinx()
    norm.plot([r["step"] for r in steps], [r.get("grad_norm", 0.0) for r in steps], color="C1")
    norm.set_ylabel("gradient norm", color="C1")
    figure.savefig(target, dpi=120)
