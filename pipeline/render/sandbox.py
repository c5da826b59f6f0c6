"""The process in which chat templates run: `python -m pipeline.render.sandbox`, spoken to by `renderer.py`.

A template is a program. Those that come with a model or a file are not trusted, so all of them run here, in
transformers' sandbox, within limits of memory (set here) and time (kept by the parent). Requests and answers are
lines of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Any

from pipeline.child import answer, confine, first_line

# What a template may allocate beyond what the process has at its start, and write for one conversation.
_MEMORY_BYTES, _MOST_CHARACTERS = 1 << 30, 32 << 20
_WATCH_SECONDS = 0.5
_CHAT_TEMPLATES = "transformers.utils.chat_template_utils"
_AROUND = ("transformers", "transformers.utils")
Block = tuple[int, int]


class Sandbox:
    """One compiled template."""

    def __init__(self, text: str, variables: Mapping[str, Any]) -> None:
        from jinja2 import meta
        from transformers.utils.chat_template_utils import _compile_jinja_template  # pyright: ignore[reportPrivateUsage]

        from pipeline.render.follow import can_be_followed, generation_blocks

        self._template: Any = _compile_jinja_template(text)
        self._variables = dict(variables)
        tree: Any = self._template.environment.parse(text)
        self.marked = bool(generation_blocks(tree))
        self.outlined = can_be_followed(tree) and self.marked
        self.reads_meta = "meta" in meta.find_undeclared_variables(tree)

    def render(self, messages: list[Any], tools: list[Any] | None, meta: Any, prompt: bool) -> tuple[str, list[Block]]:
        """The text, and the generation blocks in it as character ranges.

        Raises: MemoryError for a text that is too long; UnicodeEncodeError for one that no file could hold.
        """
        pieces: list[str] = []
        blocks: list[Block] = []
        values = {**self._variables, "messages": messages, "tools": tools, "documents": None}
        values |= {"add_generation_prompt": prompt} | ({"meta": meta} if meta is not None and self.reads_meta else {})
        with self._template.environment.activate_tracker(pieces, blocks):
            pieces.extend(self._template.generate(**values))
        text = "".join(pieces)
        if len(text) > _MOST_CHARACTERS:
            raise MemoryError
        text.encode()
        return text, blocks

    def row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """One conversation rendered; an error's text where the template refuses it."""
        messages, tools, meta = row["messages"], row.get("tools"), row.get("meta")
        try:
            text, blocks = self.render(messages, tools, meta, row.get("prompt", False))
            if not self.marked and not row.get("prompt"):
                blocks = self._by_prompts(text, messages, tools, meta)
        except MemoryError:
            return {"error": "it needs too much memory", "limit": True}
        except Exception as error:  # whatever a template may run into is said of the row
            return {"error": _in_one_line(error)}
        return {"text": text, "blocks": blocks}

    def _by_prompts(self, text: str, messages: list[Any], tools: Any, meta: Any) -> list[Block]:
        """The turns of the assistant in the text of a template that does not mark them, one block a turn.

        A turn begins where the generation prompt of the messages before it ends, and ends with the last character
        that is no whitespace of the text up to it. Where either text is not how the whole begins, the turn's block
        is empty: the template writes earlier turns otherwise once others follow.
        """
        blocks: list[Block] = []
        for at, message in enumerate(messages):
            if message["role"] == "assistant":
                before, _ = self.render(messages[:at], tools, meta, True)
                after = self.render(messages[: at + 1], tools, meta, False)[0].rstrip()
                whole = text.startswith(before) and text.startswith(after) and len(before) <= len(after)
                blocks.append((len(before), len(after)) if whole else (0, 0))
        return blocks


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _import_chat_templates() -> None:
    """transformers' module of chat templates without the packages around it, which take four times as long: they look
    into every folder of transformers' models and load the client of the hub."""
    path = None
    for name in _AROUND:
        spec = PathFinder.find_spec(name, path)
        if spec is None:
            break
        sys.modules[name] = module_from_spec(spec)  # not executed
        path = spec.submodule_search_locations
    try:
        import_module(_CHAT_TEMPLATES)
    except (ImportError, AttributeError):  # another release, which needs them
        for name in [name for name in sys.modules if name.partition(".")[0] == _AROUND[0]]:
            del sys.modules[name]
        import_module(_CHAT_TEMPLATES)


def _end_with_parent() -> None:
    """End when the process that asks is gone, even in the middle of a template that never ends."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Answer requests until there are no more."""
    first = first_line()
    _import_chat_templates()  # before its memory counts as the template's

    from pipeline.render.outline import outline

    _end_with_parent()
    confine(_MEMORY_BYTES)
    answer({})
    try:
        sandbox = Sandbox(first["template"], first["variables"])
    except MemoryError:
        answer({"error": "it needs too much memory"})
        return
    except Exception as error:  # a template may run into anything while it is compiled
        answer({"error": _in_one_line(error)})
        return
    answer({"marked": sandbox.marked, "outlined": sandbox.outlined, "reads_meta": sandbox.reads_meta})
    answers: dict[str, Callable[[Any], Any]] = {
        "rows": lambda rows: [sandbox.row(row) for row in rows],
        "outline": lambda form: outline(sandbox.render, form["messages"], form["meta"]),
    }
    for line in sys.stdin:
        request = json.loads(line)
        answer(answers[request["do"]](request["what"]))


if __name__ == "__main__":
    main()
