"""The parent's side of the sandbox: asks it, and ends it when it takes too long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

from pipeline.child import Child, EndedError
from pipeline.errors import TemplateError
from pipeline.render.template import Template

# Seconds for one answer. Starting imports transformers; a hundred rows take some milliseconds.
_START_SECONDS, _ANSWER_SECONDS = 120.0, 20.0
_ROWS = 100  # asked for at once
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "OPENBLAS_NUM_THREADS": "1"}


class Renderer(AbstractContextManager["Renderer"]):
    """A template in its sandbox, which starts at the first question, or before, with `start`. Threads may share it.

    Raises (at the first question): TemplateError if the template is not valid Jinja.
    """

    def __init__(self, template: Template) -> None:
        self.template = template
        first = {"template": template.text, "variables": dict(template.variables)}
        self._child = Child("pipeline.render.sandbox", first, _ENVIRONMENT)

    def start(self) -> None:
        """Start the sandbox, if it has not been started."""
        self._child.start()

    def close(self) -> None:
        """End the sandbox."""
        self._child.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def _about(self) -> dict[str, Any]:
        self._answer(None, _START_SECONDS)  # it is up
        about: dict[str, Any] = self._answer(None, _ANSWER_SECONDS)  # and has compiled the template
        if "error" in about:
            raise TemplateError(f"template {self.template.name}", about["error"], "mend the template")
        return about

    def about(self) -> dict[str, Any]:
        """`marked`: it has generation blocks; `outlined`: forms may be outlined; `reads_meta`: it uses `meta`."""
        return self._about

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Conversations (`messages`, `tools`, `meta`, `prompt`: end with the generation prompt), one by one.

        Each becomes `text` and `blocks` (character ranges), or `error`. Raises: TemplateError if the template takes
        more time or memory than any template needs.
        """
        found: list[dict[str, Any]] = []
        for start in range(0, len(rows), _ROWS):
            found += self._ask("rows", list(rows[start : start + _ROWS]))
        for answer in found:
            if answer.get("limit"):
                raise self._refusal(answer["error"])
        return found

    def outline(self, messages: Sequence[Mapping[str, Any]], meta: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """See `pipeline.render.outline`."""
        return self._ask("outline", {"messages": list(messages), "meta": meta})

    def _ask(self, do: str, what: Any) -> Any:
        self.about()
        return self._answer({"do": do, "what": what}, _ANSWER_SECONDS)

    def _answer(self, question: Any, seconds: float) -> Any:
        try:
            return self._child.ask(question, seconds)
        except EndedError as error:
            raise self._refusal(str(error)) from error

    def _refusal(self, what: str) -> TemplateError:
        return TemplateError(f"template {self.template.name}", what, "use one that only writes out the messages")
