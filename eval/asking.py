"""Replies to prompts: those kept from before, and those that a model here or a server gives now."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

from tqdm import tqdm

from eval.generations import kept_generations, settings_digest
from eval.rows import Rows
from eval.server import Prompt, Server, server_replies
from eval.settings import Evaluation
from eval.subject import Local
from train.generate import Reply, end_tokens, replies

Say = Callable[[str], None]


def of_model(
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
    how = settings_digest(
        dtype=local.device.dtype, quant=local.device.quant, ends=ends, max_new_tokens=settings.max_new_tokens
    )
    texts = [prompts[at] or "" for at in asked]

    def ask(missing: Sequence[int]) -> Generator[tuple[int, Reply]]:
        own = [texts[at] for at in missing]
        return replies(model, tokenizer, own, settings.max_new_tokens, ends, settings.batch_size)

    return _answered(settings, (local.digests[name], how), asked, texts, ask, name, say)


def of_server(
    settings: Evaluation, server: Server, rows: Rows, prompts: Sequence[str | None], asked: Sequence[int], say: Say
) -> dict[int, Reply]:
    """The reply of a server to each prompt that is `asked`. Raises: ConfigError, ServerError; what came is kept."""
    how = settings_digest(api=server.api, extra=dict(server.extra), max_new_tokens=settings.max_new_tokens)
    own = [Prompt(prompts[at] or "", rows.asked[at]["messages"], rows.asked[at]["tools"]) for at in asked]
    texts = [json.dumps([one.messages, one.tools]) if server.api == "chat" else one.text for one in own]
    digest = settings_digest(base_url=server.base_url, model=server.model)

    too_long = 0

    def ask(missing: Sequence[int]) -> Generator[tuple[int, Reply]]:
        nonlocal too_long
        for at, reply in server_replies(server, [own[at] for at in missing], settings.max_new_tokens):
            if reply is None:
                too_long += 1
            else:
                yield at, reply

    found = _answered(settings, (digest, how), asked, texts, ask, server.model, say)
    if too_long:
        fix = "start it with a longer one, or lower eval.max_new_tokens"
        say(f"note       no reply to {too_long:,} of {len(asked):,} prompts: too long for the server's context ({fix})")
    return found


def _answered(
    settings: Evaluation,
    keys: tuple[str, str],
    asked: Sequence[int],
    texts: Sequence[str],
    ask: Callable[[Sequence[int]], Generator[tuple[int, Reply]]],
    name: str,
    say: Say,
) -> dict[int, Reply]:
    """Replies that are kept from before, and those of `ask` for what is missing, kept as they come."""
    began = time.perf_counter()
    with kept_generations(settings.paths.pools, *keys) as kept:
        found = kept.of(texts)
        missing = [at for at in range(len(texts)) if at not in found]
        with closing(kept.take([texts[at] for at in missing], ask(missing))) as fresh:
            for at, reply in _progress(fresh, len(missing), f"replies {name}"):
                found[missing[at]] = reply
    spent = time.perf_counter() - began
    fresh_ones = [found[at] for at in missing if at in found]
    made = sum(reply.tokens or 0 for reply in fresh_ones)
    speed = f", {made:,} tokens in {spent:.0f} s: {made / spent:.0f} tokens/s" if missing else ""
    say(f"replies    {name:<6} {len(fresh_ones):,} generated, {len(texts) - len(missing):,} kept from before{speed}")
    return {asked[at]: reply for at, reply in found.items()}


def _progress(items: Iterator[Any], total: int, what: str) -> Iterator[Any]:
    return iter(tqdm(items, total=total, desc=what, unit="reply", disable=None, leave=False, file=sys.stderr, delay=2))
