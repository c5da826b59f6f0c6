"""Limits of what a command is told: settings, names, templates, tokenizers, models. `test_limits.py` tries them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pipeline import pointer, small_files
from pipeline.cli.front import own_files
from pipeline.cli.front.guard import override_error
from pipeline.cli.front.references import reference_errors
from pipeline.errors import ConfigError, listed
from pipeline.filters.expression import read_filter
from pipeline.mix.settings import read_mix
from pipeline.names import is_path, name_fault
from pipeline.render import sandbox
from pipeline.settings import Settings
from pipeline.sniff.sniff import sniff
from pipeline.tokens import tokenizer
from train import foreign


@dataclass(frozen=True)
class Limit:
    """`name` is how the README's table calls it: a setting, or a constant and the module that has it.

    `outcome` says what becomes of something of this size: "" where it is taken, else the reason or the message.
    """

    name: str
    module: str | None
    outcome: Callable[[int, Any], str]
    of: int | None = None  # tried in place of a value that is large; None: the constant itself

    @property
    def size(self) -> int:
        return self.of or getattr(import_module(str(self.module)), self.name)


@dataclass(frozen=True)
class Tools:
    read: Any
    adapt: Any
    monkeypatch: pytest.MonkeyPatch
    folder: Path


def said(kind: type[Exception], call: Callable[[], Any]) -> str:
    try:
        call()
    except kind as error:
        return str(error)
    return ""


def _filter_characters(size: int, tools: Any) -> str:
    return said(ConfigError, lambda: read_filter("source == '" + "x" * (size - 12) + "'"))


def _filter_parts(size: int, tools: Any) -> str:
    return said(ConfigError, lambda: read_filter("not " * (size - 1) + "True"))


def _stages(size: int, tools: Any) -> str:
    stages = [{"until": (k + 1) / size, "weights": {"a": 1}} for k in range(size)]
    node = Settings({"weights": {"a": 1}, "schedule": stages}, "mix", [])
    read_mix(node, ["a"])
    return next((error.what for error in node.errors if error.where.startswith("mix.schedule")), "")


def _yaml(text: str, tools: Any) -> str:
    file = tools.folder / "own.yaml"
    file.write_text(text)
    return "\n".join(str(error) for error in own_files.file_errors(file, tools.folder))


def _bytes_of_yaml(size: int, tools: Any) -> str:
    return _yaml("a: '" + "x" * (size - 5) + "'", tools)


def _depth_of_yaml(size: int, tools: Any) -> str:
    return _yaml("a: " + "[" * (size - 1) + "]" * (size - 1), tools)  # the file itself is a mapping


def _values_of_yaml(size: int, tools: Any) -> str:
    repeated = "b: &b [" + ",".join("1" * 997) + "]\n"  # a key and 998 values
    rows = (size - 2 - 998) // 999  # a key and an alias of 998 each
    left = size - (1 + 1 + 998 + rows * 999)
    return _yaml(repeated + "".join(f"k{k}: *b\n" for k in range(rows)) + f"l: [{','.join('1' * (left - 2))}]", tools)


def _name(size: int, _: Any) -> str:
    return name_fault("题" * (size // 3) + "x" * (size % 3)) or ""


def _part(size: int, _: Any) -> str:
    return "" if is_path("a/" + "题" * (size // 3) + "x" * (size % 3)) else "is too long"


def _model_name(size: int, _: Any) -> str:
    models = pytest.importorskip("train.models")
    errors: list[Any] = []
    models.read_model({"model": {"id": "a/" + "x" * size}}, errors)
    return next((error.what for error in errors if "its last part" in error.what), "")


def _rank(size: int, _: Any) -> str:
    return foreign._odd({"r": size}) or ""


def _modules(size: int, _: Any) -> str:
    return foreign._odd({"r": 1, "target_modules": [f"n{k}" for k in range(size)]}) or ""


def _expression(size: int, _: Any) -> str:
    return foreign._odd({"r": 1, "target_modules": "x" * size}) or ""


def _choices(size: int, _: Any) -> str:
    return foreign._odd({"r": 1, "target_modules": "(a|b)" * size}) or ""


def _files(size: int, tools: Any) -> str:
    tools.monkeypatch.setattr("pipeline.sniff.sniff.MAX_FILES", 5)
    for number in range(size):
        (tools.folder / f"{number}.jsonl").write_text('{"instruction": "a", "output": "b"}')
    found = sniff(str(tools.folder), 1, 100)
    return f"{found.unread} not looked at" if found.unread else ""


def _names(size: int, _: Any) -> str:
    found = listed([f"n{k}" for k in range(size)])
    return found.rpartition(" and ")[2] if "more" in found else ""


def _bytes_of_tokenizer(size: int, tools: Any) -> str:
    tools.monkeypatch.setattr(tokenizer, "_MOST_BYTES", 10_000)
    (tools.folder / "tokenizer.json").write_text("{}".ljust(size))
    return said(ConfigError, lambda: tokenizer.open_tokenizer(str(tools.folder)))


def _characters_of_text(size: int, tools: Any) -> str:
    tools.monkeypatch.setattr(sandbox, "_MOST_CHARACTERS", 10_000)
    row = {"messages": [{"role": "user", "content": "x" * size}]}
    return sandbox.Sandbox("{{ messages[0].content }}", {}).row(row).get("error", "")


def _brackets(size: int, _: Any) -> str:
    return str(override_error("mix.total_rows=" + "[" * size + "]" * size, []) or "")


def _characters_of_settings(size: int, _: Any) -> str:
    named = "${long}"
    settings = {"long": "x" * 1000, "a": named.rjust(size - 1000, "y")}
    return "\n".join(map(str, reference_errors(settings)))


def _growth(size: int, tools: Any) -> str:
    replace = {"type": "Replace", "pattern": {"String": "a"}, "content": "x" * size}
    content = {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "normalizer": replace}
    (tools.folder / "tokenizer.json").write_text(json.dumps(content))
    return said(ConfigError, lambda: tokenizer.open_tokenizer(str(tools.folder)).content)


def _bytes_of_small_file(size: int, tools: Any) -> str:
    tools.monkeypatch.setattr(small_files, "MOST_BYTES", 10_000)
    (tools.folder / "manifest.json").write_text("{}".ljust(size))
    return said(OSError, lambda: small_files.read_small(tools.folder / "manifest.json"))


def _pointer(size: int, tools: Any) -> str:
    (tools.folder / "latest").write_text("x" * size)
    return "" if pointer.read_pointer(tools.folder / "latest") else "names nothing"


def _questions(size: int, tools: Any) -> str:
    settings = pytest.importorskip("train.settings")
    (tools.folder / "questions.txt").write_text("x" * size)
    node = Settings({"questions": str(tools.folder / "questions.txt")}, "", [])
    settings.read_questions(node)
    return "\n".join(map(str, node.errors))


def _shrunk(size: int, tools: Any) -> str:
    """A file in a wheel that is so many times as long as it is packed."""
    wheel = pytest.importorskip("train.wheel")
    path = tools.folder / "a.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights.gguf", b"x" * 100_000)
        (packed,) = archive.infolist()
    tools.monkeypatch.setattr(
        wheel, "_MOST_SHRUNK", packed.file_size / packed.compress_size * wheel._MOST_SHRUNK / size
    )
    about = wheel.Wheel(id="a/b", package="a", version="1", sha256="0" * 64, file="weights.gguf")
    return said(ConfigError, lambda: wheel.unpack(path, about))


OF_COMMANDS: tuple[Limit, ...] = (
    Limit("_NAMES", "pipeline.errors", _names),
    Limit("LONGEST", "pipeline.names", _name),
    Limit("_SHORT", "train.models", _model_name),
    Limit("_MOST", "pipeline.names", _part),
    Limit("MOST_RANK", "train.foreign", _rank),
    Limit("_MOST_MODULES", "train.foreign", _modules),
    Limit("_MOST_EXPRESSION", "train.foreign", _expression),
    Limit("_MOST_CHOICES", "train.foreign", _choices),
    Limit("MAX_FILES", "pipeline.sniff.sniff", _files, 5),
    Limit("MOST_BYTES", "pipeline.cli.front.own_files", _bytes_of_yaml),
    Limit("MOST_DEPTH", "pipeline.cli.front.own_files", _depth_of_yaml),
    Limit("MOST_VALUES", "pipeline.cli.front.own_files", _values_of_yaml),
    Limit("_MOST_BYTES", "pipeline.tokens.tokenizer", _bytes_of_tokenizer, 10_000),
    Limit("_MOST_CHARACTERS", "pipeline.render.sandbox", _characters_of_text, 10_000),
    Limit("_MOST_CHARS", "pipeline.filters.expression", _filter_characters),
    Limit("_MOST_PARTS", "pipeline.filters.expression", _filter_parts),
    Limit("_MOST_STAGES", "pipeline.mix.settings", _stages),
    Limit("_MOST_BRACKETS", "pipeline.cli.front.guard", _brackets),
    Limit("MOST_CHARACTERS", "pipeline.cli.front.references", _characters_of_settings),
    Limit("_MOST_GROWTH", "pipeline.tokens.tokenizer", _growth),
    Limit("MOST_BYTES", "pipeline.small_files", _bytes_of_small_file, 10_000),
    Limit("_LONGEST", "pipeline.pointer", _pointer),
    Limit("_MOST_QUESTIONS", "train.settings", _questions),
    Limit("_MOST_SHRUNK", "train.wheel", _shrunk),
)
