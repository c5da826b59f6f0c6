"""One evaluation, from a bundle and a model to its result: what `python -m eval run` does, step by step."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tqdm import tqdm

from eval.generations import kept_generations, model_digest, settings_digest
from eval.measures import MEASURES
from eval.perplexity import bits, kept_losses, own_documents, row_losses, target_bytes
from eval.reply import Reply as Judged
from eval.rows import Rows, choose_rows, render_prompts
from eval.scores import SCORES
from eval.server import Prompt, Server, server_replies
from eval.settings import Evaluation
from eval.subject import Local, Subject
from train.adapted import put_adapter
from train.data import validation_documents
from train.generate import Reply, end_tokens, replies
from train.loss import add_target_losses
from train.model import load_model, load_tokenizer

Say = Callable[[str], None]
BASE, TUNED = "base", "tuned"


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
            take(names[0], _of_server(settings, settings.server, rows, prompts, asked, say), ())
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
                found = _of_model(settings, local, prompts, asked, model, tokenizer, name, say)
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
        digest = model_digest(local.base, local.adapter if name == TUNED else None)
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


def _of_model(
    settings: Evaluation,
    local: Local,
    prompts: Sequence[str | None],
    asked: Sequence[int],
    model: Any,
    tokenizer: Any,
    name: str,
    say: Say,
) -> dict[int, Reply]:
    """The model's reply to each prompt that is `asked`."""
    ends = end_tokens(model, tokenizer)
    digest = model_digest(local.base, local.adapter if name == TUNED else None)
    how = settings_digest(
        dtype=local.device.dtype, quant=local.device.quant, ends=ends, max_new_tokens=settings.max_new_tokens
    )
    texts = [prompts[at] or "" for at in asked]

    def ask(missing: Sequence[int]) -> Iterator[tuple[int, Reply]]:
        own = [texts[at] for at in missing]
        return replies(model, tokenizer, own, settings.max_new_tokens, ends, settings.batch_size)

    return _replies(settings, (digest, how), asked, texts, ask, name, say)


def _of_server(
    settings: Evaluation, server: Server, rows: Rows, prompts: Sequence[str | None], asked: Sequence[int], say: Say
) -> dict[int, Reply]:
    """The reply of a server to each prompt that is `asked`. Raises: ConfigError, ServerError; what came is kept."""
    how = settings_digest(api=server.api, extra=dict(server.extra), max_new_tokens=settings.max_new_tokens)
    own = [Prompt(prompts[at] or "", rows.asked[at]["messages"], rows.asked[at]["tools"]) for at in asked]
    texts = [json.dumps([one.messages, one.tools]) if server.api == "chat" else one.text for one in own]
    digest = settings_digest(base_url=server.base_url, model=server.model)

    def ask(missing: Sequence[int]) -> Iterator[tuple[int, Reply]]:
        return server_replies(server, [own[at] for at in missing], settings.max_new_tokens)

    return _replies(settings, (digest, how), asked, texts, ask, server.model, say)


def _replies(
    settings: Evaluation,
    keys: tuple[str, str],
    asked: Sequence[int],
    texts: Sequence[str],
    ask: Callable[[Sequence[int]], Iterator[tuple[int, Reply]]],
    name: str,
    say: Say,
) -> dict[int, Reply]:
    """Replies that are kept from before, and those of `ask` for what is missing, kept as they come."""
    began = time.perf_counter()
    with kept_generations(settings.paths.pools, *keys) as kept:
        found = kept.of(texts)
        missing = [at for at in range(len(texts)) if at not in found]
        fresh = kept.take([texts[at] for at in missing], ask(missing))
        for at, reply in _progress(fresh, len(missing), f"replies {name}"):
            found[missing[at]] = reply
    spent = time.perf_counter() - began
    made = sum(found[at].tokens or 0 for at in missing)
    speed = f", {made:,} tokens in {spent:.0f} s: {made / spent:.0f} tokens/s" if missing else ""
    say(f"replies    {name:<6} {len(missing):,} generated, {len(texts) - len(missing):,} kept from before{speed}")
    return {asked[at]: reply for at, reply in found.items()}


def _progress(items: Iterator[Any], total: int, what: str) -> Iterator[Any]:
    return iter(tqdm(items, total=total, desc=what, unit="reply", disable=None, leave=False, file=sys.stderr, delay=2))


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
