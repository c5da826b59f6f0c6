"""What `${…}` may be in a configuration: the name of another setting, and nothing else.

OmegaConf's resolvers (`${oc.env:NAME}` and the like) are refused, all of them: what they bring along, a secret of the
environment perhaps, would be written into manifests. What is named is followed here before OmegaConf does it, which
computes a setting again for each time it is named: names of names of names would cost more than any machine has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import ConfigError

MOST_CHARACTERS = 1_000_000  # of all settings together, as they are written out
_MARK = re.compile(r"(\\*)\$\{")
_NAMED = re.compile(r"(\\*)\$\{([^{}$]*)\}")
_BETWEEN = re.compile(r"[.\[\]]+")
_ALLOWED = "allowed is the name of a setting: ${mix.name}"
Path = tuple[Any, ...]


class _TooLong(Exception):
    """More characters than there may be."""


def reference_errors(settings: Mapping[str, Any]) -> list[ConfigError]:
    """What is refused of the `${…}` in settings that are not resolved yet, without those of Hydra."""
    strings = [(path, text) for path, text in _strings(settings, ()) if "${" in text]
    errors = [error for path, text in strings if (error := _form_error(path, text))]
    if errors or not strings:
        return errors
    sizes: dict[Path, int] = {}
    total = 0
    for path, text in strings:
        try:
            total += _size(settings, path, text, sizes)
        except (_TooLong, RecursionError):
            total = MOST_CHARACTERS + 1
        if total > MOST_CHARACTERS:
            what = f"what it names comes to more than {MOST_CHARACTERS:,} characters, or names itself"
            return [ConfigError(_dotted(path), what, "write the value itself")]
    return []


def _strings(node: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(node, str):
        yield path, node
    for key, value in _children(node):
        yield from _strings(value, (*path, key))


def _children(node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, dict):
        yield from node.items()
    elif isinstance(node, list):
        yield from enumerate(node)


def _form_error(path: Path, text: str) -> ConfigError | None:
    marks = [found for found in _MARK.finditer(text) if len(found[1]) % 2 == 0]
    names = _names(text)
    resolver = next((name.partition(":")[0].strip() for name in names if ":" in name), None)
    if resolver is not None:
        return ConfigError(_dotted(path), f"the resolver {resolver} is not allowed; {_ALLOWED}", "write the value")
    if len(marks) > len(names):
        return ConfigError(_dotted(path), f"a ${{…}} within another is not allowed; {_ALLOWED}", "write the value")
    return None


def _names(text: str) -> list[str]:
    return [found[2].strip() for found in _NAMED.finditer(text) if len(found[1]) % 2 == 0]


def _size(settings: Any, path: Path, node: Any, sizes: dict[Path, int]) -> int:
    """Characters of a setting with everything that it names. Raises: _TooLong, also for what names itself."""
    if isinstance(node, str) and "${" in node:
        if path not in sizes:
            sizes[path] = MOST_CHARACTERS + 1  # until it is known
            targets = [_target(settings, path, name) for name in _names(node)]
            sizes[path] = len(node) + sum(_size(settings, *target, sizes) for target in targets)
        if sizes[path] > MOST_CHARACTERS:
            raise _TooLong
        return sizes[path]
    if isinstance(node, str):
        return len(node)
    size = 1 + sum(_size(settings, (*path, key), value, sizes) for key, value in _children(node))
    if size > MOST_CHARACTERS:
        raise _TooLong
    return size


def _target(settings: Any, path: Path, name: str) -> tuple[Path, Any]:
    """The setting that a name leads to, or the first on the way there that is a name itself; None where it is none."""
    bare = name.lstrip(".")
    dots = len(name) - len(bare)
    found: Path = path[: len(path) - dots] if dots else ()
    node = settings
    for key in found:
        node = node[key]
    for key in filter(None, _BETWEEN.split(bare)):
        if isinstance(node, str):
            break
        known = {str(child): child for child, _ in _children(node)}
        if key not in known:
            return (*found, key), None
        found, node = (*found, known[key]), node[known[key]]
    return found, node


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))
