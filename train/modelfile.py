"""A chat template in the language of Ollama's templates, found by asking the template itself.

Ollama does not read Jinja. A template that writes plain turns one after the other consists of six pieces of text around
them; these are taken from what the Jinja template makes of a conversation, put into a template of Go's `text/template`,
and tried on other conversations. What tools, reasoning and blank edges of texts become is not told by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import TemplateError

Message = Mapping[str, str]
Render = Callable[[Sequence[Message]], str]

_SYSTEM = {"role": "system", "content": "poolmix-system"}
_ASKED = [{"role": "user", "content": f"poolmix-question-{number}"} for number in (1, 2, 3)]
_ANSWERED = [{"role": "assistant", "content": f"poolmix-answer-{number}"} for number in (1, 2)]
_TALK = [_ASKED[0], _ANSWERED[0], _ASKED[1], _ANSWERED[1], _ASKED[2]]
_FIX = "serve the run by a program that reads Jinja (llama.cpp, vLLM): export to=gguf or to=hub_folder"


@dataclass(frozen=True)
class Turns:
    """The text before a first question (without a system text: `start`), between question and answer, between answer
    and question, and after the last question, where the model begins."""

    start: str
    before_system: str
    after_system: str
    answer: str
    question: str
    end: str

    def text(self, messages: Sequence[Message]) -> str:
        """A conversation that ends with a question, its turns alternating after the system text if there is one."""
        system = messages[0]["content"] if messages[0]["role"] == "system" else ""
        text = self.before_system + system + self.after_system if system else self.start
        turns = [message for message in messages if message["role"] != "system"]
        for at, message in enumerate(turns):
            after = self.question if message["role"] == "assistant" else self.answer
            text += message["content"] + (after if at < len(turns) - 1 else self.end)
        return text


def find_turns(name: str, render: Render) -> Turns:
    """The pieces of a template called `name`; `render` gives the text that asks a model to answer a conversation.

    Raises: TemplateError if the template does not write plain turns one after the other.
    """
    start, answer, question, _, _, end = _between(name, render(_TALK), _TALK)
    before, after = _between(name, render([_SYSTEM, _TALK[0]]), [_SYSTEM, _TALK[0]])[:2]
    turns = Turns(start, before, after, answer, question, end)
    for messages in (_TALK, [_SYSTEM, *_TALK], _TALK[:1], [_SYSTEM, *_TALK[:3]], _unlike()):
        if turns.text(messages) != render(messages):
            what = "does more than to write turns one after the other, which is all that Ollama's templates can"
            raise TemplateError(f"template {name}", what, _FIX)
    for piece in vars(turns).values():
        if '"""' in piece or not piece.replace("\n", "").replace("\t", "").isprintable():
            raise TemplateError(f"template {name}", f"has signs that a Modelfile cannot hold ({piece!r})", _FIX)
    return turns


def _unlike() -> list[Message]:
    """Texts of several lines, with signs that a template or a template's template may stumble over."""
    system = {"role": "system", "content": "Be brief.\n\nUse {{ braces }} and <tags>."}
    question = {"role": "user", "content": "一加一？ \"quoted\" 'single' {% raw %} \\n 👩‍🔧"}
    answer = {"role": "assistant", "content": "Two:\n\n```\n1 + 1\n```\nDone."}
    return [system, question, answer, {"role": "user", "content": "Thanks"}]


def _between(name: str, text: str, messages: Sequence[Message]) -> list[str]:
    """What stands before, between and after the messages' contents in a text. Raises: TemplateError."""
    pieces: list[str] = []
    rest = text
    for message in messages:
        before, found, rest = rest.partition(message["content"])
        if not found:
            what = f"leaves out or moves the text of a turn ({message['role']})"
            raise TemplateError(f"template {name}", what, _FIX)
        pieces.append(before)
    return [*pieces, rest]


def go_template(turns: Turns) -> str:
    """The pieces as Ollama's template: `.System` is all system texts, `.Messages` has them, too.

    Where a conversation ends with an answer, the model goes on with it.
    """
    start, before, after, answer, question, end = map(_literal, vars(turns).values())
    more = "gt (len (slice $.Messages $i)) 1"  # messages follow
    asked = answer if answer == end else f"{{{{ if {more} }}}}{answer}{{{{ else }}}}{end}{{{{ end }}}}"
    return (
        f"{{{{ if .System }}}}{before}{{{{ .System }}}}{after}{{{{ else }}}}{start}{{{{ end }}}}"
        f'{{{{ range $i, $_ := .Messages }}}}{{{{ if eq .Role "user" }}}}{{{{ .Content }}}}{asked}'
        f'{{{{ else if eq .Role "assistant" }}}}{{{{ .Content }}}}{{{{ if {more} }}}}{question}{{{{ end }}}}'
        "{{ end }}{{ end }}"
    )


def _literal(text: str) -> str:
    """Text in a template of Go's, where only two opening braces mean something."""
    return text.replace("{{", '{{ "{{" }}')


def modelfile(source: str, turns: Turns, stops: Sequence[str]) -> str:
    """A Modelfile for a model at `source`, relative to it, that answers greedily and ends at `stops`."""
    lines = [
        "# ollama create NAME -f Modelfile",
        f"FROM {source}",
        f'TEMPLATE """{go_template(turns)}"""',
        *(f'PARAMETER stop "{stop}"' for stop in stops),
        "PARAMETER temperature 0",
        "# Ollama may lower the odds of what was said already, which greedy decoding elsewhere does not.",
        "PARAMETER repeat_penalty 1",
    ]
    return "\n".join(lines) + "\n"
