"""Greedy answers of a model, with the prompt format that it was trained with."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.arrow import numbers
from pipeline.errors import TemplateError
from pipeline.render.renderer import Renderer
from pipeline.render.template import Template
from pipeline.tokens.encode import IGNORED
from train.adapted import merged
from train.model import in_float32

Message = Mapping[str, Any]
_MARK = re.compile(r"(\{%-?\s*)(end)?generation(\s*-?%\})")


def prompts(template: Template, conversations: Sequence[Sequence[Message]]) -> list[str]:
    """The text that a model is given to answer each conversation. Raises: TemplateError."""
    with Renderer(template) as renderer:
        rows = [{"messages": list(messages), "tools": None, "meta": None, "prompt": True} for messages in conversations]
        found = renderer.rows(rows)
    refused = next((row["error"] for row in found if "error" in row), None)
    if refused is not None:
        raise TemplateError(f"template {template.name}", f"refuses a conversation ({refused})", "mend the template")
    return [row["text"] for row in found]


def end_tokens(model: Any, tokenizer: Any, trained: Sequence[int] = ()) -> list[int]:
    """The ids at which an answer ends: the model's, the tokenizer's, and those that were trained to end one."""
    own = getattr(model.generation_config, "eos_token_id", None)
    listed = own if isinstance(own, list) else [own]
    return sorted({int(token) for token in (*listed, tokenizer.eos_token_id, *trained) if token is not None})


def trained_end(table: pa.Table) -> list[int]:
    """The id with which most trained stretches of the sequences end, the end of a turn; none if there is no such."""
    labels = numbers(table.column("labels").combine_chunks().flatten())
    last = (labels != IGNORED) & (np.append(labels[1:], IGNORED) == IGNORED)
    ids, counts = np.unique(labels[last], return_counts=True)
    return [int(ids[counts.argmax()])] if len(ids) and counts.max() > last.sum() / 2 else []


@dataclass(frozen=True)
class Reply:
    """What a model answered, without its end token; `ended` by itself, in `tokens` tokens with that one (None where a
    server did not count them)."""

    text: str
    tokens: int | None
    ended: bool


def replies(
    model: Any, tokenizer: Any, texts: Sequence[str], max_new_tokens: int, ends: Sequence[int], at_once: int = 8
) -> Generator[tuple[int, Reply]]:
    """The greedy answer to each prompt with its place among them, `at_once` prompts at a time, the longest first.

    Prompts of about one length share a batch, so there is little padding, and what memory it takes shows at once.
    """
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    order = sorted(range(len(rows)), key=lambda at: -len(rows[at]))
    was_training = model.training
    model.eval()
    try:
        with in_float32(model), merged(model):
            for begin in range(0, len(order), at_once):
                batch = order[begin : begin + at_once]
                yield from zip(
                    batch, _answers(model, tokenizer, [rows[at] for at in batch], max_new_tokens, ends), strict=True
                )
    finally:
        model.train(was_training)


def _answers(
    model: Any, tokenizer: Any, rows: Sequence[list[int]], max_new_tokens: int, ends: Sequence[int]
) -> Iterator[Reply]:
    import torch

    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device)
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            use_cache=True,
            pad_token_id=pad,
            eos_token_id=list(ends),
        )
    for row in out[:, width:].tolist():
        stop = next((at for at, token in enumerate(row) if token in ends), None)
        text = tokenizer.decode(row[:stop], skip_special_tokens=False)
        yield Reply(text, len(row) if stop is None else stop + 1, stop is not None)


def served_template(template: Template) -> str:
    """A template as others can use it, without the marks of training and with its variables set.

    A mark becomes a condition that always holds, so that the white space around it is trimmed as before.
    """
    text = _MARK.sub(lambda mark: f"{mark[1]}{'endif' if mark[2] else 'if true'}{mark[3]}", template.text)
    given = "".join(
        f"{{%- if {name} is not defined %}}{{%- set {name} = {_literal(value)} %}}{{%- endif %}}"
        for name, value in template.variables.items()
    )
    return given + text


def _literal(value: Any) -> str:
    """A value as Jinja writes it."""
    return repr(value) if not isinstance(value, bool) else str(value).lower()
