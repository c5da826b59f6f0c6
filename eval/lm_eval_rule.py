"""The rule that finds a reply's answer, as a package that needs no poolmix beside it.

It is copied, not imported: an export then judges as on the day it was made, wherever it is used. The package is named
after its digest, so one process can hold exports with different rules, and no installed poolmix (or anything else that
is called `eval`) is taken for it.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import xxhash

from pipeline import __version__

_BEGIN = ("eval.lm_eval_calls", "eval.sandbox")  # the second runs as a process of its own, which nothing imports


@dataclass(frozen=True)
class Rule:
    """The package's name, and its files by their path."""

    package: str
    files: Mapping[str, str]


def copy_rule() -> Rule:
    """The modules of the project that judge answers, all in one package that imports only itself."""
    modules = _modules()
    package = f"poolmix_rule_{xxhash.xxh3_64_hexdigest(json.dumps(modules).encode())[:8]}"
    names = re.compile(rf"\b(?:{'|'.join(map(re.escape, modules))})\b")
    files = {f"{package}/__init__.py": f'"""How poolmix {__version__} judges answers. Licence: Apache-2.0."""\n'}
    for name, text in modules.items():
        own = names.sub(lambda found: f"{package}.{_last(found[0])}", text)
        files[f"{package}/{_last(name)}.py"] = own
    return Rule(package, files)


def _modules() -> dict[str, str]:
    """Those modules by name, with their text: all that one of `_BEGIN` imports of the project."""
    found: dict[str, str] = {}
    names = list(_BEGIN)
    while names:
        name = names.pop()
        spec = find_spec(name)
        if name in found or spec is None or spec.origin is None:
            continue
        found[name] = Path(spec.origin).read_text(encoding="utf-8")
        imports = (node.module for node in ast.walk(ast.parse(found[name])) if isinstance(node, ast.ImportFrom))
        names += [module for module in imports if module and module.startswith(("eval.", "pipeline."))]
    return dict(sorted(found.items()))


def _last(name: str) -> str:
    return name.rpartition(".")[2]
