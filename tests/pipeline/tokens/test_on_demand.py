"""Sequences made for a bundle that is already written are those that its build would have made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli import root
from pipeline.cli.front import main
from pipeline.folder import DATA, sealed
from pipeline.input_settings import read_inputs
from pipeline.manifest import open_bundle
from pipeline.store import open_table
from pipeline.tokens.on_demand import tokens_of
from pipeline.tools import tools

STAGES = "mix.schedule=[{until: 0.4, weights: {alpaca: 1}}, {until: 1, weights: {cmath: 1, emoji: 1}}]"


def build(folder: Path, out: str, *overrides: str) -> Path:
    places = [f"paths.pools={folder / 'pools'}", f"paths.bundles={folder}", f"out={folder / out}"]
    assert main(PROGRAM, ["build", "mix=balanced", "mix.total_rows=900", STAGES, *places, *overrides]) == 0
    return folder / out


def files(tokens: Path) -> dict[str, Any]:
    return json.loads((tokens / "manifest.json").read_text(encoding="utf-8"))["files"]


def made(bundle: Path, tokenizer: Path, pools: Path) -> Path:
    found = open_bundle(str(bundle), bundle.parent)
    errors: list[Any] = []
    config = found.manifest["config"] | {"tokenizer": str(tokenizer)}
    settings = read_inputs(config, root(), found.manifest["sources"], errors)
    assert not errors
    with tools(settings) as with_:
        return tokens_of(found, settings, with_, pools)


@pytest.mark.parametrize("pools", ["pools", "none"])
@pytest.mark.parametrize("template", ["smollm2", "none"])
def test_they_are_those_of_a_build(pools: str, template: str, tmp_path: Path, tiny_tokenizer: Path) -> None:
    asked = [f"tokenizer={tiny_tokenizer}", "tokens.max_length=64", "tokens.on_long=split"]
    (expected,) = (build(tmp_path, "with", *asked) / "tokens").iterdir()
    later = build(tmp_path, "without", *asked[1:], f"template={template}")
    if template == "none":  # a bundle of messages alone; training chooses the template
        manifest = json.loads((later / "manifest.json").read_text(encoding="utf-8"))
        manifest["config"]["template"] = {"name": "smollm2", "path": None}
        (later / "manifest.json").write_text(sealed(manifest), encoding="utf-8")
    tokens = made(later, tiny_tokenizer, tmp_path / pools)
    assert tokens.name == expected.name
    assert files(tokens) == files(expected)


def test_they_are_made_once_and_again_where_damaged(tmp_path: Path, tiny_tokenizer: Path) -> None:
    bundle = build(tmp_path, "bundle")
    tokens = made(bundle, tiny_tokenizer, tmp_path / "pools")
    data = next((tokens / "train").glob("*.arrow"))
    whole, inode = data.read_bytes(), data.stat().st_ino
    assert made(bundle, tiny_tokenizer, tmp_path / "pools") == tokens
    assert data.stat().st_ino == inode
    data.write_bytes(whole[:-9] + b"\0" + whole[-8:])
    made(bundle, tiny_tokenizer, tmp_path / "pools")
    assert data.read_bytes() == whole
    assert main(PROGRAM, ["verify", f"bundle={bundle}"]) == 0


@pytest.mark.parametrize("pools", ["pools", "none"])
def test_a_reused_validation_split_has_its_own_tokens_where_ids_are_those_of_other_rows(
    pools: str, tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """The second build reads the source otherwise: its rows have the ids of the first build's, and other text."""
    first = build(tmp_path, "first")
    otherwise = [f"split.validation_from={first}", "sources.mawps.options.assistant=equation"]
    second = build(tmp_path, "second", *otherwise)
    expected, found = (
        open_table(made(bundle, tiny_tokenizer, tmp_path / pools) / "validation" / DATA) for bundle in (first, second)
    )
    assert found.select(["input_ids", "labels"]).equals(expected.select(["input_ids", "labels"]))
