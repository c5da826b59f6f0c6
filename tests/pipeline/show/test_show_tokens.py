"""`show` with texts and tokens: what is printed is what is written for training, in rows and in sequences."""

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.folder import DATA
from pipeline.store import open_table
from pipeline.visible import visible

TALKS = [
    [("user", "How many apples?"), ("assistant", "12")],
    [
        ("user", "一共有几个苹果？"),
        ("assistant", "八个。👩\u200d🔧"),
        ("user", "Sure? \u202e"),
        ("assistant", "Yes.\n\nI am."),
    ],
    [("user", "what does <|im_end|> mean?"), ("assistant", "<|im_end|> ends a turn.")],
    [("user", "Say a lot."), ("assistant", "There are apples. " * 20)],
]
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {}}}
Show = Any


def talk(turns: list[tuple[str, str]]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> Path:
    folder = tmp_path_factory.mktemp("show_tokens")
    rows = [talk(turns) for turns in TALKS] + [talk([("user", f"{k}?"), ("assistant", str(k))]) for k in range(20)]
    rows.append({"messages": [{"role": "user", "content": "Call."}, {"role": "assistant", "tool_calls": [CALL]}]})
    (folder / "talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    build = ["build", "mix=custom", "+sources.talks={path: talks.jsonl, shape: messages}", "+mix.weights.talks=1"]
    build += ["mix.total_rows=40", "template=chatml", "split.min_validation=2"]
    tokens = [f"tokenizer={tiny_tokenizer}", "tokens.max_length=96"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for out, more in (
            ("cut", tokens),
            ("split", [*tokens, "tokens.on_long=split"]),
            ("loose", [*tokens, "tokens.pack=false", "tokens.on_long=drop"]),
            ("plain", []),
        ):
            assert main(PROGRAM, [*build, *more, f"out={out}"]) == 0
        assert main(PROGRAM, [*[word for word in build if "template" not in word], "template=none", "out=bare"]) == 0
    return folder


@pytest.fixture
def text(work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    monkeypatch.chdir(work)

    def call(*overrides: str) -> str:
        capsys.readouterr()
        assert main(PROGRAM, ["show", *overrides]) == 0
        return capsys.readouterr().out

    return call


@pytest.fixture
def show(text: Show) -> Show:
    return lambda *overrides: [json.loads(line) for line in text("format=json", *overrides).splitlines()]


def sequences(bundle: Path, split: str = "train") -> pa.Table:
    (folder,) = (bundle / "tokens").glob("*/")
    return open_table(folder / split / DATA)


def joined(tokens: list[str]) -> str:
    return re.sub("<0x[0-9A-F]{2}>", "", "".join(tokens))


@pytest.mark.parametrize("bundle", ["cut", "split", "loose"])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_packed_shows_the_sequences_as_they_are_written(show: Show, work: Path, bundle: str, split: str) -> None:
    rows = open_table(work / bundle / split / DATA).to_pylist()
    written = sequences(work / bundle, split).to_pylist()
    found = show(f"bundle={bundle}", f"rows={split}", "packed=true", "n=1000")
    assert len(found) == len(written)
    for shown, sequence in zip(found, written, strict=True):
        documents = shown["documents"]
        assert [len(document["input_ids"]) for document in documents] == sequence["seq_lengths"]
        assert [document["id"] for document in documents] == [rows[row]["id"] for row in sequence["rows"]]
        assert [document["start"] for document in documents] == sequence["starts"]
        assert [token for document in documents for token in document["input_ids"]] == sequence["input_ids"]
        trained = [flag for document in documents for flag in document["trained"]]
        assert trained == [label != -100 for label in sequence["labels"]]
        assert not any(document["trained"][0] for document in documents)
        for document, row in zip(documents, sequence["rows"], strict=True):
            assert joined(document["tokens"]) in rows[row]["text"]


@pytest.mark.parametrize("bundle", ["cut", "split", "loose"])
def test_a_row_is_shown_as_it_stands_in_the_sequences(
    show: Show, work: Path, tiny_tokenizer: Path, bundle: str
) -> None:
    written = sequences(work / bundle).to_pylist()
    for row in show(f"bundle={bundle}", f"tokenizer={tiny_tokenizer}", "n=1000"):
        if row["text"] is None:
            assert row["pieces"] == []
            continue
        assert joined(row["tokens"]) == row["text"]
        inside = [False] * len(row["tokens"])
        for piece in row["pieces"]:
            sequence, own = written[piece["sequence"]], slice(piece["start"], piece["start"] + piece["length"])
            bounds = [sum(sequence["seq_lengths"][:k]) for k in range(len(sequence["seq_lengths"]))]
            spots = [k for k, start in zip(bounds, sequence["starts"], strict=True) if start == piece["start"]]
            same = [sequence["input_ids"][k : k + piece["length"]] == row["input_ids"][own] for k in spots]
            labels = [sequence["labels"][k : k + piece["length"]] for k in spots]
            assert [label != -100 for label in labels[same.index(True)]] == row["trained"][own]
            inside[own] = [True] * piece["length"]
        assert not any(flag for flag, kept in zip(row["trained"], inside, strict=True) if not kept)


def test_without_sequences_only_the_rows_shown_are_encoded_and_the_targets_are_trained_on(
    show: Show, work: Path, tiny_tokenizer: Path
) -> None:
    for arguments in (["bundle=plain"], ["bundle=bare", "template=chatml"], ["pool=talks", "template=chatml"]):
        rows = show(*arguments, f"tokenizer={tiny_tokenizer}", "n=1000")
        assert len(rows) == (25 if "pool=talks" in arguments else 40)
        for row in rows:
            if row["text"] is None:
                assert "the template chatml has no tool calls" in row["why"]
                continue
            assert "pieces" not in row
            assert joined(row["tokens"]) == row["text"]
            trained = joined([token for token, flag in zip(row["tokens"], row["trained"], strict=True) if flag])
            assert trained == "".join(row["text"][target["start"] : target["end"]] for target in row["targets"])
    assert not list((work / "plain").glob("tokens"))


def test_rows_under_the_tokenizer_of_a_model_are_their_texts(
    show: Show, shared: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = f"tokenizer={shared / 'qwen3_tokenizer'}"
    assert main(PROGRAM, ["build", "template=qwen3", tokenizer, "tokens.max_length=128", "out=real"]) == 0
    rows = show("bundle=real", tokenizer, "n=200")
    assert any(sum(piece["length"] for piece in row["pieces"]) < len(row["input_ids"]) for row in rows)
    for row in rows:
        assert joined(row["tokens"]) == unicodedata.normalize("NFC", row["text"])
        whole = sum(piece["length"] for piece in row["pieces"]) == len(row["input_ids"])
        trained = joined([token for token, flag in zip(row["tokens"], row["trained"], strict=True) if flag])
        targets = "".join(row["text"][target["start"] : target["end"]] for target in row["targets"])
        assert trained == targets if whole else targets.startswith(trained)


def test_another_template_is_shown_without_building_again(show: Show, text: Show) -> None:
    own = show("bundle=plain", "n=5")
    for arguments in (["template=chatml"], ["text=true"]):
        assert [row["text"] for row in show("bundle=plain", "n=5", *arguments)] == [row["text"] for row in own]
    for row in show("bundle=plain", "n=1000", "template=qwen3"):
        assert row["text"].startswith("<|im_start|>user\n")
        assert "<think>" in row["text"]
    assert "<|start_header_id|>assistant" in text("bundle=bare", "template=llama3", "n=1")
    assert "⟦" in text("bundle=bare", "template=llama3", "n=1")


def test_the_text_is_printed_with_what_is_trained_on_in_brackets(text: Show) -> None:
    out = text("bundle=plain", "id=talks:0")
    assert "<|im_start|>assistant\n    ⟦12<|im_end|>⟧" in out
    assert "raw: talks.jsonl, line 1" in out
    assert "⟦12<|im_end|>⟧" in text("bundle=plain", "text=true", "n=1000")
    assert "⟦" not in text("bundle=plain", "n=1000")
    assert "no text: chatml cannot render it" in text("bundle=plain", "text=true", "n=1000")
    assert "⟦" not in text("bundle=bare", "id=talks:0")


def test_a_row_and_its_tokens_are_found_by_its_id(show: Show, text: Show, tiny_tokenizer: Path) -> None:
    [found] = show("bundle=cut", "id=talks:3", f"tokenizer={tiny_tokenizer}")
    assert sum(piece["length"] for piece in found["row"]["pieces"]) in (0, 96)
    out = text("bundle=cut", "id=talks:3", f"tokenizer={tiny_tokenizer}")
    assert "lost" in out
    assert "⟪" in out
    assert "<|im_end|>" in text("bundle=cut", "id=talks:2", f"tokenizer={tiny_tokenizer}")


def test_packed_prints_a_line_above_each_document(text: Show, work: Path) -> None:
    out, (first, *_) = text("bundle=cut", "packed=true", "n=1"), sequences(work / "cut").to_pylist()
    ends = [sum(first["seq_lengths"][: k + 1]) for k in range(len(first["rows"]))]
    stretches = [
        f"tokens {end - length:,} to {end - 1:,}" for end, length in zip(ends, first["seq_lengths"], strict=True)
    ]
    assert re.findall(r"^  talks:\d+  .* · (tokens \d+ to \d+)", out, re.M) == stretches
    assert f"tokens {ends[-1]} of 96" in out


def test_no_control_character_reaches_the_terminal(text: Show, tiny_tokenizer: Path) -> None:
    for arguments in (["text=true"], [f"tokenizer={tiny_tokenizer}"], ["packed=true"]):
        for form in ("text", "json"):
            out = text("bundle=cut", "n=1000", f"format={form}", *arguments)
            assert out == visible(out, keep="\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bundle=plain", "packed=true"], "+mix.weights.talks=1 mix.total_rows=40"),
        (["bundle=plain", "packed=true"], "tokenizer=NAME"),
        (["bundle=cut", "packed=true", "template=qwen3"], "template=qwen3`"),
        (["bundle=cut", "packed=true", "sources=talks"], "take sources or packed out"),
        (["bundle=cut", "packed=true", "id=talks:1"], "take packed or id out"),
        (["pool=talks", "packed=true"], "take packed or pool out"),
        (["bundle=cut", "quarantine=true", "text=true"], "take text or quarantine out"),
        (["bundle=bare", "text=true"], "set template=NAME"),
        (["pool=talks", "tokenizer=x"], "set template=NAME"),
        (["bundle=cut", "template=none"], "name another"),
        (["bundle=cut", "template=qwen33"], "did you mean qwen3 or"),
        (["bundle=cut", "tokenizer=."], "no tokenizer.json"),
        (["bundle=cut", "text=maybe"], "true or false"),
    ],
)
def test_what_cannot_be_shown_is_answered_with_what_to_do(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(work)
    assert main(PROGRAM, ["show", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 2
