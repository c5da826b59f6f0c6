"""How many optimizer steps a training takes, and what each of them has seen; known before it begins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from train.settings import Schedule


@dataclass(frozen=True)
class Steps:
    """The sequences of a training in their order, `order` (one pass after the other), and its steps.

    `tokens` and `target_tokens` (int64, steps + 1) count what the first *k* steps have seen. A step has `accumulate`
    times `batch` sequences on each of `devices`, the last one what is left.
    """

    order: np.ndarray
    total: int
    batch: int
    accumulate: int
    devices: int
    tokens: np.ndarray
    target_tokens: np.ndarray
    left_over: int

    @property
    def sequences(self) -> int:
        """Sequences of a whole step."""
        return self.batch * self.accumulate * self.devices


def plan_steps(tokens: np.ndarray, targets: np.ndarray, schedule: Schedule, devices: int) -> Steps:
    """The steps over sequences with so many tokens and target tokens each (int64).

    Ends at the first limit that is reached: `epochs`, `max_steps`, or the step in which `max_target_tokens` is. With
    several devices the sequences at the end that do not go round are left over. A step is never more than one pass.
    """
    together = schedule.batch * devices
    accumulate = min(schedule.accumulate, max(1, len(tokens) // together))
    whole = together * accumulate
    order = np.arange(math.ceil(len(tokens) * schedule.epochs)) % len(tokens)
    order = order[: len(order) // together * together] if devices > 1 or len(order) >= together else order
    total = math.ceil(len(order) / whole)
    seen = [np.append(0, np.cumsum(counts[order])) for counts in (tokens, targets)]
    ends = np.minimum(np.arange(total + 1) * whole, len(order))
    tokens_seen, targets_seen = (counts[ends] for counts in seen)
    if schedule.max_steps is not None:
        total = min(total, schedule.max_steps)
    if schedule.max_target_tokens is not None:
        total = min(total, int(np.searchsorted(targets_seen, schedule.max_target_tokens)))
    used = int(ends[total])
    return Steps(
        order=order[:used],
        total=total,
        batch=schedule.batch,
        accumulate=accumulate,
        devices=devices,
        tokens=tokens_seen[: total + 1],
        target_tokens=targets_seen[: total + 1],
        left_over=math.ceil(len(tokens) * schedule.epochs) - len(order),
    )


def every(setting: float, total: int) -> set[int]:
    """The steps at which something happens: every so many, or below 1 at such shares of all; always the last."""
    step = max(1, round(setting * total)) if setting < 1 else round(setting)
    return {*range(step, total + 1, step), total}
