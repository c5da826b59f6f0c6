from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import PoolmixError
from pipeline.mix.plan import Mix, Stretch
from pipeline.mix.settings import read_mix
from pipeline.settings import Settings

DEFAULTS: dict[str, Any] = {
    "weights": {"cmath": 1, "mawps": 2},
    "strategy": "resample",
    "unit": "rows",
    "stop": "all_exhausted",
    "replacement": False,
    "temperature": 2,
    "on_shortage": "error",
}


def read(**more: Any) -> tuple[Mix, list[PoolmixError]]:
    errors: list[PoolmixError] = []
    return read_mix(Settings(DEFAULTS | more, "mix", errors), ["cmath", "mawps"]), errors


def test_a_schedule_and_a_unit_are_read() -> None:
    schedule = [{"until": 0.25, "weights": {"cmath": 1}}, {"until": 1, "weights": {"cmath": 1, "mawps": 0}}]
    mix, errors = read(unit="target_tokens", total_tokens=5000, schedule=schedule)
    assert not errors
    assert mix.schedule == [Stretch(0.25, {"cmath": 1.0}), Stretch(1, {"cmath": 1.0, "mawps": 0.0})]
    assert (mix.unit, mix.total) == ("target_tokens", 5000)
    assert read(total_rows=7)[0].total == 7
    assert read(schedule=None)[0].schedule == read(schedule=[])[0].schedule == []


def stages(*ends: Any) -> list[Any]:
    return [{"until": end, "weights": {"cmath": 1}} for end in ends]


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"unit": "words"}, "mix.unit=words"),
        ({"unit": "tokens", "total_rows": 5}, "mix.total_rows=5"),
        ({"total_tokens": 5}, "mix.total_tokens=5"),
        ({"unit": "tokens", "total_tokens": 0}, "mix.total_tokens=0"),
        ({"strategy": "concat", "schedule": stages(1)}, "mix.schedule"),
        ({"strategy": "temperature", "schedule": stages(1)}, "mix.schedule"),
        ({"schedule": stages(0.5)}, "mix.schedule"),
        ({"schedule": stages(0.5, 0.5, 1)}, "mix.schedule"),
        ({"schedule": stages(0.7, 0.5, 1)}, "mix.schedule"),
        ({"schedule": stages(0, 1)}, "mix.schedule"),
        ({"schedule": {"until": 1}}, "mix.schedule={'until': 1}"),
        ({"schedule": stages(*range(300))}, "mix.schedule="),
        ({"schedule": [5]}, "mix.schedule[0]=5"),
        ({"schedule": stages(0.5, 2)}, "mix.schedule[1].until=2"),
        ({"schedule": [*stages(0.5), {"weights": {"cmath": 1}}]}, "mix.schedule[1].until=null"),
        ({"schedule": [{"until": 1}]}, "mix.schedule[0].weights"),
        ({"schedule": [{"until": 1, "weights": {"cmath": 0}}]}, "mix.schedule[0].weights"),
        ({"schedule": [{"until": 1, "weights": {"cmath": 1, "mawps": -1}}]}, "mix.schedule[0].weights.mawps=-1"),
        ({"schedule": [{"until": 1, "weights": {"cmath": float("nan")}}]}, "mix.schedule[0].weights.cmath=nan"),
        ({"schedule": [{"until": 1, "weights": {"cmath": "much"}}]}, "mix.schedule[0].weights.cmath=much"),
        ({"schedule": [{"until": 1, "weight": {}, "weights": {"cmath": 1}}]}, "mix.schedule[0].weight"),
    ],
)
def test_a_mistake_is_named(more: dict[str, Any], where: str) -> None:
    _, errors = read(**more)
    assert errors
    assert errors[0].where.startswith(where)


def test_an_unknown_source_in_a_stage_is_named_with_the_nearest() -> None:
    _, errors = read(schedule=[{"until": 1, "weights": {"cmth": 1, "mawps": 1}}])
    assert [error.where for error in errors] == ["mix.schedule[0].weights.cmth"]
    assert "did you mean cmath?" in errors[0].what


def test_all_mistakes_are_said_at_once_and_none_that_follows_from_another() -> None:
    _, errors = read(unit="word", total_tokens=5, schedule=[{"until": 3, "weights": {"cmth": 1}}, *stages(1)])
    assert [error.where for error in errors] == [
        "mix.unit=word",
        "mix.schedule[0].weights.cmth",
        "mix.schedule[0].until=3",
    ]
