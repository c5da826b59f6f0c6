"""Strict JSON, and what a JSON Schema says of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import lru_cache
from typing import Any

# RFC 8259 lets a reader limit both (section 9): levels of nesting, and digits of one number (Python's own limit).
MAX_DEPTH, MAX_DIGITS = 100, 4300
# One that is never closed reaches to the end, so that nothing is looked through twice.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class NotJsonError(ValueError):
    """Text that is not one JSON value: a snake_case reason, and what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class SchemaFaultError(ValueError):
    """A schema that says nothing: it is none, or refers to another that is not there."""


def strict_json(text: str) -> Any:
    """The value of text that is exactly one JSON value (RFC 8259), white space around it allowed.

    Refused beyond what the grammar refuses (NaN and Infinity are not in it): names twice in one object and lone
    surrogates, because readers differ in what they make of them (RFC 7493); more than `MAX_DEPTH` levels; integers of
    more than `MAX_DIGITS` digits. Raises: NotJsonError `not_json`, `text_after`, `nan`, `duplicate_key`, `surrogate`,
    `too_deep`, `too_many_digits`.
    """
    if _deep(text):
        raise NotJsonError("too_deep", f"more than {MAX_DEPTH} levels of nesting")
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer)
        if not text.isascii() or _SURROGATE.search(text):
            json.dumps([text, value], ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        reason = "text_after" if error.msg == "Extra data" else "not_json"
        raise NotJsonError(reason, f"{error.msg} at character {error.pos:,}") from error
    except UnicodeEncodeError as error:
        raise NotJsonError("surrogate", "half of a surrogate pair") from error
    return value


def _deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for mark in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if mark in "[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise NotJsonError("duplicate_key", f"{twice[:80]!r} twice in one object")
    return value


def _constant(name: str) -> Any:
    raise NotJsonError("nan", f"{name} is no JSON")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise NotJsonError("too_many_digits", f"a number of {len(digits):,} digits")
    return int(digits)


def violation(value: Any, schema: Any) -> str | None:
    """Where and how a value breaks a JSON Schema, None if it conforms.

    The draft is the one that `$schema` names, 2020-12 where it names none; `format` is a note, as it is there. Nothing
    is fetched: a reference reaches the schema itself and the drafts' own. Raises: SchemaFaultError.
    """
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        error = best_match(_validator(json.dumps(schema)).iter_errors(value))
    except Unresolvable as fault:  # one that is made up on the way
        raise _dangling(fault) from fault
    return None if error is None else f"{error.json_path}: {error.message}"[:300]


def require_schema(schema: Any) -> None:
    """Raises: SchemaFaultError if it is no schema of its draft, or a reference in it leads nowhere."""
    _validator(json.dumps(schema))


@lru_cache(maxsize=4096)
def _validator(schema_text: str) -> Any:
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.validators import validator_for
    from jsonschema_specifications import REGISTRY
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012, specification_with

    schema = json.loads(schema_text)
    if not isinstance(schema, dict | bool):
        raise SchemaFaultError(f"it must be an object, not {type(schema).__name__}")
    kind: Any = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
        draft = specification_with(kind.META_SCHEMA.get("$schema", ""), default=DRAFT202012)
        resource: Any = draft.create_resource(schema)
        _follow(REGISTRY.resolver_with_root(resource), resource)
    except SchemaError as error:
        raise SchemaFaultError(f"{error.json_path}: {error.message}"[:300]) from error
    except Unresolvable as fault:
        raise _dangling(fault) from fault
    return kind(schema, registry=REGISTRY)


def _follow(resolver: Any, resource: Any) -> None:
    contents = resource.contents
    if isinstance(contents, dict) and isinstance(contents.get("$ref"), str):  # type: ignore[reportUnknownMemberType]
        resolver.lookup(contents["$ref"])
    for part in resource.subresources():
        _follow(resolver.in_subresource(part), part)


def _dangling(fault: Any) -> SchemaFaultError:
    return SchemaFaultError(f"it refers to {fault.ref}, which is not there")
