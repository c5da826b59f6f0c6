"""The mix strategies: how much each source gives, and at what pace.

A *sizer* turns weights into quotas (a dict in `SIZERS`, one entry a strategy); `order.py` then lays out the rows
so that every stretch of the result holds the mix. A new strategy is one function here and one line in `SIZERS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from pipeline.errors import ConfigError
from pipeline.mix.plan import Available, Mix, Plan, Stage, relative_weights, stretches
from pipeline.mix.quotas import (
    Parts,
    added,
    by_stage,
    largest_remainder,
    renormalized_by_stage,
    total_within,
    total_within_by_stage,
)

# Used when the mix has no total: this share of all that is available for training.
DEFAULT_SHARE = 0.9
# Repeating rows more often than this tends to make a model learn them by heart; more is allowed, with a warning.
MANY_EPOCHS = 4

# The stages, and what the user should know.
Sized = tuple[list[Stage], list[str]]


def plan_mix(mix: Mix, available: Mapping[str, Available]) -> Plan:
    """Quotas and paces for sources with so much available for training.

    Raises: ConfigError if the strategy cannot give what is asked.
    """
    weights, warnings = relative_weights(mix.weights)
    sizes = {name: available[name].size for name in weights}
    empty = [name for name, weight in weights.items() if weight > 0 and sizes[name] == 0]
    if empty:
        warnings.append(f"no {mix.units} to train on in {', '.join(empty)}: left out")
        weights = {name: 0.0 if name in empty else weight for name, weight in weights.items()}
    _require_weight(mix, weights)
    stages, more = SIZERS[mix.strategy](mix, weights, sizes)
    quotas = added(stage.quotas for stage in stages)
    epochs = {name: quota / sizes[name] for name, quota in quotas.items() if quota}
    warnings += [
        f"{name} is repeated {times:.1f} times; set mix.max_epochs to limit it"
        for name, times in epochs.items()
        if times > MANY_EPOCHS and mix.max_epochs is None
    ]
    return Plan(stages, available, [*warnings, *more])


def _require_weight(mix: Mix, weights: Mapping[str, float]) -> None:
    """Raises: ConfigError for a stage, or a mix, whose sources with a weight above 0 have nothing to give."""
    for k, (_, parts) in enumerate(stretches(weights, mix.schedule)):
        if not any(parts.values()):
            raise ConfigError(
                f"mix.schedule[{k}]" if mix.schedule else "mix.weights",
                f"no source with a weight above 0 has {mix.units} to train on",
                "give more raw rows, or set a lower split.valid_ratio",
            )


def _interleave(mix: Mix, weights: Mapping[str, float], sizes: Mapping[str, int]) -> Sized:
    if mix.stop == "all_exhausted":
        _refuse_total(mix, "interleave with stop: all_exhausted")
        return [Stage({name: sizes[name] if weight else 0 for name, weight in weights.items()}, dict(weights))], []
    total = total_within(sizes, weights)
    quotas = largest_remainder(total if mix.total is None else min(total, mix.total), weights)
    warnings = (
        [f"{mix.total_setting}={mix.total:,}, but the scarcest source allows {total:,}"]
        if mix.total is not None and mix.total > total
        else []
    )
    return [Stage(quotas, quotas)], warnings


def _concat(mix: Mix, weights: Mapping[str, float], sizes: Mapping[str, int]) -> Sized:
    _refuse_total(mix, "concat")
    quotas = {name: sizes[name] if weight else 0 for name, weight in weights.items()}
    return [Stage(quotas, quotas)], _unequal(weights, "concat takes every row")


def _temperature(mix: Mix, weights: Mapping[str, float], sizes: Mapping[str, int]) -> Sized:
    flattened = {name: sizes[name] ** (1 / mix.temperature) if weight else 0.0 for name, weight in weights.items()}
    stages, warnings = _resample(mix, flattened, sizes)
    return stages, [*warnings, *_unequal(weights, "temperature goes by size")]


def _resample(mix: Mix, weights: Mapping[str, float], sizes: Mapping[str, int]) -> Sized:
    # sources with weight 0 count too, so that an arm without a source is as long as one with it
    total = mix.total if mix.total is not None else max(1, int(DEFAULT_SHARE * sum(sizes.values())))
    parts = stretches(weights, mix.schedule)
    quotas, warnings = by_stage(total, parts), _schedule_warnings(mix, weights, sizes)
    if mix.max_epochs is not None:
        limits = {name: math.floor(mix.max_epochs * sizes[name]) for name in weights}
        over = [name for name, quota in added(quotas).items() if quota > limits[name]]
        if over:
            if mix.on_shortage == "error":
                raise _shortage(mix, over[0], sizes[over[0]], limits, parts, added(quotas)[over[0]])
            quotas = _within(mix, total, limits, parts)
            what = "" if mix.on_shortage == "shrink" else "other weights than asked, "
            what += f"{sum(added(quotas).values()):,} {mix.units} in all instead of {total:,}"
            warnings.append(f"{', '.join(over)} would be repeated more than {mix.max_epochs:g} times: {what}")
    return [Stage(each, each) for each in quotas], warnings


def _within(mix: Mix, total: int, limits: Mapping[str, int], parts: Parts) -> list[dict[str, int]]:
    """Quotas that keep to the limits, as `mix.on_shortage` says. Raises: ConfigError if that leaves nothing."""
    if mix.on_shortage == "renormalize":
        quotas = renormalized_by_stage(total, limits, parts)
    else:
        quotas = by_stage(total_within_by_stage(limits, parts), parts)
    if not any(added(quotas).values()):
        raise ConfigError(
            f"mix.max_epochs={mix.max_epochs:g}", f"leaves no {mix.units} to train on", "set mix.max_epochs=1"
        )
    return quotas


def _shortage(mix: Mix, name: str, size: int, limits: Mapping[str, int], parts: Parts, quota: int) -> ConfigError:
    total = total_within_by_stage(limits, parts)
    return ConfigError(
        f"mix.max_epochs={mix.max_epochs:g}",
        f"{name} has {size:,} {mix.units}, at most {limits[name]:,} with repeats, and its quota is {quota:,}",
        f"set {mix.total_setting}={total}, or mix.on_shortage=shrink or renormalize"
        if total
        else "set a larger mix.max_epochs, or mix.on_shortage=renormalize",
    )


SIZERS: dict[str, Callable[[Mix, Mapping[str, float], Mapping[str, int]], Sized]] = {
    "interleave": _interleave,
    "resample": _resample,
    "concat": _concat,
    "temperature": _temperature,
}


def _refuse_total(mix: Mix, what: str) -> None:
    if mix.total is not None:
        raise ConfigError(
            f"{mix.total_setting}={mix.total}",
            f"{what} takes every row once",
            f"leave {mix.total_setting} out, or set mix.strategy=resample",
        )


def _unequal(weights: Mapping[str, float], why: str) -> list[str]:
    distinct = {weight for weight in weights.values() if weight}
    return [f"{why}: the weights only say which sources take part"] if len(distinct) > 1 else []


def _schedule_warnings(mix: Mix, weights: Mapping[str, float], sizes: Mapping[str, int]) -> list[str]:
    named = {name for stretch in mix.schedule for name, weight in stretch.weights.items() if weight}
    out = [name for name, weight in weights.items() if name in named and sizes[name] and not weight]
    warnings = [f"{name} has weight 0 in mix.weights: left out of mix.schedule" for name in out]
    return warnings + (_unequal(weights, "mix.schedule sets the shares") if mix.schedule else [])
