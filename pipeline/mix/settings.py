"""Reading `mix`: the weights, what they weigh, and how they change in the course of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pipeline.errors import ConfigError, known_names
from pipeline.mix.plan import TOTALS, Mix, Stretch, relative_weights
from pipeline.mix.strategies import SIZERS
from pipeline.names import NAME_RULE, is_name
from pipeline.settings import Settings, is_number, is_whole

_KEYS = {
    *("name", "weights", "strategy", "unit", "total_rows", "total_tokens", "schedule"),
    *("stop", "replacement", "temperature", "max_epochs", "on_shortage"),
}
# The column `stage` of the ordered rows has 8 bits.
_MOST_STAGES = 255


def read_mix(node: Settings, sources: Sequence[str]) -> Mix:
    """The settings of a mix over these sources; every mistake goes to `node.errors`."""
    node.known(_KEYS)
    mix = Mix(
        name=node.value("name", is_name, NAME_RULE, "NAME", "mix"),
        weights=_weights(Settings(node.node.get("weights"), "mix.weights", node.errors), sources),
        strategy=_choice(node, "strategy", sorted(SIZERS), "resample"),
        unit=_choice(node, "unit", list(TOTALS), "rows"),
        total_rows=node.value("total_rows", is_whole(1), "a whole number above 0", "10000"),
        total_tokens=node.value("total_tokens", is_whole(1), "a whole number above 0", "1000000"),
        schedule=_schedule(node, sources),
        stop=_choice(node, "stop", ["all_exhausted", "first_exhausted"], "all_exhausted"),
        replacement=bool(
            node.required("replacement", lambda value: isinstance(value, bool), "true or false", "false", False)
        ),
        temperature=node.required("temperature", is_number(1e-6), "a number above 0", "2", 2.0),
        max_epochs=node.value("max_epochs", is_number(1e-6), "a number above 0", "4"),
        on_shortage=_choice(node, "on_shortage", ["error", "shrink", "renormalize"], "error"),
    )
    node.errors += _contradictions(mix, node)
    return mix


def _choice(node: Settings, key: str, among: Sequence[str], default: str) -> str:
    allowed = f"{', '.join(among[:-1])} or {among[-1]}"
    return node.required(key, lambda value: value in among, allowed, default, default)


def _contradictions(mix: Mix, node: Settings) -> list[ConfigError]:
    """Settings that are good in themselves and not together."""
    errors: list[ConfigError] = []
    if mix.replacement and mix.max_epochs is not None:
        errors.append(
            ConfigError(
                "mix.max_epochs",
                "has no meaning where rows are drawn with replacement",
                "set mix.max_epochs=null or mix.replacement=false",
            )
        )
    unit, strategy = (node.node.get(key) for key in ("unit", "strategy"))  # as given: a wrong one is reported already
    if unit == "rows" and mix.total_tokens is not None:
        errors.append(
            ConfigError(
                f"mix.total_tokens={mix.total_tokens}",
                "counts tokens, while mix.unit=rows",
                "set mix.total_tokens=null, or mix.unit=tokens",
            )
        )
    if unit != "rows" and unit == mix.unit and mix.total_rows is not None:
        errors.append(
            ConfigError(
                f"mix.total_rows={mix.total_rows}",
                f"counts rows, while mix.unit={mix.unit}",
                "set mix.total_rows=null mix.total_tokens=N, or mix.unit=rows",
            )
        )
    if mix.schedule and strategy != "resample" and strategy == mix.strategy:
        errors.append(
            ConfigError(
                "mix.schedule",
                f"needs exact weights, while mix.strategy={mix.strategy}",
                "set mix.strategy=resample, or mix.schedule=null",
            )
        )
    return errors


def _weights(weights: Settings, sources: Sequence[str]) -> dict[str, float]:
    """`mix.weights`: one usable number for each source, and for nothing else."""
    given = _numbers(weights, sources)
    for name in sources:
        if name not in weights.node:
            weights.errors.append(
                ConfigError(f"source {name}", "has no weight in the mix", f"set +mix.weights.{name}=1")
            )
    if not sources:
        weights.errors.append(
            ConfigError(
                "sources",
                "the mix has none",
                "choose mix=balanced, or add a source with "
                "'+sources.NAME={path: FILE, shape: SHAPE}' +mix.weights.NAME=1",
            )
        )
    if given and len(given) == len(weights.node):
        try:
            relative_weights(given)
        except ConfigError as error:
            weights.errors.append(error)
    return given


def _numbers(weights: Settings, sources: Sequence[str]) -> dict[str, float]:
    """The weights that are numbers and belong to a source; the others are mistakes."""
    given: dict[str, float] = {}
    for name, weight in weights.node.items():
        if str(name) not in sources:
            weights.errors.append(
                ConfigError(
                    weights.path(str(name)),
                    f"no source {name} in this mix ({known_names(str(name), sources)})",
                    f"add it with '+sources.{name}={{path: FILE, shape: columns, …}}', or take the weight out",
                )
            )
        elif not isinstance(weight, int | float) or isinstance(weight, bool):
            weights.wrong(str(name), weight, "a number", "1")
        else:
            given[str(name)] = float(weight)
    return given


def _schedule(node: Settings, sources: Sequence[str]) -> Sequence[Stretch]:
    """`mix.schedule`: stages that follow each other up to the whole, each with weights of its own."""
    example = "[{until: 0.5, weights: {NAME: 1}}, {until: 1, weights: {NAME: 1}}]"
    stages: list[Any] = node.value(
        "schedule",
        lambda value: isinstance(value, list) and len(value) <= _MOST_STAGES,
        f"a list of at most {_MOST_STAGES} stages",
        f"'{example}'",
        [],
    )
    stretches = [
        _stretch(Settings(stage, f"mix.schedule[{k}]", node.errors), sources) for k, stage in enumerate(stages)
    ]
    ends = [stretch.until for stretch in stretches]
    if (
        ends
        and not any(map(math.isnan, ends))
        and (ends[-1] != 1 or any(end <= before for before, end in zip([0.0, *ends], ends, strict=False)))
    ):
        node.errors.append(
            ConfigError(
                "mix.schedule",
                f"the stages end at {', '.join(f'{end:g}' for end in ends)} of the whole; "
                "each must end later than the one before, the last at 1",
                f"write it as '{example}'",
            )
        )
    return stretches


def _stretch(stage: Settings, sources: Sequence[str]) -> Stretch:
    """One stage; a source that it does not name has weight 0 in it."""
    stage.known({"until", "weights"})
    weights = Settings(stage.node.get("weights"), f"{stage.where}.weights", stage.errors)
    given = _numbers(weights, sources)
    bad = [name for name, weight in given.items() if not math.isfinite(weight) or weight < 0]
    for name in bad:
        weights.wrong(name, given[name], "a finite number from 0", "1")
    if len(given) == len(weights.node) and not bad and not any(given.values()):
        stage.wrong("weights", dict(weights.node), "weights of which one is above 0", "{NAME: 1}")
    return Stretch(until=stage.required("until", is_number(0, 1), "a share from 0 to 1", "1", math.nan), weights=given)
