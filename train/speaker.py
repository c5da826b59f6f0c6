"""A tuned model that answers token by token, its text written as it comes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from train.adapted import find_base, load_adapted, merged
from train.device import BYTES, Device, choose, look
from train.model import load_tokenizer
from train.run import Run
from train.settings import Hardware

Say = Callable[[str], None]
Write = Callable[[str], None]
_SHARE = 0.6  # of the memory, for the weights alone
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # stands at the end of a text while a character lacks bytes


@dataclass(frozen=True)
class Answer:
    """What a model said, in how many tokens and seconds; `stopped` by the user."""

    text: str
    tokens: int
    seconds: float
    stopped: bool

    def line(self, who: str) -> str:
        """`tuned · 57 tokens · 9.1 tokens/s`."""
        parts = [who, f"{self.tokens:,} tokens", f"{self.tokens / max(self.seconds, 1e-9):.1f} tokens/s"]
        return " · ".join([*parts, *(["stopped"] if self.stopped else [])])


@dataclass(frozen=True)
class Speaker:
    """A base model with its adapter, and how it answers: `ends` are the ids that end an answer.

    `room` is how many tokens the model can see; `temperature` of 0 takes the likeliest token each time.
    """

    model: Any
    tokenizer: Any
    ends: Sequence[int]
    room: int
    max_new_tokens: int
    temperature: float

    def answer(self, prompt: str, tuned: bool, write: Write) -> Answer:
        """The answer to a rendered prompt, its text written as it comes; ctrl-C stops it."""
        import torch

        ids = torch.tensor([self.tokenizer(prompt, add_special_tokens=False)["input_ids"]], device=self.model.device)
        stream = Stream(self.tokenizer, self.ends, write)
        greedy = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        drawn = {"do_sample": True, "temperature": self.temperature, "top_p": 1.0, "top_k": 0}
        pad = self.tokenizer.pad_token_id
        began, stopped = time.perf_counter(), False
        try:
            as_base = nullcontext() if tuned else self.model.disable_adapter()
            with as_base, merged(self.model), torch.inference_mode():
                self.model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=self.max_new_tokens,
                    use_cache=True,
                    pad_token_id=pad if pad is not None else self.ends[0],
                    eos_token_id=list(self.ends),
                    streamer=stream,
                    **(drawn if self.temperature > 0 else greedy),
                )
        except KeyboardInterrupt:
            stopped = True
        stream.finish()
        return Answer(stream.text, stream.count, time.perf_counter() - began, stopped)


class Stream:
    """Takes the tokens of an answer as `generate` makes them, and writes its text; `count` has the end token, too.

    What a token is as text depends on those before it, so the last ones written are decoded again with those that are
    new. A character is written when all of its bytes are there.
    """

    def __init__(self, tokenizer: Any, ends: Sequence[int], write: Write) -> None:
        self.tokenizer, self.ends, self.write = tokenizer, set(ends), write
        self.text, self.count = "", 0
        self._ids: list[int] = []
        self._again = self._written = 0  # the ids that are decoded again begin here, and end here
        self._prompt = True

    def put(self, value: Any) -> None:
        """A tensor of ids: first those of the prompt, then one at a time."""
        if self._prompt:
            self._prompt = False
            return
        for token in value.flatten().tolist():
            self.count += 1
            if token not in self.ends:
                self._ids.append(token)
                self._flush(final=False)

    def end(self) -> None:
        """Nothing more comes."""

    def finish(self) -> None:
        """Write what was held back."""
        self._flush(final=True)

    def _flush(self, final: bool) -> None:
        before = self._decoded(self._ids[self._again : self._written])
        now = self._decoded(self._ids[self._again :])
        if len(now) <= len(before) or (now.endswith(_UNFINISHED) and not final):
            return
        self._again, self._written = self._written, len(self._ids)
        self.text += now[len(before) :]
        self.write(now[len(before) :])

    def _decoded(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)


def open_speaker(
    run: Run, device: Device, base: Path | None, max_new_tokens: int, temperature: float, say: Say
) -> Speaker:
    """The model of a run, ready to answer. Raises: StoreError without an adapter; ConfigError without a base model."""
    adapter = run.require_adapter()
    model = load_adapted(find_base(run, say, base), adapter, device)
    ends = json.loads((adapter / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    room = model.config.get_text_config().max_position_embeddings
    return Speaker(model, load_tokenizer(adapter), ends, room, max_new_tokens, temperature)


def choose_device(run: Run, device: str, dtype: str, quant: str) -> Device:
    """What to answer on; a quantization of `auto` is that of the training, on a card. Raises: ConfigError.

    Token by token a processor is faster in fp32, where there is room for it (13 against 2 tokens a second were measured
    on one that trains faster in bf16).
    """
    machine = look(device)
    wanted = run.manifest["device"]["quant"] if machine.cuda else "none"
    found = choose(Hardware(device, dtype, wanted if quant == "auto" else quant, "sdpa", "auto", False), machine)
    fits = run.manifest["model"]["parameters"] * BYTES["fp32"] < _SHARE * found.memory
    return replace(found, dtype="fp32") if dtype == "auto" and found.kind == "cpu" and fits else found
