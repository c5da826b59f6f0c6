"""The loss of target tokens, without computing anything for the tokens that are none.

On a processor, projecting every position onto the vocabulary takes longer than the rest of a small model; TRL's own
way skips the others on a card only.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

from pipeline.tokens.encode import IGNORED

# So many logits are held at once (256 MB as float32); of more, each part is computed again for the backward pass.
_AT_ONCE = 1 << 26


def add_target_losses(model: Any) -> None:
    """Give a causal language model the way `model(…, labels=…, target_losses=True)`: the negative log-likelihood of
    each target token (nats, float32, flat, in the order of the tokens). Anything else goes the way it went."""
    import torch
    from torch.utils.checkpoint import checkpoint

    forward = model.forward

    def with_losses(self: Any, *args: Any, labels: Any = None, target_losses: bool = False, **more: Any) -> Any:
        if not target_losses:
            return forward(*args, **more) if labels is None else forward(*args, labels=labels, **more)
        hidden = self.base_model(*args, **{**more, "use_cache": False}).last_hidden_state[:, :-1]
        wanted = labels[:, 1:] != IGNORED
        hidden, following = hidden[wanted], labels[:, 1:][wanted]
        part = max(1, _AT_ONCE // self.config.get_text_config().vocab_size)
        if len(hidden) <= part:
            return _losses(self, hidden, following)
        parts = zip(hidden.split(part), following.split(part), strict=True)
        return torch.cat([checkpoint(_losses, self, h, f, use_reentrant=False) for h, f in parts])  # type: ignore[misc]

    model.forward = MethodType(with_losses, model)


def _losses(model: Any, hidden: Any, following: Any) -> Any:
    import torch

    config = model.config.get_text_config()
    logits = model.get_output_embeddings()(hidden).float()
    scale = _scale(config)
    if scale != 1.0:
        logits = logits * scale
    cap = getattr(config, "final_logit_softcapping", None)
    if cap is not None:
        logits = torch.tanh(logits / cap) * cap
    return torch.nn.functional.cross_entropy(logits, following, reduction="none")


def _scale(config: Any) -> float:
    """What some models multiply their logits with, or divide them by."""
    scale, divisor = getattr(config, "logit_scale", None), getattr(config, "logits_scaling", None)
    return scale if scale is not None else 1.0 / divisor if divisor is not None else 1.0
