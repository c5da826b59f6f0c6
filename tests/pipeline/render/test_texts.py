"""Texts are made once for a pool, a template and a loss, and found again."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.folder import DATA
from pipeline.ingest import make_pool
from pipeline.pool import Pool
from pipeline.render.loss import Loss
from pipeline.render.renderer import Renderer
from pipeline.render.template import Template
from pipeline.render.texts import make_texts
from pipeline.sources.source import Source
from pipeline.tools import texts_folder

TURN = "{% generation %}{{ m.content }}{% endgeneration %}|"
PLAIN = (
    "{% for m in messages %}{% if m.role == 'assistant' %}" + TURN + "{% else %}{{ m.content }}|{% endif %}{% endfor %}"
)
# Refuses a question with a seven.
PICKY = "{{ raise_exception('a seven') if '7' in messages[0].content }}" + PLAIN
# An outline of a single form cannot say what it writes: how many fields a message has depends on the reasoning.
FICKLE = "{% for m in messages %}{{ m | length }}{% endfor %}" + PLAIN
ROWS = 60


def assistant(content: str, reasoning: str) -> dict[str, str]:
    return {"role": "assistant", "content": content, "reasoning_content": reasoning}


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pools")


@pytest.fixture(scope="module")
def pool(pools: Path, source: Callable[..., Source]) -> Pool:
    lines = [
        {"messages": [{"role": "user", "content": f"{k} + 1?"}, assistant(str(k + 1), f"{k} und 一。")]}
        for k in range(ROWS)
    ]
    path = pools / "raw.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return make_pool(replace(source("messages", {}, {}), path=str(path)), pools / "pools", 10_000, lambda _: None)


@pytest.fixture(scope="module")
def renderer() -> Generator[Callable[..., Renderer]]:
    """renderer(text, name) → its sandbox, which stays open."""
    found: dict[Any, Renderer] = {}

    def find(text: str, name: str = "own", **variables: Any) -> Renderer:
        key = (text, name, *variables.items())
        return found.setdefault(key, Renderer(Template(name, text, variables)))

    yield find
    for one in found.values():
        one.__exit__(None, None, None)


def test_texts_are_made_once(pool: Pool, pools: Path, renderer: Callable[..., Renderer]) -> None:
    advanced: list[int] = []
    first = make_texts(pool, pools / "pools", renderer(PLAIN), Loss(), advanced.append)
    again = make_texts(pool, pools / "pools", renderer(PLAIN), Loss())
    assert (first.made, again.made) == (True, False)
    assert sum(advanced) == ROWS
    assert first.manifest == again.manifest
    assert (first.manifest["rows"], first.manifest["refused"], first.manifest["outlines"]) == (ROWS, 0, True)
    table = again.table()
    assert table["text"].to_pylist() == [f"{k} + 1?|{k + 1}|" for k in range(ROWS)]
    assert [text[a["start"] : a["end"]] for text, [a] in zip(*table.to_pydict().values(), strict=True)] == [
        str(k + 1) for k in range(ROWS)
    ]


def test_the_folder_depends_on_text_variables_and_loss_and_on_no_name(
    pool: Pool, renderer: Callable[..., Renderer]
) -> None:
    place = texts_folder(pool.folder, renderer(PLAIN), Loss())
    assert texts_folder(pool.folder, renderer(PLAIN, "other"), Loss()) == place
    others = [
        texts_folder(pool.folder, renderer(PLAIN + " "), Loss()),
        texts_folder(pool.folder, renderer(PLAIN, date_string="x"), Loss()),
        *(texts_folder(pool.folder, renderer(PLAIN), loss) for loss in (Loss("last"), Loss("all", True))),
    ]
    assert len({place, *others}) == 5


@pytest.mark.parametrize(
    "harm", ["cut", "changed", "gone", "no manifest", "manifest of nothing", "manifest without files", "older format"]
)
def test_damaged_texts_are_made_again(harm: str, pool: Pool, pools: Path, renderer: Callable[..., Renderer]) -> None:
    kept = make_texts(pool, pools / "pools", renderer(PLAIN), Loss("last"))
    data, manifest = kept.folder / DATA, kept.folder / "manifest.json"
    before = data.read_bytes()
    match harm:
        case "cut":
            data.write_bytes(before[:-8])
        case "changed":
            data.write_bytes(before[:-9] + bytes([before[-9] ^ 1]) + before[-8:])
        case "gone":
            data.unlink()
        case "no manifest":
            manifest.unlink()
        case "manifest of nothing":
            manifest.write_text("{}")
        case "manifest without files":
            manifest.write_text(json.dumps({"format": kept.manifest["format"]}))
        case _:
            manifest.write_text(manifest.read_text().replace("poolmix texts", "poolmix old texts"))
    again = make_texts(pool, pools / "pools", renderer(PLAIN), Loss("last"))
    assert again.made
    assert data.read_bytes() == before


def test_rows_that_a_template_refuses_are_counted_and_null(
    pool: Pool, pools: Path, renderer: Callable[..., Renderer]
) -> None:
    kept = make_texts(pool, pools / "pools", renderer(PICKY), Loss())
    refused = [k for k in range(ROWS) if "7" in str(k)]
    table = kept.table().to_pydict()
    assert [k for k, text in enumerate(table["text"]) if text is None] == refused
    assert all(table["targets"][k] == [] for k in refused)
    assert kept.manifest["refused"] == len(refused)
    assert kept.manifest["first_refused"][0] == "test:7"
    assert "a seven" in kept.manifest["first_refused"][1]


def test_where_outlines_are_wrong_no_row_comes_from_one(
    pool: Pool, pools: Path, renderer: Callable[..., Renderer]
) -> None:
    kept = make_texts(pool, pools / "pools", renderer(FICKLE), Loss())
    lengths = kept.table()["text"].to_pylist()[0].removesuffix("0 + 1?|1|")
    assert lengths == "24", "role and content; role, content, reasoning_content and thinking"
    assert {text[:2] for text in kept.table()["text"].to_pylist()} == {"24"}
    assert make_texts(pool, pools / "pools", renderer(FICKLE), Loss()).made is False
    assert not [path for path in (pool.folder / "texts").iterdir() if path.name.startswith(".")]
