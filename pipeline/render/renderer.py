"""The parent's side of the sandbox: starts it, asks it, and ends it when it takes too long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from pipeline.errors import TemplateError
from pipeline.render.template import Template

# Seconds for one answer. Starting imports transformers; a hundred rows take some milliseconds.
_START_SECONDS, _ANSWER_SECONDS = 120.0, 20.0
_ROWS = 100  # asked for at once
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONUTF8": "1",
}


class Renderer(AbstractContextManager["Renderer"]):
    """A template in its sandbox, which starts at the first question, or before, with `start`. Threads may share it.

    Raises (at the first question): TemplateError if the template is not valid Jinja.
    """

    def __init__(self, template: Template) -> None:
        self.template = template
        self._lock = threading.Lock()
        self._about: dict[str, Any] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the sandbox, if it has not been started."""
        if self._process is not None:
            return
        keep = {name: value for name, value in os.environ.items() if not _is_secret(name)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.render.sandbox"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=keep | _ENVIRONMENT,
        )
        self._send({"template": self.template.text, "variables": dict(self.template.variables)})

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:  # what was still to be sent
                    continue

    def about(self) -> dict[str, Any]:
        """`marked`: it has generation blocks; `outlined`: forms may be outlined; `reads_meta`: it uses `meta`."""
        with self._lock:
            return self._ready()

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
        with self._lock:
            self._ready()
            self._send({"do": do, "what": what})
            return self._receive(_ANSWER_SECONDS)

    def _ready(self) -> dict[str, Any]:
        if self._about is not None:
            return self._about
        self.start()
        about: dict[str, Any] = self._receive(_START_SECONDS)
        if "error" in about:
            raise TemplateError(f"template {self.template.name}", about["error"], "mend the template")
        self._about = about
        return about

    def _send(self, value: Any) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(json.dumps(value).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._refusal("it ended the process it ran in") from error

    def _receive(self, seconds: float) -> Any:
        if self._process is None or self._process.stdout is None:
            return None
        alarm = threading.Timer(seconds, self._process.kill)
        alarm.start()
        line = self._process.stdout.readline()
        late = not alarm.is_alive()
        alarm.cancel()
        if not line.endswith(b"\n"):
            what = f"it took more than {seconds:g} seconds" if late else "it ended the process it ran in"
            raise self._refusal(what)
        return json.loads(line)

    def _refusal(self, what: str) -> TemplateError:
        return TemplateError(f"template {self.template.name}", what, "use one that only writes out the messages")


def _is_secret(name: str) -> bool:
    return any(word in name.upper() for word in ("TOKEN", "SECRET", "PASSWORD", "KEY", "CREDENTIAL"))
