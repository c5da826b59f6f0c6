"""How well a model predicts the target tokens of validation rows, with the template and masks of training."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.rows import Rows
from pipeline.tokens.encode import IGNORED
from train.data import Documents
from train.validation import document_losses


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


def kept_losses(path: Path, measure: Callable[[], np.ndarray]) -> np.ndarray:
    """What `measure` gives, kept in a file for the next evaluation."""
    if path.is_file():
        return np.load(path)
    losses = measure()
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(f".{path.name}.{os.getpid()}.npy")
    np.save(place, losses)
    place.replace(path)
    return losses


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


def bits(nats: np.ndarray) -> np.ndarray:
    """Nats as bits."""
    return nats / math.log(2)
