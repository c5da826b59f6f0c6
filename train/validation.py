"""The loss on validation rows, in all and per source, with the masks of training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.pack import position_ids
from pipeline.tokens.encode import IGNORED
from train.data import Documents


def validation_loss(
    model: Any, documents: Documents, sequences: Sequence[np.ndarray], device: Any, autocast: Any
) -> np.ndarray:
    """`document_losses`, summed for each of the documents' sources (float64, sources × 2)."""
    own = np.concatenate([np.zeros(0, np.int64), *sequences])
    sums = np.zeros((len(documents.sources), 2))
    np.add.at(sums, documents.source[own], document_losses(model, documents, sequences, device, autocast)[own])
    return sums


def document_losses(
    model: Any, documents: Documents, sequences: Sequence[np.ndarray], device: Any, autocast: Any
) -> np.ndarray:
    """Per document: the negative log-likelihood of its target tokens (nats, summed), and their number (float64,
    documents × 2). `sequences` names the documents that go through the model together; none sees another."""
    import torch

    sums = np.zeros((len(documents.source), 2))
    was_training = model.training
    model.eval()
    with torch.inference_mode(), autocast():
        for own, inputs in _inputs(documents, sequences, device):
            found = model(**inputs, use_cache=False, target_losses=True).cpu().numpy()
            document = np.repeat(np.arange(len(own)), np.diff(documents.bounds)[own])
            document = document[1:][inputs["labels"][0, 1:].cpu().numpy() != IGNORED]  # of the token that is predicted
            sums[own, 0] += np.bincount(document, found, len(own))
            sums[own, 1] += np.bincount(document, minlength=len(own))
    model.train(was_training)
    return sums


def _inputs(
    documents: Documents, sequences: Sequence[np.ndarray], device: Any
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    import torch

    for own in sequences:
        parts = [slice(documents.bounds[k], documents.bounds[k + 1]) for k in own]
        ids = np.concatenate([documents.input_ids[part] for part in parts])
        labels = np.concatenate([documents.labels[part] for part in parts])
        lengths = np.array([part.stop - part.start for part in parts])
        columns = {"input_ids": ids, "labels": labels, "position_ids": position_ids(lengths)}
        tensors = {name: torch.from_numpy(c.astype(np.int64))[None].to(device) for name, c in columns.items()}
        bounds = torch.from_numpy(np.append(0, np.cumsum(lengths)).astype(np.int32)).to(device)
        most = int(lengths.max())
        borders = {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": most, "max_length_k": most}
        yield own, tensors | borders


def losses(sums: np.ndarray, sources: Sequence[str]) -> dict[str, float]:
    """`eval_loss` over all target tokens and `eval_loss_SOURCE` over those of each source (nats per token); a source
    without targets has none."""
    found = {"eval_loss": float(sums[:, 0].sum() / sums[:, 1].sum())} if sums[:, 1].sum() else {}
    return found | {
        f"eval_loss_{name}": float(loss / count) for name, (loss, count) in zip(sources, sums, strict=True) if count
    }
