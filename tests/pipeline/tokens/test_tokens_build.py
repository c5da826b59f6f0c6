"""Builds with a tokenizer: what is written, what is made once, and what stays the same."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.tokens.codec import Codec
from pipeline.tokens.tokenizer import TokenizerFile

IGNORED = -100
SPLITS = ("train", "validation")
JSONL = {"train": "train.jsonl", "validation": "val.jsonl"}
JSON_COLUMNS = ("messages", "tools")
Find = Callable[..., TokenizerFile]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all builds here, so that the pools are made once."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(autouse=True)
def _in_the_folder(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)


@pytest.fixture
def build(capsys: pytest.CaptureFixture[str], tokenizer: Find) -> Callable[..., tuple[Path, list[str], str]]:
    """build("mix=natural", …) → the bundle, the lines printed, and what went to stderr."""

    def call(*overrides: str, name: str | None = "bytes") -> tuple[Path, list[str], str]:
        tokens = [f"tokenizer={tokenizer(name).path}"] if name is not None else []
        status = main(PROGRAM, ["build", "template=chatml", "tokens.max_length=256", *tokens, *overrides])
        out, err = capsys.readouterr()
        assert status == 0, err
        return Path(out.splitlines()[-1]), out.splitlines(), err

    return call


def manifest(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "manifest.json").read_text("utf-8"))


def tokens(bundle: Path) -> Path:
    return bundle / "tokens" / manifest(bundle)["tokens"]["key"]


def table(folder: Path) -> pl.DataFrame:
    found = pa.ipc.open_stream(pa.memory_map(str(folder / "data-00000-of-00001.arrow"))).read_all()
    return pl.DataFrame(pl.from_arrow(found.select([name for name in found.column_names if name not in JSON_COLUMNS])))


def pieces(folder: Path) -> dict[tuple[int, int], tuple[list[int], list[int]]]:
    """Row and first token → ids and labels of each stretch."""
    found: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
    for line in table(folder).to_dicts():
        ends = np.cumsum(line["seq_lengths"]).tolist()
        for row, start, begin, end in zip(line["rows"], line["starts"], [0, *ends], ends, strict=False):
            assert (row, start) not in found
            found[row, start] = line["input_ids"][begin:end], line["labels"][begin:end]
    return found


def kept(work: Path, *kinds: str) -> dict[str, tuple[int, int]]:
    """The files of texts and ids beside the pools: which they are, and when they were written."""
    files = [path for kind in kinds or ("texts", "ids") for path in work.glob(f"data_pools/pools/*/*/{kind}/*/*")]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("on_long", ["truncate", "split"])
def test_the_sequences_hold_the_texts_and_targets_of_the_bundle(on_long: str, build: Any, codec: Any) -> None:
    bundle, _, _ = build("mix=balanced", f"tokens.on_long={on_long}", "tokens.max_length=64")
    reference: Codec = codec("bytes", "tokenizers")
    for split in SPLITS:
        rows, found = table(bundle / split), pieces(tokens(bundle) / split)
        spans = [[(one["start"], one["end"]) for one in own] for own in rows["targets"].to_list()]
        whole = reference.with_spans(rows["text"].to_list(), spans)
        lines = (bundle / JSONL[split]).read_text("utf-8").splitlines()
        literal = {row for row, line in enumerate(lines) if any(token in line for token in reference.file.special)}
        assert len(literal) < 5
        ends: Counter[int] = Counter()
        for (row, start), (ids, labels) in found.items():
            if row in literal:
                continue
            expected, trained = (column[start : start + 64] for column in whole[row])
            assert ids == expected.tolist()
            assert labels[0] == IGNORED
            assert labels[1:] == np.where(trained, expected, IGNORED)[1:].tolist()
            ends[row] += len(ids)
        if on_long == "truncate":
            lengths = [min(64, len(ids)) for ids, _ in whole]
            assert all(ends[row] == lengths[row] for row in ends)
        else:
            assert max(ends.values()) > 64


def test_datasets_opens_the_sequences(build: Any) -> None:
    import datasets

    bundle, lines, _ = build("mix=balanced")
    assert any(line.startswith("tokenize") for line in lines)
    for split in SPLITS:
        loaded = datasets.load_from_disk(str(tokens(bundle) / split))
        assert loaded.column_names == ["input_ids", "labels", "seq_lengths", "rows", "starts"]
        assert len(loaded) == manifest(bundle)["tokens"]["splits"][split]["sequences"]
    assert main(PROGRAM, ["verify"]) == 0


def test_a_tokenizer_changes_no_row(build: Any) -> None:
    one, _, _ = build("mix=balanced")
    other, _, _ = build("mix=balanced", name=None)
    assert manifest(one)["digest"] == manifest(other)["digest"]
    assert (one / "train.jsonl").read_bytes() == (other / "train.jsonl").read_bytes()
    assert "tokens" not in manifest(other)
    assert not (other / "tokens").exists()


@pytest.mark.parametrize("backend", ["auto", "tokenizers"])
def test_both_ways_write_the_same_sequences(backend: str, build: Any, tmp_path: Path) -> None:
    bundle, _, _ = build("mix=natural", "template=qwen3")
    # pools of its own: ids that are there would be taken, whichever way they were made
    other, _, _ = build(
        "mix=natural", "template=qwen3", f"tokens.backend={backend}", f"paths.pools={tmp_path / 'p'}", "out=other"
    )
    assert bytes_of(tokens(bundle)) == bytes_of(tokens(other))
    shutil.rmtree(other)


def test_other_weights_render_and_encode_nothing_and_give_what_a_first_build_gives(
    build: Any, work: Path, tmp_path: Path
) -> None:
    build("mix=balanced")
    before = kept(work)
    assert len(before) >= 4 * 4
    mixed = ["mix=balanced", "mix.weights.cmath=0.7", "seed=7", "tokens.max_length=100", "tokens.on_long=split"]
    remix, lines, _ = build(*mixed)
    assert kept(work) == before
    assert [line.split()[-1] for line in lines if line.startswith(("render", "tokenize"))] == ["ready", "ready"]
    first, _, _ = build(*mixed, f"paths.pools={tmp_path / 'pools'}", f"out={tmp_path / 'first'}")
    assert bytes_of(tokens(remix)) == bytes_of(tokens(first))
    assert manifest(remix)["digest"] == manifest(first)["digest"]


def test_threads_make_no_difference(build: Any, tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    bundle, _, _ = build("mix=balanced")
    config = manifest(bundle)["config"]
    command = [sys.executable, "-m", "pipeline", "build", "mix=balanced", "template=chatml", "tokens.max_length=256"]
    command += [
        f"tokenizer={config['tokenizer']}",
        "threads=1",
        f"out={tmp_path / 'b'}",
        f"paths.pools={tmp_path / 'p'}",
    ]
    root = Path(__file__).resolve().parents[3]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(root), "PYTHONHASHSEED": "7"}, stdout=-3)
    assert bytes_of(tokens(bundle)) == bytes_of(tokens(tmp_path / "b"))


def test_a_source_may_have_a_loss_of_its_own(build: Any, work: Path) -> None:
    plain, _, _ = build("mix=balanced", "tokens.pack=false")
    before = kept(work)
    bundle, _, _ = build("mix=balanced", "tokens.pack=false", "+sources.cmath.loss={targets: text}")
    assert tokens(plain).name != tokens(bundle).name
    new = {Path(path).relative_to(work).parts[2] for path in kept(work).keys() - before.keys()}
    assert new == {"cmath"}, "only what differs is made"
    for split in SPLITS:
        rows, other = table(bundle / split), table(plain / split)
        assert rows["id"].to_list() == other["id"].to_list()
        for row, usual in zip(rows.to_dicts(), other.to_dicts(), strict=True):
            whole = [{"start": 0, "end": len(row["text"])}]
            assert row["targets"] == (whole if row["source"] == "cmath" else usual["targets"])
        for (row, start), (_, labels) in pieces(tokens(bundle) / split).items():
            if rows["source"][row] == "cmath" and start == 0:
                assert IGNORED not in labels[1:]
    losses = manifest(bundle)["tokens"]["loss"]
    assert {name: loss["targets"] for name, loss in losses.items()} == {
        "alpaca": "all", "cmath": "text", "emoji": "all", "mawps": "all",
    }  # fmt: skip


def test_a_reused_validation_is_rendered_and_encoded_anew(build: Any, codec: Any) -> None:
    base, _, _ = build("mix=natural")
    other, _, _ = build("mix=math_heavy", "template=qwen3", f"split.validation_from={base}")
    direct, _, _ = build("mix=natural", "template=qwen3")
    rows, again, new = table(base / "validation"), table(other / "validation"), table(direct / "validation")
    assert rows["id"].to_list() == again["id"].to_list() == new["id"].to_list()
    assert manifest(base)["digest"]["validation"] == manifest(other)["digest"]["validation"]
    assert rows["text"].to_list() != again["text"].to_list()
    assert again["text"].to_list() == new["text"].to_list()
    assert again["targets"].to_list() == new["targets"].to_list()
    assert table(tokens(other) / "validation").equals(table(tokens(direct) / "validation"))
    bare, _, _ = build("mix=natural", "template=none", f"split.validation_from={base}", name=None)
    assert "text" not in table(bare / "validation").columns


@pytest.mark.parametrize("kind", ["texts", "ids"])
@pytest.mark.parametrize("harm", ["changed", "folder gone"])
def test_what_is_damaged_is_made_again(kind: str, harm: str, build: Any, work: Path) -> None:
    bundle, _, _ = build("mix=balanced")
    right = bytes_of(tokens(bundle))
    data = sorted(work.glob(f"data_pools/pools/cmath/*/{kind}/*/*.arrow"))[0]
    before = {path.parent.name: path.read_bytes() for path in data.parent.parent.glob("*/*.arrow")}
    for one in data.parent.parent.glob("*/*.arrow"):  # whichever of them this build uses
        content = one.read_bytes()
        if harm == "changed":
            one.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
        else:
            shutil.rmtree(one.parent)
    again, lines, _ = build("mix=balanced")
    assert bytes_of(tokens(again)) == right
    stage = {"texts": "render", "ids": "tokenize"}[kind]
    assert not [line for line in lines if line.startswith(stage) and line.endswith("ready")]
    mended = {path.parent.name: path.read_bytes() for path in data.parent.parent.glob("*/*.arrow")}
    assert any(mended.get(name) == content for name, content in before.items())


@pytest.mark.parametrize("unit", ["tokens", "target_tokens"])
def test_weights_of_tokens_are_met_within_half_a_row(unit: str, build: Any) -> None:
    weights = {"cmath": 0.4, "mawps": 0.3, "emoji": 0.2, "alpaca": 0.1}
    asked = [f"mix.weights.{name}={weight}" for name, weight in weights.items()]
    bundle, _, _ = build("mix=balanced", f"mix.unit={unit}", "mix.total_tokens=40000", "tokens.pack=false", *asked)
    rows, got, longest = table(bundle / "train"), Counter[str](), Counter[str]()
    for (row, _), (ids, labels) in pieces(tokens(bundle) / "train").items():
        source = rows["source"][row]
        size = len(ids) if unit == "tokens" else sum(label != IGNORED for label in labels)
        got[source] += size
        longest[source] = max(longest[source], size)
    for name, weight in weights.items():
        assert abs(got[name] - 40_000 * weight) <= longest[name] / 2
    found = manifest(bundle)["tokens"]["splits"]["train"]
    assert {name: own[unit] for name, own in found["sources"].items()} == got
    assert main(PROGRAM, ["verify"]) == 0


def test_the_sequences_of_a_schedule_follow_its_stages(build: Any) -> None:
    schedule = "mix.schedule=[{until: 0.5, weights: {alpaca: 1}}, {until: 1, weights: {cmath: 1, mawps: 1}}]"
    bundle, _, _ = build("mix=balanced", "mix.total_rows=300", schedule)
    sources = table(bundle / "train")["source"].to_list()
    found = [{sources[row] for row in line} for line in table(tokens(bundle) / "train")["rows"].to_list()]
    assert sources[:150] == ["alpaca"] * 150
    first = sum(line == {"alpaca"} for line in found)
    assert all(line == {"alpaca"} for line in found[:first])
    assert all(line <= {"cmath", "mawps"} for line in found[first:])


def test_rows_without_text_or_tokens_are_counted_and_told(build: Any, caplog: pytest.LogCaptureFixture) -> None:
    bundle, lines, _ = build("mix=natural")  # with tool calls, which chatml has not
    found = manifest(bundle)
    assert any("cannot be rendered" in line for line in lines if line.startswith("render"))
    [warning] = [line for line in caplog.messages if "have no text" in line]
    assert "of tools have no text, as chatml cannot render them (tools:" in warning
    null = {split: table(bundle / split).filter(pl.col("text").is_null()) for split in SPLITS}
    for split in SPLITS:
        own = found["tokens"]["splits"][split]
        assert own["dropped"].get("no_text", 0) == len(null[split])
        assert set(null[split]["source"]) <= {"tools"}
    assert sum(map(len, null.values())) > 0


@pytest.mark.parametrize(
    "settings", [[], ["tokens.on_long=drop", "tokens.max_length=40"], ["tokens.max_length=20"]], ids=str
)
def test_rows_kept_and_dropped_are_the_rows_of_each_split(settings: list[str], build: Any) -> None:
    bundle, _, _ = build("mix=natural", *settings)
    for split in SPLITS:
        own, rows = manifest(bundle)["tokens"]["splits"][split], table(bundle / split)
        counts = dict(rows.group_by("source").len().iter_rows())
        assert {name: one["rows"] + sum(one["dropped"].values()) for name, one in own["sources"].items()} == counts
        assert own["rows"] + sum(own["dropped"].values()) == len(rows)
        assert own["rows"] == len({row for row, _ in pieces(tokens(bundle) / split)})
        assert own["tokens"] == sum(len(ids) for ids, _ in pieces(tokens(bundle) / split).values())


def test_a_tables_own_column_called_input_is_no_trouble(build: Any, tmp_path: Path) -> None:
    """`meta` keeps the columns that nothing else holds, whatever is in them; the template alpaca looks there."""
    rows = [{"q": f"q {k}", "a": f"a {k}", "instruction": k, "input": [k]} for k in range(30)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = f"+sources.own={{path: {tmp_path / 'rows.jsonl'}, shape: columns, columns: {{user: q, assistant: a}}}}"
    bundle, _, _ = build("mix=custom", source, "+mix.weights.own=1", "template=alpaca")
    assert "### Instruction:\nq " in table(bundle / "train")["text"][0]


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        (["tokenizer=/nowhere/at/all"], "tokenizer=/nowhere/at/all"),
        (["template=none"], "set template=NAME, too"),
        (["template=tokenizer"], "has no chat template"),
        (["tokens.on_long=shorten"], "tokens.on_long"),
        (["tokens.max_length=1"], "tokens.max_length"),
        (["tokens.backend=fast"], "tokens.backend"),
    ],
)
def test_a_mistake_is_told_in_two_lines(
    overrides: list[str], found: str, tokenizer: Find, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [f"tokenizer={tokenizer('bytes').path}"] if not overrides[0].startswith("tokenizer") else []
    assert main(PROGRAM, ["build", "mix=balanced", *named, *overrides]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert found in "".join(lines)
