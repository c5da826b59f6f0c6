"""A chat template as configured: its Jinja text and what it is told besides the messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from pipeline.errors import ConfigError, PoolmixError, known_names
from pipeline.settings import Settings, is_text
from pipeline.small_files import read_small_text

# Raise it when the same template and rows would give other texts or targets than before.
RENDER_VERSION = 1
NONE, TOKENIZER = "none", "tokenizer"


@dataclass(frozen=True)
class Template:
    """`text` is Jinja, `variables` what it is given besides messages and tools."""

    name: str
    text: str
    variables: Mapping[str, Any]

    def key(self, *more: Any) -> str:
        """16 hex digits over all that a rendering depends on besides the rows."""
        what = [RENDER_VERSION, self.text, dict(self.variables), *more]
        return xxhash.xxh3_64_hexdigest(json.dumps(what, sort_keys=True, ensure_ascii=False).encode())


def read_template(config: Mapping[str, Any], root: Path, errors: list[PoolmixError]) -> Template | None:
    """The node `template`: one of the project's by `name`, or the file at `path`; None for `template=none`.

    For `template=tokenizer` the text is empty: it is the tokenizer's (`pipeline.tokens.tokenizer`).
    """
    node = Settings(config.get("template"), "template", errors)
    name = node.required("name", is_text, "a template", "chatml", NONE)
    path = node.value("path", is_text, "a .jinja file", "FILE.jinja")
    variables = {key: value for key, value in node.node.items() if key not in ("name", "path") and value is not None}
    if path is not None:
        return Template(Path(path).name.removesuffix(".jinja"), _read(Path(path).expanduser(), path, errors), variables)
    if name == NONE:
        return None
    if name == TOKENIZER:
        return Template(name, "", variables)
    folder = root / "conf" / "template"
    if not (folder / f"{name}.jinja").is_file():
        known = [found.stem for found in folder.glob("*.jinja")]
        errors.append(
            ConfigError(f"template.name={name}", f"no such template ({known_names(name, known)})", "name one")
        )
        return None
    return Template(name, _read(folder / f"{name}.jinja", name, errors), variables)


def _read(path: Path, name: str, errors: list[PoolmixError]) -> str:
    try:
        return read_small_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        errors.append(ConfigError(f"template.path={name}", f"cannot be read ({reason})", "name a Jinja file in UTF-8"))
        return ""
