"""Override values as people type them, put into the form that Hydra's grammar reads as the same value.

Hydra's grammar knows ASCII letters and a few signs; what else a value may hold must be quoted for it,
inside the quotes of the shell. Here a value keeps its meaning where Hydra finds a number, a truth value,
null, a quoted string, a list, a dict, a function or an interpolation, and is otherwise the text itself,
character for character: `path=数据/a (1),b=c.json`, `path=\\\\host\\share`.
"""

from __future__ import annotations

import functools
import re
from typing import Any

# Hydra reads these as they stand; most overrides are of this kind and need no parser.
_PLAIN = re.compile(r"[~+]{0,2}[A-Za-z_][\w./@-]*=[\w./:%+-]*", re.ASCII)
_CALL = re.compile(r"\s*[A-Za-z_][\w-]*(\s*)\(", re.ASCII)
_QUOTED = re.compile(r"""(['"])(?:\\.|(?!\1)[^\\])*\1(?=\s*(?:[],:)}]|\Z))""", re.DOTALL)
_ESCAPE = re.compile(r"\\([\\()\[\]{}:=, \t])")  # Hydra's escapes in a string without quotes
_DICT_KEY = re.compile(r"\s*[\w./$-]+\s*", re.ASCII)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


class UnreadableError(Exception):
    """Hydra's grammar does not accept the text."""


def hydra_form(override: str, sweep: bool) -> str:
    """The override with its value as Hydra must see it. Keys are left as they are.

    In a sweep the commas outside quotes and brackets separate values, a backslash before a comma keeps
    it; otherwise a comma belongs to the text.
    """
    key, equals, value = override.partition("=")
    if not equals or _PLAIN.fullmatch(override):
        return override
    values = split_commas(value) if sweep else None
    if values and len(values) > 1:
        texts = [text.strip().replace("\\,", ",") for text in values]
        return f"{key}={','.join(_hydra_value(text, sweep) if text else '' for text in texts)}"
    return f"{key}={_hydra_value(value, sweep)}"


def typed_form(form: str) -> str:
    """The override as a person would type it for a single job: without Hydra's quotes where they can go."""
    key, equals, value = form.partition("=")
    if not equals or _PLAIN.fullmatch(form):
        return form
    text = parse(value).value()
    plain = isinstance(text, str) and _read_back(text) == text
    return f"{key}={text}" if plain else form


def _read_back(text: str) -> Any:
    return parse(_hydra_value(text, sweep=False)).value()


def quote(text: str) -> str:
    """A string literal of Hydra's grammar that reads as exactly `text`."""
    # A backslash is itself, unless backslashes stand before a quote: then each one must be doubled.
    return "'" + re.sub(r"(\\*)('|\Z)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text) + "'"


def parse(value: str) -> Any:
    """Hydra's `Override` for a value. Raises: UnreadableError."""
    from hydra.errors import HydraException

    try:
        return _parser().parse_override(f"key={value}")
    except (HydraException, ValueError) as error:
        raise UnreadableError(str(error)) from error


def is_sweep(form: str) -> bool:
    """Whether Hydra would read the override as several values. False where it cannot read it at all."""
    if _PLAIN.fullmatch(form):
        return False
    try:
        return parse(form.partition("=")[2]).is_sweep_override()
    except UnreadableError:
        return False


@functools.cache
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def _hydra_value(text: str, sweep: bool) -> str:
    call = _CALL.match(text)
    try:
        parsed = parse(text)
    except UnreadableError:
        return _container(text) or quote(text)
    if call:  # `int(3)` is a function, `int (3)` a file name
        return quote(text) if call[1] else text
    if parsed.value_type.name == "SIMPLE_CHOICE_SWEEP":
        return quote(text)
    if isinstance(parsed.value(), str) and text.lstrip()[:1] not in ("'", '"'):
        # The sweeper writes such strings out again with escapes, which a pasted command must not have.
        changed = parsed.value() != text or (sweep and any(sign in text for sign in "\\()[]{}:=, \t"))
        return quote(text) if changed else text
    return text


def _container(text: str) -> str | None:
    """A list or dict that Hydra cannot read, with its strings quoted; None if it is no list or dict."""
    text = text.strip()
    if len(text) < 2 or text[0] not in "[{" or text[-1] != _CLOSING[text[0]]:
        return None
    items = split_commas(text[1:-1])
    if items is None:
        return None
    inside: list[str] = []
    for item in items:
        key, colon, value = item.partition(":") if text[0] == "{" else ("", "", item)
        if text[0] == "{" and not (colon and _DICT_KEY.fullmatch(key)):
            return None
        if not value.strip():
            return None
        inside.append(key + colon + _item(value.strip()))
    return text[0] + ",".join(inside) + text[-1]


def _item(text: str) -> str:
    try:
        parse(text)
    except UnreadableError:
        return _container(text) or quote(_ESCAPE.sub(r"\1", text))
    return text


def split_commas(text: str) -> list[str] | None:
    """Cut at the commas outside quotes and brackets; None where a bracket has no partner.

    A quote opens a string only at the start of a value, so `it's, fine` has two parts.
    """
    parts, open_brackets, start, position, fresh = [""], "", 0, 0, True
    while position < len(text):
        sign = text[position]
        if skip := (fresh and _QUOTED.match(text, position)) or _ESCAPE.match(text, position):
            position, fresh = skip.end(), False
            continue
        if sign in _CLOSING:
            open_brackets += sign
        elif open_brackets and sign == _CLOSING[open_brackets[-1]]:
            open_brackets = open_brackets[:-1]
        elif sign in "]}":
            return None
        elif sign == "," and not open_brackets:
            parts[-1] = text[start:position]
            parts.append("")
            start = position + 1
        fresh = sign in ",:[{( \t" and (fresh or sign not in " \t")
        position += 1
    parts[-1] = text[start:]
    return None if open_brackets else parts


class Override:
    """An override as typed, and the forms of it that Hydra is to read: in a sweep one for each value."""

    def __init__(self, typed: str, form: str) -> None:
        self.typed = typed
        self.name, _, self.text = form.partition("=")
        self.sign = self.name[: len(self.name) - len(self.name.lstrip("~+"))]
        self.key = self.name[len(self.sign) :]
        self.group = self.key.partition("@")[0]
        self.value, self.forms = _readings(self.name, self.text, form)


def _readings(name: str, text: str, form: str) -> tuple[Any, list[str]]:
    try:
        parsed = parse(text)
    except UnreadableError:
        return None, [form]
    if parsed.is_discrete_sweep() and parsed.value_type.name != "GLOB_CHOICE_SWEEP":
        return list(parsed.sweep_iterator()), [f"{name}={value}" for value in parsed.sweep_string_iterator()]
    return parsed.value(), [form]
