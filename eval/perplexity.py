"""How well a model predicts the target tokens of validation rows, with the template and masks of training."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eval.generations import settings_digest
from eval.rows import Rows
from eval.scores import SCORES
from eval.subject import Local, Subject, as_named
from pipeline.tokens.encode import IGNORED
from train.data import Documents, validation_documents
from train.validation import document_losses

Say = Callable[[str], None]


def measure_perplexity(
    pools: Path, subject: Subject, local: Local, rows: Rows, model: Any, tokenizer: Any, say: Say
) -> pl.DataFrame:
    """Scores `perplexity` (nats of target tokens) and `bits_per_byte` (bits of bytes) of each model; kept in `pools`
    for the next evaluation of the same model and rows."""
    documents, row = own_documents(validation_documents(local.tokens, subject.bundle, None), rows)
    count = len(rows.values)
    size = target_bytes(documents, row, count, tokenizer)
    how = [local.tokens.name, local.device.dtype, local.device.quant, rows.frame["id"].to_list()]
    key = settings_digest(how=how, bundle=subject.bundle.manifest["digest"]["validation"])
    found: list[pl.DataFrame] = []
    for name in local.names:
        path = pools / "losses" / f"{local.digests[name]}-{key}.npy"
        began, is_kept = time.perf_counter(), path.is_file()
        if not is_kept:
            with as_named(model, name):
                keep_losses(path, row_losses(model, documents, row, count, local.max_length, local.device.kind))
        sums = np.load(path, allow_pickle=False)
        spent = "kept from before" if is_kept else f"in {time.perf_counter() - began:.0f} s"
        say(f"perplexity {name:<6} {count:,} rows {spent}")
        nats = _frame(name, "perplexity", rows, sums[:, 0], sums[:, 1])
        found += [nats, _frame(name, "bits_per_byte", rows, sums[:, 0] / math.log(2), size)]
    return pl.concat(found)


def _frame(model: str, measure: str, rows: Rows, numerator: np.ndarray, denominator: np.ndarray) -> pl.DataFrame:
    at = np.flatnonzero(denominator > 0)
    columns = {"id": rows.frame["id"].gather(at), "numerator": numerator[at], "denominator": denominator[at]}
    frame = pl.DataFrame(columns).with_columns(model=pl.lit(model), measure=pl.lit(measure))
    return frame.select(pl.col(name).cast(kind) for name, kind in SCORES.items())


def own_documents(documents: Documents, rows: Rows) -> tuple[Documents, np.ndarray]:
    """The documents of these rows alone, and the row that each belongs to (its number in `rows`)."""
    number = np.full(int(max(documents.row.max(initial=-1), rows.place.max(initial=-1))) + 1, -1)
    number[rows.place] = np.arange(len(rows.place))
    chosen = np.flatnonzero(number[documents.row] >= 0)
    lengths = np.diff(documents.bounds)[chosen]
    own = np.append(0, np.cumsum(lengths))
    index = np.repeat(documents.bounds[chosen] - own[:-1], lengths) + np.arange(own[-1])
    kept = replace(
        documents,
        input_ids=documents.input_ids[index],
        labels=documents.labels[index],
        bounds=own,
        source=documents.source[chosen],
        row=documents.row[chosen],
    )
    return kept, number[documents.row[chosen]]


def row_losses(
    model: Any, documents: Documents, row: np.ndarray, rows: int, max_length: int, device: Any
) -> np.ndarray:
    """Per row: the negative log-likelihood of its target tokens (nats, summed), and their number (rows × 2).

    Perplexity is exp(sum of the first / sum of the second). Documents go through the model packed, none sees another.
    """
    from contextlib import nullcontext

    found = document_losses(model, documents, documents.packed(max_length), device, nullcontext)
    sums = np.zeros((rows, 2))
    np.add.at(sums, row, found)
    return sums


def keep_losses(path: Path, losses: np.ndarray) -> None:
    """Write losses for the next evaluation, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(f".{path.name}.{os.getpid()}.npy")
    np.save(place, losses)
    place.replace(path)


def target_bytes(documents: Documents, row: np.ndarray, rows: int, tokenizer: Any) -> np.ndarray:
    """Per row: the bytes of UTF-8 that its target tokens stand for, special tokens not among them.

    Bits per byte, which models with other tokenizers can be compared by, is the sum of nats / ln 2 / the sum of these.
    """
    wanted = documents.labels != IGNORED
    targets = [
        documents.input_ids[begin:end][wanted[begin:end]]
        for begin, end in zip(documents.bounds[:-1], documents.bounds[1:], strict=True)
    ]
    texts = tokenizer.batch_decode(targets, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return np.bincount(row, [len(text.encode("utf-8", "surrogatepass")) for text in texts], rows)
