"""Which replies a report shows, and what it says of them: chosen by their scores, the same ones each time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xxhash

from eval.measures import SCALES, measure_of
from eval.plots import number
from eval.telling import Measure
from eval.texts import Text, shorten

Records = Sequence[Mapping[str, Any]]
WORST, CHANGED, EVEN = 20, 12, 12  # how many are shown: 56 at most
_SUM = "usable"  # passes where all the others of its measure do, so it would count twice
_NOTE = 600  # characters of a note


@dataclass(frozen=True)
class Side:
    """A model's reply, the checks that it failed and passed, its other scores, and what was noted."""

    model: str
    reply: Text
    tokens: Any
    ended: bool
    failed: Sequence[str]
    passed: int
    scores: Sequence[tuple[str, str]]
    notes: Sequence[tuple[str, Text]]


@dataclass(frozen=True)
class Example:
    """A row, and the replies of one or two models to it."""

    id: str
    source: str
    tags: Sequence[str]
    prompt: Text
    gold: Text | None
    answer: Any
    sides: Sequence[Side]


@dataclass(frozen=True)
class Count:
    """How many replies of each model fail a check, of how many; and, of rows that both answer, how many fail with the
    first model only (`mended`) or with the second only (`broken`)."""

    check: str
    models: Sequence[tuple[int, int]]
    mended: int
    broken: int


class Replies:
    """The replies of an evaluation by row, in the order of the rows.

    In: records as in `generations.jsonl`; `models` are the one or two that are shown. Of several replies of a model to
    a row the first one counts.
    """

    def __init__(self, records: Records, models: Sequence[str]) -> None:
        self.models = models
        self._rows: dict[str, dict[str, Mapping[str, Any]]] = {}
        for record in records:
            if record["model"] in models:
                self._rows.setdefault(record["id"], {}).setdefault(record["model"], record)
        self.measures = _measures(records)
        self.checks = [name for name, one in self.measures.items() if one.scale == "share" and one.better]
        self._failed = {
            (id_, model): self._failures(record) for id_, row in self._rows.items() for model, record in row.items()
        }
        self._pairs = [id_ for id_, row in self._rows.items() if len(row) == 2]

    def __len__(self) -> int:
        return len(self._rows)

    def counts(self) -> list[Count]:
        """Of each check."""
        return [self._count(check) for check in self.checks]

    def worst(self) -> list[Example]:
        """Those of the last model that fail the most checks."""
        model = self.models[-1]
        failed = {id_: len(found) for (id_, of), found in self._failed.items() if of == model and found}
        return [
            self._example(id_, [model]) for id_ in sorted(failed, key=lambda id_: (-failed[id_], _rank(id_)))[:WORST]
        ]

    def changed(self) -> tuple[list[Example], list[Example]]:
        """Those that the second model answers better than the first, by the number of checks, and those it answers
        worse; the most first."""
        change = {id_: self._change(id_) for id_ in self._pairs}
        order = sorted(change, key=lambda id_: (-abs(change[id_]), _rank(id_)))
        better, worse = ([id_ for id_ in order if change[id_] * sign > 0][:CHANGED] for sign in (1, -1))
        return [self._example(id_, self.models) for id_ in better], [self._example(id_, self.models) for id_ in worse]

    def even(self) -> list[Example]:
        """A few at even ranks, whatever their scores."""
        ids = list(self._rows)
        places = sorted({(2 * at + 1) * len(ids) // (2 * EVEN) for at in range(EVEN)} if ids else ())
        return [self._example(ids[at], self.models) for at in places]

    def _failures(self, record: Mapping[str, Any]) -> list[str]:
        scores = record["scores"]
        return [name for name in self.checks if name != _SUM and number(scores.get(name)) < 1]

    def _change(self, id_: str) -> int:
        """How many checks more the second model passes, of those that both replies have."""
        first, second = (self._rows[id_][model]["scores"] for model in self.models)
        both = [name for name in self.checks if name != _SUM and name in first and name in second]
        pairs = [(number(first[name]), number(second[name])) for name in both]
        return sum((other >= 1) - (one >= 1) for one, other in pairs if math.isfinite(one) and math.isfinite(other))

    def _count(self, check: str) -> Count:
        scores = {
            id_: {model: number(record["scores"].get(check)) for model, record in row.items()}
            for id_, row in self._rows.items()
        }
        known = [
            [row[model] for row in scores.values() if math.isfinite(row.get(model, math.nan))] for model in self.models
        ]
        pairs = [
            tuple(scores[id_][model] < 1 for model in self.models) for id_ in self._pairs if self._both(scores[id_])
        ]
        fails = [(sum(score < 1 for score in own), len(own)) for own in known]
        return Count(check, fails, pairs.count((True, False)), pairs.count((False, True)))

    @staticmethod
    def _both(scores: Mapping[str, float]) -> bool:
        return all(map(math.isfinite, scores.values()))

    def _example(self, id_: str, models: Sequence[str]) -> Example:
        row = self._rows[id_]
        one = next(iter(row.values()))
        gold = None if one.get("gold") is None else shorten(one["gold"])
        sides = [self._side(row[model], self._failed[id_, model]) for model in models if model in row]
        tags = list(one.get("tags") or ())
        return Example(id_, one["source"], tags, shorten(one["prompt"]), gold, one.get("answer"), sides)

    def _side(self, record: Mapping[str, Any], failed: Sequence[str]) -> Side:
        scores: Mapping[str, Any] = record["scores"]
        checks = [name for name in self.checks if name in scores and name != _SUM]
        others = [(name, f"{number(score):g}") for name, score in scores.items() if name not in self.checks]
        notes = [(name, shorten(_note(value), _NOTE)) for name, value in (record.get("notes") or {}).items()]
        passed = sum(number(scores[name]) >= 1 for name in checks)
        reply = shorten(record["reply"])
        return Side(
            record["model"], reply, record.get("tokens"), bool(record.get("ended")), failed, passed, others, notes
        )


def _measures(records: Records) -> dict[str, Measure]:
    """How each score is to be read, those known first and in their order; others by their values."""
    share: dict[str, bool] = {}
    for record in records:
        for name, score in record["scores"].items():
            share[name] = share.get(name, True) and (score in (0, 1) or not math.isfinite(number(score)))
    known = [name for name in SCALES if name in share]
    return {name: measure_of(name, share[name]) for name in [*known, *(name for name in share if name not in SCALES)]}


def _note(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _rank(id_: str) -> int:
    return xxhash.xxh3_64_intdigest(f"example\x1f{id_}".encode(errors="surrogatepass"))
