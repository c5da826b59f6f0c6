"""What tells the runs of a comparison apart: what is known of each, side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


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
