"""One evaluation, from a bundle and a model to its result: what `python -m eval run` does, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eval.asking import of_model, of_server
from eval.generations import model_digest, settings_digest
from eval.measures import MEASURES
from eval.perplexity import bits, kept_losses, own_documents, row_losses, target_bytes
from eval.reply import Reply as Judged
from eval.rows import Rows, choose_rows, render_prompts
from eval.scores import SCORES
from eval.settings import Evaluation
from eval.subject import BASE, TUNED, Local, Subject
from train.adapted import put_adapter
from train.data import validation_documents
from train.generate import Reply
from train.loss import add_target_losses
from train.model import load_model, load_tokenizer

Say = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """What an evaluation found: `scores` as `eval.scores.SCORES` has them, and a line a model and generated reply."""

    rows: Rows
    models: Sequence[str]
    scores: pl.DataFrame
    generations: Sequence[Mapping[str, Any]]
    seconds: Mapping[str, float]


def evaluate(settings: Evaluation, subject: Subject, say: Say) -> Measured:
    """Measure the base model and, of a run, the tuned one, or what a server has, on the same rows."""
    rows = choose_rows(subject.bundle, settings.limit)
    say(f"rows       {len(rows.values):,}: " + _counts(rows))
    chosen = [name for name in settings.metrics if name in MEASURES]
    prompts = render_prompts(rows, subject.template) if chosen else []
    asked = [at for at, prompt in enumerate(prompts) if prompt is not None]
    scores: list[pl.DataFrame] = []
    generations: list[Mapping[str, Any]] = []
    seconds: dict[str, float] = {}

    def take(name: str, found: Mapping[int, Reply], special: Sequence[str]) -> None:
        own, lines = judge(rows, prompts, found, chosen, name, special)
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
        names = [BASE] if local.adapter is None else [BASE, TUNED]
        tokenizer, model = load_tokenizer(local.adapter or local.base), _load(local)
        if "perplexity" in settings.metrics:
            scores.append(_perplexity(settings.paths.pools, subject, local, rows, model, tokenizer, names))
            seconds["perplexity"] = time.perf_counter() - began
            say(f"perplexity {len(rows.values):,} rows, {len(names)} × in {seconds['perplexity']:.0f} s")
        for name in names if chosen else ():
            with _as(model, name):
                found = of_model(settings, local, prompts, asked, model, tokenizer, name, say)
            take(name, found, special_texts(tokenizer))
    seconds["all"] = time.perf_counter() - began
    return Measured(rows, names, pl.concat(scores), generations, seconds)


def _counts(rows: Rows) -> str:
    counts = rows.frame.group_by("source").len().sort("source")
    return ", ".join(f"{source} {count:,}" for source, count in counts.iter_rows())


def _load(local: Local) -> Any:
    """The base model, with the adapter beside it where there is one, giving losses of targets."""
    model = load_model(local.base, local.device)
    add_target_losses(model)
    return model.eval() if local.adapter is None else put_adapter(model, local.adapter, local.base)


@contextmanager
def _as(model: Any, name: str) -> Generator[None]:
    """The model as the base was, or tuned."""
    with model.disable_adapter() if name == BASE and hasattr(model, "disable_adapter") else nullcontext():
        yield


def _perplexity(
    pools: Path, subject: Subject, local: Local, rows: Rows, model: Any, tokenizer: Any, names: Sequence[str]
) -> pl.DataFrame:
    """Scores `perplexity` (nats of target tokens) and `bits_per_byte` (bits of bytes)."""
    documents, row = own_documents(validation_documents(local.tokens, subject.bundle, None), rows)
    count = len(rows.values)
    size = target_bytes(documents, row, count, tokenizer)
    found: list[pl.DataFrame] = []
    for name in names:
        digest = model_digest(local.base, local.adapter_of(name))
        how = [local.tokens.name, local.device.dtype, local.device.quant, rows.frame["id"].to_list()]

        def measured(name: str = name) -> np.ndarray:
            with _as(model, name):
                return row_losses(model, documents, row, count, local.max_length, local.device.kind)

        key = settings_digest(how=how, bundle=subject.bundle.manifest["digest"]["validation"])
        sums = kept_losses(pools / "losses" / f"{digest}-{key}.npy", measured)
        for measure, numerator, denominator in (
            ("perplexity", sums[:, 0], sums[:, 1]),
            ("bits_per_byte", bits(sums[:, 0]), size),
        ):
            at = np.flatnonzero(denominator > 0)
            found.append(frame_of(name, measure, rows.frame["id"].gather(at), numerator[at], denominator[at]))
    return pl.concat(found)


def special_texts(tokenizer: Any) -> list[str]:
    """What must not stand in a reply: the tokenizer's special tokens (not all that were added: some are plain text)."""
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    return sorted({*tokenizer.all_special_tokens, *added})


def judge(
    rows: Rows,
    prompts: Sequence[str | None],
    found: Mapping[int, Reply],
    chosen: Sequence[str],
    model: str,
    special: Sequence[str],
) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Every measure's verdict on every reply: scores, and a line a reply for `generations.jsonl`."""
    lines: list[dict[str, Any]] = []
    ids: list[str] = []
    names: list[str] = []
    numbers: list[float] = []
    for at in sorted(found):
        reply, row, prompt = found[at], rows.values[at], prompts[at] or ""
        judged = Judged(row, reply.text, reply.tokens, reply.ended, prompt, special)
        scores: dict[str, float] = {}
        notes: dict[str, Any] = {}
        for measure in chosen:
            verdicts = MEASURES[measure](judged)
            if verdicts is not None:
                scores |= verdicts.scores
                notes |= verdicts.notes
        ids += [row["id"]] * len(scores)
        names += scores
        numbers += scores.values()
        lines.append(
            {
                "model": model,
                **{name: row[name] for name in ("id", "source", "tags")},
                "prompt": prompt,
                "reply": reply.text,
                "gold": row["messages"][-1].get("content"),
                "answer": row["answer"],
                "tokens": reply.tokens,
                "ended": reply.ended,
                "scores": scores,
                "notes": notes,
            }
        )
    frame = pl.DataFrame({"model": [model] * len(ids), "id": ids, "measure": names, "numerator": numbers}, _OF_REPLIES)
    return frame.with_columns(denominator=pl.lit(1.0)), lines


_OF_REPLIES = {name: kind for name, kind in SCORES.items() if name != "denominator"}


def frame_of(model: str, measure: str, ids: pl.Series, numerator: np.ndarray, denominator: np.ndarray) -> pl.DataFrame:
    """Scores of one model and measure."""
    columns = {"id": ids, "numerator": numerator, "denominator": denominator}
    frame = pl.DataFrame(columns).with_columns(model=pl.lit(model), measure=pl.lit(measure))
    return frame.select(pl.col(name).cast(kind) for name, kind in SCORES.items())
