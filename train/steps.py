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
    times `batch` sequences on each of `devices`, the last one what is left; its last `surplus` target tokens are not
    trained on, as they are beyond `max_target_tokens`.
    """

    order: np.ndarray
    total: int
    batch: int
    accumulate: int
    devices: int
    tokens: np.ndarray
    target_tokens: np.ndarray
    left_over: int
    surplus: int

    @property
    def sequences(self) -> int:
        """Sequences of a whole step."""
        return self.batch * self.accumulate * self.devices

    @property
    def targets_per_step(self) -> float:
        """Target tokens of a step on average; at least 1."""
        return max(1.0, float(self.target_tokens[-1]) / max(1, self.total))


def plan_steps(tokens: np.ndarray, targets: np.ndarray, schedule: Schedule, devices: int) -> Steps:
    """The steps over sequences with so many tokens and target tokens each (int64).

    Ends at the first limit that is reached: `epochs`, `max_steps`, or exactly at `max_target_tokens`. With several
    devices the sequences at the end that do not go round are left over. A step is never more than one pass.
    """
    together = schedule.batch * devices
    accumulate = min(schedule.accumulate, max(1, len(tokens) // together))
    whole = together * accumulate
    order = np.arange(math.ceil(len(tokens) * schedule.epochs)) % len(tokens)
    left_over = len(order) % together if devices > 1 or len(order) >= together else 0
    order = order[: len(order) - left_over]
    if schedule.max_steps is not None:
        order = order[: schedule.max_steps * whole]
    surplus = 0
    seen = np.cumsum(targets[order])
    if schedule.max_target_tokens is not None and len(order) and seen[-1] > schedule.max_target_tokens:
        reached = int(np.searchsorted(seen, schedule.max_target_tokens)) + 1
        order = order[: math.ceil(reached / together) * together]
        surplus = int(seen[len(order) - 1]) - schedule.max_target_tokens
    total = math.ceil(len(order) / whole)
    ends = np.minimum(np.arange(total + 1) * whole, len(order))
    tokens_seen, targets_seen = (np.append(0, np.cumsum(counts[order]))[ends] for counts in (tokens, targets))
    targets_seen[-1] -= surplus
    return Steps(
        order=order,
        total=total,
        batch=schedule.batch,
        accumulate=accumulate,
        devices=devices,
        tokens=tokens_seen,
        target_tokens=targets_seen,
        left_over=left_over,
        surplus=surplus,
    )


def every(setting: float, total: int) -> set[int]:
    """The steps at which something happens: every so many, or below 1 at such shares of all; always the last."""
    step = max(1, round(setting * total)) if setting < 1 else round(setting)
    return {*range(step, total + 1, step), total}
