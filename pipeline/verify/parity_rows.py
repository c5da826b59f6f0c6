"""Rows of a bundle beside what a template makes of them, and what their prompts are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from pipeline.input_settings import InputSettings
from pipeline.render.blocks import Blocks
from pipeline.render.loss import KINDS
from pipeline.render.render import conversations
from pipeline.render.renderer import Renderer

_THINKING = "enable_thinking"
MISFIT = "its generation blocks are neither one nor four for each turn of the assistant"
Span = tuple[int, int]


@dataclass
class Faults:
    """Faults by what is wrong, each with its number of rows and the first of them."""

    counts: Counter[str] = field(default_factory=Counter[str])
    first: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, what: str, row: str, where: str = "") -> None:
        """One more row."""
        self.counts[what] += 1
        self.first.setdefault(what, f"{row} {where}".rstrip())

    def lines(self) -> list[str]:
        """The most frequent first."""
        return [f"{count:,} × {what}; first {self.first[what]}" for what, count in self.counts.most_common()]


@dataclass(frozen=True)
class Row:
    """A row with the bundle's own `text` and `targets`, and the template's `given`, `blocks` and `chosen` of them.

    `error` is there where the template refuses the row.
    """

    id: str
    plain: dict[str, Any]
    text: str | None
    targets: list[Span]
    given: str
    blocks: Blocks
    chosen: list[Span]
    error: str | None

    @property
    def turns(self) -> int:
        """How many turns of the assistant there are."""
        return sum(message["role"] == "assistant" for message in self.plain["messages"])

    @property
    def thinks(self) -> bool:
        """Whether the last turn has reasoning: by itself, or as the template found it in its content."""
        if (self.plain["messages"][-1].get("reasoning_content") or "").strip("\n"):
            return True
        each = len(self.blocks) // self.turns
        return each == len(KINDS) and self.blocks[-each][0] < self.blocks[-each][1]


def read_rows(rows: pa.RecordBatch, settings: InputSettings, renderer: Renderer) -> list[Row]:
    """Rows of a bundle, each rendered by the template itself. In: `id`, `source` and what `render` takes."""
    batch = conversations(rows)
    every = range(rows.num_rows)
    plain = batch.plain(every)
    own = {
        name: rows.column(name).to_pylist() if name in rows.schema.names else [None] * rows.num_rows
        for name in ("id", "source", "text", "targets")
    }
    return [
        _row(
            name,
            one,
            (text, [(span["start"], span["end"]) for span in targets or []]),
            answer,
            None if "error" in answer else _chosen(answer, settings, source, weights),
        )
        for name, source, text, targets, one, answer, weights in zip(
            own["id"],
            own["source"],
            own["text"],
            own["targets"],
            plain,
            renderer.rows(plain),
            batch.weights(every),
            strict=True,
        )
    ]


def _row(
    id: str,
    plain: dict[str, Any],
    own: tuple[str | None, list[Span]],
    answer: Mapping[str, Any],
    chosen: list[Span] | None,
) -> Row:
    error = answer.get("error", MISFIT if chosen is None else None)
    return Row(id, plain, *own, answer.get("text", ""), answer.get("blocks", []), chosen or [], error)


def _chosen(
    answer: Mapping[str, Any], settings: InputSettings, source: str, weights: Sequence[float | None]
) -> list[Span] | None:
    loss = settings.loss_of(source)
    return [(0, len(answer["text"]))] if loss.targets == "text" else loss.chosen(answer["blocks"], weights)


class Voices:
    """A template as configured, and where it knows of thinking, as it is for answers without any."""

    def __init__(self, renderer: Renderer, stack: ExitStack) -> None:
        self.usual = self.silent = renderer
        if re.search(rf"\b{_THINKING}\b", renderer.template.text):
            told = dict(renderer.template.variables) | {_THINKING: False}
            self.silent = stack.enter_context(Renderer(replace(renderer.template, variables=told)))
        self.usual.start()
        self.silent.start()

    def prompts(self, rows: Sequence[Row], usual: Callable[[Row], bool]) -> list[dict[str, Any]]:
        """What the last turn of each row is to be generated from, from the template as configured or the silent one."""
        asked = [row.plain | {"messages": row.plain["messages"][:-1], "prompt": True} for row in rows]
        flags = [usual(row) for row in rows]
        answers = {
            flag: iter(renderer.rows([one for one, its in zip(asked, flags, strict=True) if its == flag]))
            for flag, renderer in ((True, self.usual), (False, self.silent))
        }
        return [next(answers[flag]) for flag in flags]


def replaced(value: Any, literal: re.Pattern[str]) -> Any:
    """The value with every match in its texts made into letters; roles and the names of fields stay."""
    if isinstance(value, str):
        return literal.sub(lambda match: "x" * len(match[0]), value)
    if isinstance(value, Mapping):
        return {name: item if name == "role" else replaced(item, literal) for name, item in value.items()}
    return [replaced(item, literal) for item in value] if isinstance(value, list) else value
