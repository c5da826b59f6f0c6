"""`stats`: the counts add up, with the manifest and with the rows themselves."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.folder import DATA
from pipeline.store import open_table

SHAPE = "shape: columns, columns: {user: q, assistant: a}"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> Path:
    """The sample data with repeats, rows whose prompts have several answers, and samples as sequences of tokens."""
    folder = tmp_path_factory.mktemp("stats")
    one = [("one?", "1"), ("two?", "2"), ("two?", "zwei \x1b[31m\u202e"), ("two?", "2"), ("three?", "3")]
    other = [("one?", "uno"), ("two?", "2"), ("four?", "4")]
    for name, rows in (("one", one), ("other", other)):
        lines = [json.dumps({"q": question, "a": answer}) for question, answer in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert (
            main(PROGRAM, ["build", "mix=natural", "mix.strategy=resample", "mix.total_rows=1500", "out=samples"]) == 0
        )
        sources = [f"+sources.{name}={{path: {name}.jsonl, {SHAPE}}}" for name in ("one", "other")]
        weights = ["+mix.weights.one=1", "+mix.weights.other=1", "split=none", "mix.strategy=concat"]
        assert main(PROGRAM, ["build", "mix=custom", *sources, *weights, "out=several"]) == 0
        tokens = [f"tokenizer={tiny_tokenizer}", "template=chatml", "tokens.on_long=drop"]
        tokens += ["mix.unit=target_tokens", "mix.weights.cmath=5"]
        assert main(PROGRAM, ["build", *tokens, "tokens.max_length=200", "out=tokens"]) == 0
        assert main(PROGRAM, ["build", *tokens[:2], "tokens.max_length=100", "out=cut"]) == 0
    return folder


@pytest.fixture
def stats(work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(work)

    def call(*overrides: str) -> Any:
        assert main(PROGRAM, ["stats", "format=json", *overrides]) == 0
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        return json.loads(out)

    return call


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_the_counts_add_up_to_the_manifest(stats: Any, work: Path) -> None:
    counts, manifest = stats("bundle=samples"), json.loads((work / "samples" / "manifest.json").read_text("utf-8"))
    assert counts["rows"] == manifest["rows"]
    for split, rows in manifest["rows"].items():
        assert sum(line["rows"] for line in counts["splits"] if line["split"] == split) == rows
    for name, entry in counts["sources"].items():
        assert entry == {key: manifest["sources"][name][key] for key in entry}
        gone = sum(entry["quarantined"].values()) + sum(entry["duplicates"].values())
        assert entry["raw_rows"] == gone + entry["validation"] + entry["available"]
        uses = {int(times): rows for times, rows in counts["uses"][name].items()}
        assert sum(uses.values()) == entry["available"]
        assert sum(times * rows for times, rows in uses.items()) == entry["train_rows"]


def test_lengths_turns_and_tags_are_those_of_the_rows(stats: Any, work: Path) -> None:
    counts = stats("bundle=samples")
    rows = {"train": jsonl(work / "samples" / "train.jsonl"), "validation": jsonl(work / "samples" / "val.jsonl")}
    for line in counts["splits"]:
        some = [row for row in rows[line["split"]] if row["source"] == line["source"]]
        assert line["rows"] == len(some)
        assert line["turns"]["max"] == max(len(row["messages"]) for row in some)
        assert line["with"]["tools"] == sum("tools" in row for row in some)
        if line["source"] != "tools":
            answers = [len(row["messages"][-1]["content"]) for row in some]
            prompts = [sum(len(message["content"]) for message in row["messages"][:-1]) for row in some]
            for measure, values in (("answer", answers), ("prompt", prompts)):
                found = line["characters"][measure]
                assert found["max"] == max(values)
                assert found["median"] in (statistics.median_low(values), statistics.median_high(values))
                assert sum(value > found["p95"] for value in values) <= 0.05 * len(values) + 1
    for tag, by_split in counts["tags"].items():
        assert by_split == {split: sum(tag in row["tags"] for row in some) for split, some in rows.items()}


@pytest.mark.parametrize("bundle", ["tokens", "cut"])
def test_tokens_are_those_of_the_sequences(stats: Any, work: Path, bundle: str) -> None:
    (folder,) = (work / bundle / "tokens").glob("*/")
    counts = stats(f"bundle={bundle}")["tokens"]
    for name, split in counts["splits"].items():
        sequences = open_table(folder / name / DATA).to_pylist()
        assert split["sequences"] == len(sequences)
        assert split["tokens"] == sum(len(sequence["input_ids"]) for sequence in sequences)
        assert split["fill"] == pytest.approx(split["tokens"] / (len(sequences) * counts["max_length"]), abs=1e-6)
        rows, parts = jsonl(work / bundle / ("train.jsonl" if name == "train" else "val.jsonl")), split["sources"]
        for source, entry in parts.items():
            targets = sum(
                sum(label != -100 for label in labels)
                for sequence in sequences
                for row, labels in zip(sequence["rows"], stretches(sequence), strict=True)
                if rows[row]["source"] == source
            )
            assert entry["target_tokens"] == targets
            assert entry["target_share"] == pytest.approx(targets / split["target_tokens"])
            assert entry["rows"] + sum(entry["dropped"].values()) == sum(row["source"] == source for row in rows)
        for key in ("rows", "tokens", "target_tokens", "lost_tokens", "lost_target_tokens"):
            assert sum(entry[key] for entry in parts.values()) == split[key]
        for key in ("share", "target_share"):
            assert sum(entry[key] for entry in parts.values()) == pytest.approx(1)


def stretches(sequence: dict[str, Any]) -> list[list[int]]:
    ends = [sum(sequence["seq_lengths"][: k + 1]) for k in range(len(sequence["seq_lengths"]))]
    return [sequence["labels"][start:end] for start, end in zip([0, *ends], ends, strict=False)]


def test_asked_and_got_are_in_the_unit_of_the_mix(stats: Any, capsys: pytest.CaptureFixture[str]) -> None:
    counts = stats("bundle=tokens")
    train = counts["tokens"]["splits"]["train"]["sources"]
    assert counts["mix"]["unit"] == "target_tokens"
    for name, entry in counts["sources"].items():
        assert entry["size"]["train"] == train[name]["target_tokens"]
        assert entry["achieved_weight"] == pytest.approx(train[name]["target_share"])
        assert abs(entry["achieved_weight"] - entry["requested_weight"]) < 0.02
    assert main(PROGRAM, ["stats", "bundle=tokens"]) == 0
    out = capsys.readouterr().out
    assert "\nMix, in target tokens\n" in out
    assert "(long rows: drop)" in out
    assert "rows too_long" in out
    assert f"{train['cmath']['tokens']:,}" in out


def test_a_bundle_without_sequences_says_nothing_of_tokens(stats: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert "tokens" not in stats("bundle=samples")
    assert main(PROGRAM, ["stats", "bundle=samples"]) == 0
    assert "oken" not in capsys.readouterr().out


def test_prompts_with_several_answers_are_counted_once_and_shown(stats: Any) -> None:
    found = stats("bundle=several")["several_answers"]
    assert (found["prompts"], found["sources"]) == (2, {"one": 2, "other": 1})
    ids = [[row["id"] for row in example["rows"]] for example in found["examples"]]
    assert ids == [["one:0", "other:0"], ["one:1", "one:2"]]
    assert [row["answer"] for row in found["examples"][0]["rows"]] == ["1", "uno"]
    assert len(stats("bundle=several", "examples=1")["several_answers"]["examples"]) == 1


def test_a_pool_is_counted_as_far_as_it_applies(stats: Any) -> None:
    counts = stats("pool=one")
    assert counts["sources"]["one"] == {
        "raw_rows": 5,
        "quarantined": {},
        "duplicates": {"within": 1},
        "unique": 4,
    }
    assert counts["several_answers"]["prompts"] == 1
    assert "uses" not in counts
    assert stats(f"pool=one/{Path(counts['pool']).name}") == counts


def test_the_table_is_aligned_and_harmless(stats: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["bundle=samples"], ["bundle=several"], ["bundle=tokens"], ["bundle=cut"], ["pool=tools"]):
        assert main(PROGRAM, ["stats", *arguments]) == 0
        text = capsys.readouterr().out
        assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in text.replace("\n", ""))
        assert "\u202e" not in text
        assert not any(line != line.rstrip() for line in text.splitlines())
    assert main(PROGRAM, ["stats", "bundle=samples"]) == 0
    assert "1,500" in capsys.readouterr().out


def test_several_mistakes_are_reported_at_once(stats: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(PROGRAM, ["stats", "format=yaml", "pool=[]"]) == 2
    assert capsys.readouterr().err.count("\n  fix: ") == 2
    for arguments in (["bundle=nowhere"], ["pool=nowhere"], ["pool=one", "bundle=several"], ["examples=x"]):
        assert main(PROGRAM, ["stats", *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 2
