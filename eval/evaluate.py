"""One evaluation, from a bundle and a model to its result: what `python -m eval run` does, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from eval.asking import of_model, of_server
from eval.measures import MEASURES
from eval.perplexity import measure_perplexity
from eval.rows import Rows, render_prompts
from eval.scoring import score_replies, special_texts
from eval.settings import Evaluation
from eval.subject import Local, Subject, as_named
from train.adapted import put_adapter
from train.generate import Reply
from train.loss import add_target_losses
from train.model import load_model, load_tokenizer

Say = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """What an evaluation found: `scores` as `eval.scores.SCORES` has them, and a line a model and generated reply.

    `unanswered` are the ids of rows that have no reply though replies are judged: their last message is not the
    assistant's, or they are longer than a server takes.
    """

    models: Sequence[str]
    scores: pl.DataFrame
    generations: Sequence[Mapping[str, Any]]
    unanswered: Sequence[str]
    seconds: Mapping[str, float]


def evaluate(settings: Evaluation, subject: Subject, rows: Rows, say: Say) -> Measured:
    """Measure the base model and, of a run, the tuned one, or what a server has, on the same rows."""
    chosen = [name for name in settings.metrics if name in MEASURES]
    prompts = render_prompts(rows, subject.template) if chosen else []
    asked = [at for at, prompt in enumerate(prompts) if prompt is not None]
    scores: list[pl.DataFrame] = []
    generations: list[Mapping[str, Any]] = []
    seconds: dict[str, float] = {}

    def take(name: str, found: Mapping[int, Reply], special: Sequence[str]) -> None:
        own, lines = score_replies(rows, prompts, found, chosen, name, special)
        scores.append(own)
        generations.extend(lines)

    began = time.perf_counter()
    if settings.server is not None:
        names = [settings.server.model]
        if "perplexity" in settings.metrics:
            say("note       perplexity is left out: a server does not tell it")
        if chosen:
            take(names[0], of_server(settings, settings.server, rows, prompts, asked, say), ())
    else:
        local = subject.local
        assert local is not None  # noqa: S101 - without a server there is a model here
        names = local.names
        tokenizer, model = load_tokenizer(local.adapter or local.base), _load(local)
        if "perplexity" in settings.metrics:
            pools = settings.paths.pools
            scores.append(measure_perplexity(pools, subject, local, rows, model, tokenizer, say))
            seconds["perplexity"] = time.perf_counter() - began
        for name in names if chosen else ():
            with as_named(model, name):
                found = of_model(settings, local, prompts, asked, model, tokenizer, name, say)
            take(name, found, special_texts(tokenizer))
    seconds["all"] = time.perf_counter() - began
    answered = {line["id"] for line in generations}
    unanswered = [id_ for id_ in rows.frame["id"] if id_ not in answered] if chosen else []
    return Measured(names, pl.concat(scores), generations, unanswered, seconds)


def _load(local: Local) -> Any:
    """The base model, with the adapter beside it where there is one, giving losses of targets."""
    model = load_model(local.base, local.device)
    add_target_losses(model)
    return model.eval() if local.adapter is None else put_adapter(model, local.adapter, local.base)
