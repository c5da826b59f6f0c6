"""Talking with a tuned model, token by token, and with the base model that it was made of."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import TemplateError
from pipeline.render.renderer import Renderer
from train.adapted import find_base, load_adapted
from train.device import BYTES, Device, choose, look
from train.generate import Message
from train.model import load_tokenizer
from train.run import Run
from train.settings import Hardware

Say = Callable[[str], None]
Write = Callable[[str], None]
HELP = """\
/base    the base model answers, as it was before the training
/tuned   the tuned model answers
/reset   begin a new conversation
/help    this
/quit    end, as ctrl-D does; ctrl-C stops an answer"""
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
            with torch.inference_mode(), nullcontext() if tuned else self.model.disable_adapter():
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


class Conversation:
    """What was said so far, and who answers next."""

    def __init__(self, speaker: Speaker, renderer: Renderer, system: str | None) -> None:
        self.speaker, self.renderer = speaker, renderer
        self.system: list[Message] = [] if system is None else [{"role": "system", "content": system}]
        self.messages: list[Message] = []
        self.tuned = True

    @property
    def who(self) -> str:
        """Who answers."""
        return "tuned" if self.tuned else "base"

    def reset(self) -> None:
        """Forget what was said."""
        self.messages = []

    def ask(self, text: str, write: Write) -> Answer:
        """Put a question after what was said, and note the answer. Raises: TemplateError if there is no way to."""
        messages = [*self.messages, {"role": "user", "content": text}]
        found = self.speaker.answer(self._prompt(messages), self.tuned, write)
        self.messages = [*messages, {"role": "assistant", "content": found.text.strip()}]
        return found

    def _prompt(self, messages: Sequence[Message]) -> str:
        where = f"template {self.renderer.template.name}"
        row = {"messages": [*self.system, *messages], "tools": None, "meta": None, "prompt": True}
        found = self.renderer.rows([row])[0]
        if "error" in found:
            raise TemplateError(where, f"refuses this conversation ({found['error']})", "begin a new one: /reset")
        tokens = len(self.speaker.tokenizer(found["text"], add_special_tokens=False)["input_ids"])
        if tokens >= self.speaker.room:
            what = f"the conversation has {tokens:,} tokens, the model has room for {self.speaker.room:,}"
            raise TemplateError(where, what, "begin a new one: /reset")
        return found["text"]


@contextmanager
def opened(renderer: Renderer) -> Generator[Renderer]:
    """The sandbox of a template, up and untouched by ctrl-C, which the terminal sends to every process behind it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a new process keeps what is ignored
    try:
        renderer.start()
    finally:
        signal.signal(signal.SIGINT, before)
    with renderer:
        renderer.about()
        yield renderer


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


def ask_all(conversation: Conversation, questions: Sequence[str], write: Write, say: Say) -> None:
    """Put each question by itself, and say it before its answer."""
    for question in questions:
        conversation.reset()
        say(f"> {question}")
        _answered(conversation, question, write, say)
    conversation.reset()


def talk(conversation: Conversation, lines: Iterable[str], write: Write, say: Say) -> None:
    """Answer each line, or do what it says, until there are no more."""
    for line in lines:
        command = line.strip()
        if command == "/quit":
            break
        if command in ("/base", "/tuned"):
            conversation.tuned = command == "/tuned"
            say(f"({conversation.who} answers)")
        elif command == "/reset":
            conversation.reset()
            say("(a new conversation)")
        elif command == "/help":
            say(HELP)
        elif command.startswith("/") and command[1:].isalpha():
            say(f"({command} is none of /base, /tuned, /reset, /help, /quit)")
        elif command:
            _answered(conversation, line.rstrip("\r\n"), write, say)


def _answered(conversation: Conversation, question: str, write: Write, say: Say) -> None:
    try:
        found = conversation.ask(question, write)
    except TemplateError as error:
        say(str(error))
        return
    write("\n")
    say(f"({found.line(conversation.who)})")


def typed_lines(say: Say) -> Iterator[str]:
    """The lines of a terminal, which can be edited; ctrl-C takes one back, ctrl-D ends."""
    try:
        import readline  # noqa: F401  # pyright: ignore[reportUnusedImport]  input() uses it once it is imported
    except ImportError:
        say("(no readline here: lines cannot be edited)")
    while True:
        try:
            if sys.stdout.isatty():
                yield input("> ")
            elif line := sys.stdin.readline():
                yield line.rstrip("\n")
            else:
                return
        except KeyboardInterrupt:
            say("\n(/quit or ctrl-D ends)")
        except EOFError:
            say("")
            return
