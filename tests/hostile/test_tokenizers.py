"""Tokenizers that do harm: said in two lines where they are loaded or used, panics of their library included."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.errors import ConfigError
from pipeline.tokens.reference import Reference, Remote
from pipeline.tokens.tokenizer import open_tokenizer
from tests.train.conftest import write_tokenizer

ADDED = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
TEXT = "a" * 40 + "!"


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def nested(depth: int) -> dict[str, Any]:
    node: dict[str, Any] = {"type": "NFC"}
    for _ in range(depth):
        node = {"type": "Sequence", "normalizers": [node]}
    return node


def precompiled(sign: str, content: str) -> dict[str, Any]:
    """A table that writes a text for a sign of ASCII, its tree of characters in the format of Darts."""
    units = [0] * 128
    units[ord(sign)] = ord(sign) | 1 << 8 | 1 << 10  # what belongs to it stands beside it
    table = struct.pack("<I128I", 4 * len(units), *units) + content.encode() + b"\0"
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


# What takes the place of a part of a good tokenizer.json.
HOSTILE: dict[str, dict[str, Any]] = {
    "an expression that never ends": {"pre_tokenizer": split("(a+)+$")},
    "an expression that is none": {"pre_tokenizer": split("((")},
    "a table that is none": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
    "a table of bytes": {
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(b"\xff" * 64).decode()}
    },
    "a normalizer of normalizers": {"normalizer": nested(100)},
    "a text made a million times as long": {"normalizer": replace({"Regex": "a"}, "x" * 1_000_000)},
    "replacements upon each other": {
        "normalizer": {"type": "Sequence", "normalizers": [replace({"String": "a"}, "a" * 20)] * 8}
    },
    "a long text before each": {"normalizer": {"type": "Prepend", "prepend": "x" * 101}},
    "a table of long texts": {"normalizer": precompiled("a", "x" * 101)},
    "normalizers that are none": {"normalizer": {"type": "Sequence", "normalizers": 5}},
    "a vocabulary that is none": {"model": {"type": "Unigram", "vocab": 5}},
    "an empty vocabulary": {"model": {"type": "Unigram", "vocab": [], "unk_id": 5}},
    "no token for what is unknown": {"model": {"type": "Unigram", "vocab": [["b", 0.0]], "unk_id": None}},
    "words alone": {"model": {"type": "WordLevel", "vocab": {"b": 0}, "unk_token": "x"}},
    "ids below zero": {"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}},
    "merges of nothing": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["x", "y"]]}},
    "another kind": {"model": {"type": "Evil", "vocab": {"a": 0}}},
    "added tokens that are none": {"added_tokens": [5]},
}
BESIDE = {
    "a list": "[]",
    "nothing": "",
    "no JSON": "{",
    "deep": '{"a":' * 100_000,
    "a number as template": '{"chat_template": 5}',
    "templates that are none": '{"chat_template": [5]}',
    "a template without a text": '{"chat_template": [{"name": "default"}]}',
    "half a character": '{"chat_template": "\\ud800"}',
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("good")
    write_tokenizer(folder)
    return json.loads((folder / "tokenizer.json").read_text("utf-8"))


@pytest.fixture
def made(good: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """made(normalizer=…) → a folder with the good tokenizer, parts of it replaced."""

    def make(**parts: Any) -> Path:
        (tmp_path / "tokenizer.json").write_text(json.dumps(good | parts))
        return tmp_path

    return make


def test_the_good_one_is_good(made: Callable[..., Path]) -> None:
    assert Reference(open_tokenizer(str(made()))).with_spans([TEXT], [[]])[0][0]


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_tokenizer_is_said_in_two_lines(what: str, made: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError) as found:
        Reference(open_tokenizer(str(made(**HOSTILE[what])))).with_spans([TEXT], [[]])
    assert str(found.value).startswith("tokenizer=")
    assert len(str(found.value).splitlines()) == 2


@pytest.mark.parametrize(
    "normalizer",
    [
        replace({"String": "a"}, "x" * 101),
        {"type": "Prepend", "prepend": "x" * 101},
        precompiled("a", "题" * 101),
        {"type": "Sequence", "normalizers": [precompiled("a", "b" * 18), replace({"String": "b"}, "x" * 6)]},
    ],
    ids=["replaced", "put before", "of a table", "one upon the other"],
)
def test_what_makes_texts_too_long_is_refused_before_it_is_loaded(
    normalizer: dict[str, Any], made: Callable[..., Path]
) -> None:
    with pytest.raises(ConfigError, match="more than 100 times as long"):
        open_tokenizer(str(made(normalizer=normalizer))).content  # noqa: B018


def test_a_table_and_a_text_before_each_are_taken_as_tokenizers_in_use_have_them(made: Callable[..., Path]) -> None:
    """The longest that Unicode writes for one character has 18."""
    own = [precompiled("a", "b" * 18), replace({"Regex": " {2,}"}, "▁"), {"type": "Prepend", "prepend": "▁"}]
    reference = Reference(open_tokenizer(str(made(normalizer={"type": "Sequence", "normalizers": own}))))
    assert reference.slow.normalizer.normalize_str("a!") == "▁" + "b" * 18 + "!"


@pytest.mark.parametrize("what", ["a table that is none", "an expression that never ends"])
def test_it_is_said_of_the_process_of_its_own_too(what: str, made: Callable[..., Path]) -> None:
    remote = Remote(open_tokenizer(str(made(**HOSTILE[what]))))
    with pytest.raises(ConfigError, match="tokenizer="):
        remote.with_spans([TEXT], [[]])
    remote.close()


def test_added_tokens_over_each_other_are_read_as_the_reference_reads_them(made: Callable[..., Path]) -> None:
    added = [{"id": 2**31, "content": "aaa", **ADDED}, {"id": 5, "content": "aa", **ADDED}]
    file = open_tokenizer(str(made(added_tokens=added)))
    assert Reference(file).with_spans([TEXT], [[]])[0][0].count(2**31 % 2**32) <= 13
    assert list(file.special) == ["aaa", "aa"]


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"[]", b"5", b'{"model":' * 100_000], ids=repr)
def test_what_is_no_tokenizer_is_said(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(ConfigError, match=r"tokenizer\.json is not valid"):
        Reference(open_tokenizer(str(tmp_path))).with_spans([TEXT], [[]])


@pytest.mark.parametrize("what", BESIDE)
def test_what_stands_beside_it_is_said(what: str, made: Callable[..., Path]) -> None:
    folder = made()
    (folder / "tokenizer_config.json").write_text(BESIDE[what])
    with pytest.raises(ConfigError, match="its files cannot be read"):
        open_tokenizer(str(folder))


def test_code_beside_a_tokenizer_is_left_alone(made: Callable[..., Path], canary: Path) -> None:
    folder = made()
    for name in ("tokenizer.py", "tokenization_evil.py", "__init__.py"):
        (folder / name).write_text(f"import os\nos.makedirs({str(canary)!r})\n")
    settings = {"auto_map": {"AutoTokenizer": ["tokenizer.Evil", None]}, "tokenizer_class": "Evil"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert Reference(open_tokenizer(str(folder))).with_spans([TEXT], [[]])


@pytest.mark.parametrize("backend", ["auto", "tokenizers"])
@pytest.mark.parametrize("what", ["a table that is none", "an expression that never ends"])
def test_a_build_with_one_ends_in_two_lines(
    what: str,
    backend: str,
    made: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = made(**HOSTILE[what])
    monkeypatch.chdir(tmp_path)
    rows = [{"q": f"question {k}", "a": TEXT + str(k)} for k in range(20)]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = "+sources.mine={path: rows.jsonl, shape: columns, columns: {user: q, assistant: a}}"
    settings = ["mix=custom", "+mix.weights.mine=1", source, f"tokenizer={folder}", f"tokens.backend={backend}"]
    assert main(PROGRAM, ["build", *settings]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert [line[:10] for line in error.splitlines()][-1] == "  fix: nam"
    assert not Path("data_pools/bundles").exists()
