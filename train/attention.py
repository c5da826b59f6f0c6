"""Attention over packed sequences, document by document.

Without it, a sequence of *n* tokens is computed as a whole under a mask, which takes n² even where every document in it
is short; on a processor that is half the time of a small model. It is registered with transformers as `documents`, and
is plain SDPA where there are no documents (in generation).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

NAME = "documents"
# PyTorch's fused attention for processors is fast forward and slow backward: up to this many tokens of a document it
# is faster to hold its whole attention matrix, as transformers' `eager` does.
SHORT_DOCUMENT = 256


def register() -> None:
    """Make the name known to transformers."""
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

    AttentionInterface.register(NAME, documents_attention)
    AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


def documents_attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    sliding_window: int | None = None,
    cu_seq_lens_q: Any = None,
    **more: Any,
) -> tuple[Any, None]:
    """As transformers calls it: query, key and value are (batch, heads, tokens, size), `cu_seq_lens_q` has where each
    document begins, and the end. Returns (batch, tokens, heads, size)."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.models.llama.modeling_llama import eager_attention_forward

    if cu_seq_lens_q is None or query.shape[0] != 1 or query.shape[2] != key.shape[2]:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **more)
    bounds = cu_seq_lens_q.tolist()
    found: list[Any] = []
    for begin, end in pairwise(bounds):
        q, k, v = (states[:, :, begin:end] for states in (query, key, value))
        if end - begin <= SHORT_DOCUMENT and query.requires_grad and query.device.type == "cpu":
            mask = _short_mask(sliding_window, query.dtype)[: end - begin, : end - begin]
            found.append(eager_attention_forward(module, q, k, v, mask, **more)[0])
        else:
            mask = _window(end - begin, sliding_window, query.device)
            found.append(sdpa_attention_forward(module, q, k, v, mask, is_causal=mask is None, **more)[0])
    return torch.cat(found, dim=1), None


@lru_cache(maxsize=8)
def _short_mask(window: int | None, dtype: Any) -> Any:
    """What is added to the scores of a short document: 0 for what a token sees, the lowest number for the rest."""
    import torch

    seen = _window(SHORT_DOCUMENT, window or SHORT_DOCUMENT, "cpu")
    seen = torch.ones(SHORT_DOCUMENT, SHORT_DOCUMENT, dtype=torch.bool).tril() if seen is None else seen[0, 0]
    return torch.zeros(SHORT_DOCUMENT, SHORT_DOCUMENT, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)


def _window(length: int, window: int | None, device: Any) -> Any:
    """Which earlier tokens a token of a document sees (length × length), or None where it sees all of them."""
    import torch

    if window is None or length <= window:
        return None
    places = torch.arange(length, device=device)
    distance = places[:, None] - places[None, :]
    return ((distance >= 0) & (distance < window))[None, None]
