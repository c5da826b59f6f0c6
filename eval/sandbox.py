"""The process in which replies meet the libraries that judge them: `python -m eval.sandbox`, spoken to by `judge.py`.

A reply is the work of a model, and a schema that of a data set: neither knows limits. jsonschema, json-repair and
math-verify run here, within limits of memory and processor time (set here) and of time (kept by the parent). Requests
and answers are lines of JSON.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable
from typing import Any

from eval.schemas import NotJsonError, SchemaFaultError, require_schema, strict_json, violation
from pipeline.child import answer, confine, first_line

_MEMORY_BYTES = 2 << 30
_FRAMES = 10_000  # as many levels as JSON may have take some frames each in a schema that refers to itself
_Parsed = list[Any]


def conform(text: str | None, schema: Any) -> dict[str, Any]:
    """Strict JSON text and a schema → `violation`, null if there is none; or `fault`, what is wrong with the schema.

    No text at all breaks any schema that is one.
    """
    try:
        require_schema(schema)
        return {"violation": "nothing" if text is None else violation(strict_json(text), schema)}
    except SchemaFaultError as error:
        return {"fault": str(error)}


def repair(text: str) -> dict[str, Any]:
    """Text → `json` that json-repair makes of it, null where it finds nothing or what it makes is none, too.

    `skip_json_loads`: Python's own reader, which it would try first, takes NaN.
    """
    from json_repair import loads

    try:
        value: Any = loads(text, skip_json_loads=True)
        if value in ("", [], {}) and text.strip() not in ('""', "[]", "{}"):
            return {"json": None}
        found = json.dumps(value, ensure_ascii=False, allow_nan=False)
        strict_json(found)
    except (ValueError, NotJsonError, RecursionError):
        return {"json": None}
    return {"json": found}


def same(gold: str, found: str) -> dict[str, Any]:
    """Two expressions in LaTeX → whether they are `equal` as math-verify sees it, and what it `read`."""
    from math_verify import verify

    read = [_expression(text) for text in (gold, found)]
    return {
        "equal": all(read) and bool(verify(read[0], read[1], timeout_seconds=None)),
        "read": [str(parts[0])[:200] if parts else None for parts in read],
    }


def _expression(text: str) -> _Parsed:
    from math_verify import LatexExtractionConfig, parse

    return parse(f"${text}$", [LatexExtractionConfig()], parsing_timeout=None)  # type: ignore[arg-type]


def _limit_processor(seconds: int) -> None:
    """End with the next `seconds` of processor time, should the parent be gone that would see to it."""
    if sys.platform == "linux":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + seconds, most))


def answered(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request; `undecided` with what a library ran into, or `missing`, its name."""
    answers: dict[str, Callable[..., dict[str, Any]]] = {"conform": conform, "repair": repair, "same": same}
    try:
        return answers[request["do"]](**request["what"])
    except ImportError as error:
        return {"missing": error.name}
    except Exception as error:  # whatever it may be, it comes from the reply or from the schema
        return {"undecided": f"{type(error).__name__}: {error}"[:300]}


def main() -> None:
    """Answer requests until there are no more."""
    seconds = first_line()["seconds"]
    logging.disable()
    sys.setrecursionlimit(_FRAMES)
    confine(_MEMORY_BYTES)
    answer({})
    for line in sys.stdin:
        request = json.loads(line)
        _limit_processor(2 * seconds)
        answer(answered(request))


if __name__ == "__main__":
    main()
