"""Talking with a tuned model, token by token, and with the base model that it was made of."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager

from pipeline.errors import TemplateError
from pipeline.render.renderer import Renderer
from train.generate import Message
from train.speaker import Answer, Speaker, Write

Say = Callable[[str], None]
HELP = """\
/base    the base model answers, as it was before the training
/tuned   the tuned model answers
/reset   begin a new conversation
/help    this
/quit    end, as ctrl-D does; ctrl-C stops an answer"""


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
