"""Every shape is reachable from the command line, as typed."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.sources.shapes import SHAPES

TALK = [{"from": "human", "value": "q{n}"}, {"from": "gpt", "value": "<think>t</think>a{n}"}]
SAID = [{"role": "user", "content": "q{n}"}, {"role": "assistant", "content": "<think>t</think>a{n}"}]
TREE = {"text": "q{n}", "role": "prompter", "lang": "en"}
ANSWER = {"text": "<think>t</think>a{n}", "role": "assistant"}

# shape → what stands in the braces beside it, and a row of which {n} is its number
TYPED: dict[str, tuple[str, dict[str, Any]]] = {
    "columns": (
        "columns: {user: q, assistant: a b, context: c, system: s, answer: a b, tags: t}",
        {"q": "q{n}", "a b": "<think>t</think>a{n}", "c": "c{n}", "s": "s", "t": ["x"]},
    ),
    "alpaca": ("options: {language: auto}", {"instruction": "q{n}", "output": "<think>t</think>a{n}"}),
    "messages": ("columns: {messages: talk}", {"talk": SAID}),
    "sharegpt": ("options: {last_user: cut}", {"conversations": [*TALK, {"from": "human", "value": "bye"}]}),
    "preference": ("columns: {prompt: question}", {"question": "q{n}", "chosen": SAID[1:], "rejected": "b{n}"}),
    "gsm8k": ("options: {final: drop}", {"question": "q{n}", "answer": "<think>t</think>a{n}<<1+1=2>>\n#### {n}"}),
    "mawps": ("columns: {body: B}", {"B": "Ann has {n}.", "Question": "How many?", "Answer": "{n}"}),
    "dialogue": ("options: {last_user: cut}", {"dialogue": ["q{n}", "<think>t</think>a{n}", "bye"]}),
    "tree": ("columns: {prompt: root}", {"root": {**TREE, "replies": [{**ANSWER, "rank": 0}]}}),
    "emoji": ("options: {languages: [en]}", {"question": "q{n}", "answer_en": "<think>t</think>a{n}"}),
}


def build(*typed: str) -> int:
    return main(PROGRAM, ["build", "mix=custom", "+mix.weights.mine=1", "template=none", "out=DIR", *typed])


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_shape_is_tried_here() -> None:
    assert TYPED.keys() == SHAPES.keys()


@pytest.mark.parametrize("shape", TYPED)
def test_a_source_of_every_shape_can_be_typed(shape: str, work: Path) -> None:
    more, row = TYPED[shape]
    rows = [json.dumps(row).replace("{n}", str(n)) for n in range(4)]
    (work / "f.jsonl").write_text("\n".join(rows))
    typed = f"+sources.mine={{path: f.jsonl, shape: {shape}, {more}, split_think: true, tags: [law, zh]}}"
    assert build(typed) == 0
    manifest = json.loads((work / "DIR" / "manifest.json").read_text("utf-8"))["sources"]["mine"]
    assert (manifest["raw_rows"], manifest["quarantined"], manifest["unique"]) == (4, {}, 4)
    written = [json.loads(line) for name in ("train", "val") for line in (work / "DIR" / f"{name}.jsonl").open()]
    assert len(written) >= 3
    for line in written:
        number = int(line["id"].partition(":")[2])
        answer = line["messages"][-1]
        assert line["tags"][:2] == ["law", "zh"]
        assert answer == (
            {"role": "assistant", "content": str(number)}
            if shape == "mawps"
            else {"role": "assistant", "content": f"a{number}", "reasoning_content": "t"}
        )


@pytest.mark.parametrize("shape", TYPED)
def test_a_file_without_the_column_is_told_which_columns_there_are(
    shape: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "f.jsonl").write_text('{"this": "q", "that": "a"}\n{"this": "r", "that": "b"}\n')
    columns = ", columns: {user: q, assistant: a}" if shape == "columns" else ""
    assert build(f"+sources.mine={{path: f.jsonl, shape: {shape}{columns}}}") == 2
    told = capsys.readouterr().err
    assert "source mine: no column '" in told
    assert "(have: this, that)" in told
    assert "fix: set ++sources.mine.columns." in told
    assert not (work / "DIR").exists()


def test_an_optional_column_of_a_wrong_name_is_told_too(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "f.csv").write_text("q,a,law\nx,y,z\n")
    source = "path: f.csv, shape: columns, columns: {user: q, assistant: a, context: lew}"
    assert build(f"+sources.mine={{{source}}}") == 2
    told = capsys.readouterr().err
    assert "no column 'lew' (have: q, a, law)\n  fix: set ++sources.mine.columns.context=NAME" in told


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("shape: chat", "one of alpaca, columns, dialogue, emoji, gsm8k, mawps, messages, preference, sharegpt, tree"),
        ("shape: dialogue, options: {last_user: keep}", "must be refuse or cut"),
        ("shape: gsm8k, options: {final: x}", "must be keep or drop"),
        ("shape: sharegpt, columns: {conversation: x}", "did you mean conversations?"),
        ("shape: sharegpt, split_think: 1", "must be true or false"),
    ],
)
def test_a_wrong_setting_is_told(typed: str, told: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "f.jsonl").write_text("{}")
    assert build(f"+sources.mine={{path: f.jsonl, {typed}}}") == 2
    assert told in capsys.readouterr().err
