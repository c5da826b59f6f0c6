"""The parent's side of the sandbox: asks it, and ends it when it takes too long."""

from __future__ import annotations

import atexit
import threading
from typing import Any

from pipeline.child import Child, EndedError
from pipeline.errors import ConfigError

# Seconds for one answer (usually a thousandth of one), and for the start.
_SECONDS, _START_SECONDS = 5.0, 120.0


class UndecidedError(Exception):
    """What was asked took more time or memory than any reply is worth, or was too much for the library that judges."""


class Judge:
    """The libraries that judge replies, in a process of their own: what a model writes can keep them busy for hours.

    It starts at the first question, and again after one that it did not survive. Threads may share it.
    """

    def __init__(self) -> None:
        self._child: Child | None = None
        self._lock = threading.Lock()

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        """The answer of a function of `eval.sandbox`. Raises: UndecidedError; ConfigError if its library is missing."""
        child = self._started()
        try:
            found = child.ask({"do": do, "what": what}, _SECONDS)
        except EndedError as error:
            with self._lock:
                if self._child is child:
                    self._child = None
            child.close()
            raise UndecidedError(str(error)) from error
        if "missing" in found:
            raise ConfigError("eval.metrics", f"{found['missing']} is not installed", "make setup-train")
        if "undecided" in found:
            raise UndecidedError(found["undecided"])
        return found

    def close(self) -> None:
        """End the process."""
        with self._lock:
            if self._child is not None:
                self._child.close()
            self._child = None

    def _started(self) -> Child:
        with self._lock:
            if self._child is None:
                child = Child("eval.sandbox", {"seconds": int(_SECONDS)})
                child.ask(None, _START_SECONDS)
                self._child = child
            return self._child


JUDGE = Judge()
atexit.register(JUDGE.close)


def conforming(text: str | None, schema: Any, notes: dict[str, Any]) -> bool | None:
    """Whether strict JSON text conforms to a schema; None if the schema is none, False for no text at all.

    Adds to the notes: `violation` (where and how), `schema` (what is wrong with it), `undecided`.
    """
    try:
        found = JUDGE.ask("conform", text=text, schema=schema)
    except UndecidedError as error:
        notes["undecided"] = str(error)
        return False
    if "fault" in found:
        notes["schema"] = found["fault"]
        return None
    if text is not None and found["violation"] is not None:
        notes["violation"] = found["violation"]
    return found["violation"] is None
