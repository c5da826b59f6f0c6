"""Questions put to a model before and after its training, with the same prompt format."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.render.template import Template
from pipeline.store import replace_text
from train.generate import prompts, replies

ANSWERS = "answers.jsonl"


@dataclass(frozen=True)
class Asked:
    """Questions, and how they are put: greedily, at most `max_new_tokens` tokens long."""

    questions: Sequence[str]
    template: Template
    tokenizer: Any
    max_new_tokens: int
    ends: Sequence[int]

    def answers(self, model: Any) -> list[str]:
        """The model's answer to each question. Raises: TemplateError."""
        if not self.questions:
            return []
        texts = prompts(self.template, [[{"role": "user", "content": question}] for question in self.questions])
        found = dict(replies(model, self.tokenizer, texts, self.max_new_tokens, self.ends))
        return [found[at].text.strip() for at in range(len(texts))]


def write_answers(folder: Path, questions: Sequence[str], before: Sequence[str], after: Sequence[str | None]) -> None:
    """Write `answers.jsonl`: a line a question, `after` null while the training runs."""
    rows = [
        {"question": question, "before": first, "after": second}
        for question, first, second in zip(questions, before, after, strict=True)
    ]
    replace_text(folder / ANSWERS, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def answers_before(folder: Path) -> list[str]:
    """The answers that a run began with."""
    path = folder / ANSWERS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line)["before"] for line in lines]


def say_answers(
    questions: Sequence[str], before: Sequence[str], after: Sequence[str], say: Callable[[str], None]
) -> None:
    """Each question with both answers below it."""
    for question, first, second in zip(questions, before, after, strict=True):
        say(f"question   {question}")
        say(f"  before   {_on_lines(first)}")
        say(f"  after    {_on_lines(second)}")


def _on_lines(text: str) -> str:
    return "\n           ".join(text.splitlines()) or "(nothing)"
