"""Each promise is broken on purpose in a copy of a bundle; `verify` must name it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.folder import DATA, file_digest, sealed
from pipeline.keys import ContentDigest
from pipeline.manifest import open_bundle
from pipeline.schema import BUNDLE, POOL, RENDERED, SEQUENCES, bundle_schema, with_features
from pipeline.verify.checks import verify

Row = dict[str, Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with repeats, tool calls and quarantined rows."""
    folder = tmp_path_factory.mktemp("verify")
    places = [f"paths.pools={folder / 'pools'}", f"paths.bundles={folder / 'bundles'}", f"out={folder / 'bundle'}"]
    assert main(PROGRAM, ["build", "mix=natural", "mix.strategy=resample", "mix.total_rows=1500", *places]) == 0
    return folder / "bundle"


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


def broken(bundle: Path) -> set[str]:
    return {check.name for check in verify(open_bundle(str(bundle), bundle.parent)) if check.faults}


def edit_manifest(bundle: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    edit(manifest)
    path.write_text(sealed(manifest), encoding="utf-8")


def edit_rows(bundle: Path, split: str, edit: Callable[[list[Row]], list[Row]], jsonl: bool = True) -> None:
    """Change rows as a careful forger would: the files, their digests and the content digest all follow."""
    path = bundle / split / DATA
    rows = edit(pa.ipc.open_stream(path.read_bytes()).read_all().to_pylist())
    plain = pa.schema([*POOL, BUNDLE.field("epoch"), *RENDERED])  # pyarrow cannot make JSON-typed columns from objects
    schema = with_features(bundle_schema(rendered=True))
    table = pa.Table.from_pylist(rows, schema=plain).cast(schema)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    lines = bundle / {"train": "train.jsonl", "validation": "val.jsonl"}[split]
    if jsonl:
        lines.write_text("".join(jsonl_line(row) + "\n" for row in rows), encoding="utf-8")
    import polars as pl

    digest = ContentDigest()
    digest.update(pl.DataFrame([{name: row[name] for name in ("id", "key", "epoch")} for row in rows]))

    def follow(manifest: dict[str, Any]) -> None:
        manifest["digest"][split] = digest.hexdigest()
        manifest["rows"][split] = len(rows)
        for file in (path, lines):
            manifest["files"][file.relative_to(bundle).as_posix()] = {
                "bytes": file.stat().st_size,
                "xxh3_128": file_digest(file),
            }

    edit_manifest(bundle, follow)


def jsonl_line(row: Row) -> str:
    messages = [
        {
            name: json.loads(value) if name == "tool_calls" else value
            for name, value in message.items()
            if value is not None
        }
        for message in row["messages"]
    ]
    line = {"id": row["id"], "source": row["source"], "tags": row["tags"], "messages": messages}
    if row["tools"] is not None:
        line["tools"] = json.loads(row["tools"])
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


def test_a_sound_bundle_has_no_faults(bundle: Path) -> None:
    assert broken(bundle) == set()


def test_writing_the_rows_again_unchanged_keeps_it_sound(bundle: Path) -> None:
    edit_rows(bundle, "train", lambda rows: rows)
    edit_rows(bundle, "validation", lambda rows: rows)
    assert broken(bundle) == set()


@pytest.mark.parametrize("name", ["train.jsonl", f"train/{DATA}", "quarantine.jsonl", "README.md", "train/state.json"])
def test_a_changed_cut_or_missing_file_is_named(bundle: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = (bundle / name).read_bytes()
    for damage in (data[:-2] + bytes([data[-2] ^ 1]) + data[-1:], data[:-1], None):
        (bundle / name).unlink()
        if damage is not None:
            (bundle / name).write_bytes(damage)
        assert main(PROGRAM, ["verify", f"bundle={bundle}"]) == 3
        assert name in capsys.readouterr().out
        (bundle / name).write_bytes(data)


def test_a_file_too_many_is_named(bundle: Path) -> None:
    (bundle / "train" / "more.arrow").write_bytes(b"")
    assert broken(bundle) == {"files"}


def change_first(**values: Any) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [rows[0] | values, *rows[1:]]


def say(row: Row, content: str) -> Row:
    messages = [*row["messages"][:-1], row["messages"][-1] | {"content": content}]
    return row | {"messages": messages}


def test_another_text_under_the_same_key_is_found(bundle: Path) -> None:
    edit_rows(bundle, "train", lambda rows: [say(rows[0], "something else"), *rows[1:]])
    assert "keys" in broken(bundle)


def test_text_that_is_not_clean_is_found(bundle: Path) -> None:
    edit_rows(bundle, "train", lambda rows: [say(rows[0], "ends with white space "), *rows[1:]])
    assert "normalized" in broken(bundle)


def test_roles_out_of_order_are_found(bundle: Path) -> None:
    edit_rows(bundle, "train", lambda rows: [rows[0] | {"messages": rows[0]["messages"][::-1]}, *rows[1:]])
    assert "normalized" in broken(bundle)


def test_jsonl_of_other_rows_is_found(bundle: Path) -> None:
    edit_rows(bundle, "train", lambda rows: [rows[1], rows[0], *rows[2:]], jsonl=False)
    assert "jsonl" in broken(bundle)


def test_a_prompt_on_both_sides_is_found(bundle: Path) -> None:
    validation = pa.ipc.open_stream((bundle / "validation" / DATA).read_bytes()).read_all().to_pylist()
    edit_rows(bundle, "train", lambda rows: [validation[0], *rows[1:]])
    assert "no_leakage" in broken(bundle)


def test_a_repeated_validation_row_is_found(bundle: Path) -> None:
    edit_rows(bundle, "validation", lambda rows: [rows[1], *rows[1:]])
    assert "validation_once" in broken(bundle)


def test_wrongly_numbered_repeats_are_found(bundle: Path) -> None:
    edit_rows(bundle, "train", change_first(epoch=7))
    assert "repeats" in broken(bundle)


def test_a_row_used_too_often_is_found(bundle: Path) -> None:
    def more_of_one(rows: list[Row]) -> list[Row]:
        first, last = rows[0], max(row["epoch"] for row in rows if row["id"] == rows[0]["id"])
        places = [k for k, row in enumerate(rows) if row["source"] == first["source"] and row["id"] != first["id"]][-3:]
        return [first | {"epoch": last + 1 + places.index(k)} if k in places else row for k, row in enumerate(rows)]

    edit_rows(bundle, "train", more_of_one)
    assert "repeats" in broken(bundle)


def test_a_lost_row_breaks_its_quota(bundle: Path) -> None:
    edit_rows(bundle, "train", lambda rows: rows[:-1])
    assert "quotas" in broken(bundle)


def test_a_quota_off_its_weight_is_found(bundle: Path) -> None:
    def other_weight(manifest: dict[str, Any]) -> None:
        manifest["sources"]["cmath"]["requested_weight"] += 0.1
        manifest["sources"]["mawps"]["requested_weight"] -= 0.1

    edit_manifest(bundle, other_weight)
    assert broken(bundle) == {"quotas"}


def test_a_stretch_starved_of_a_source_is_found(bundle: Path) -> None:
    edit_rows(bundle, "train", lambda rows: sorted(rows, key=lambda row: row["source"]))
    assert "prefixes" in broken(bundle)


def spans(*pairs: tuple[int, int]) -> list[dict[str, int]]:
    return [{"start": start, "end": end} for start, end in pairs]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"text": "abc", "targets": spans((0, 4))}, "a target is empty or not inside the text"),
        ({"text": "abc", "targets": spans((-1, 2))}, "a target is empty or not inside the text"),
        ({"text": "abc", "targets": spans((2, 2))}, "a target is empty or not inside the text"),
        ({"text": "🙂🙂🙂", "targets": spans((0, 1), (1, 3))}, "its targets are out of order, or touch"),
        ({"text": "abcd", "targets": spans((2, 4), (0, 1))}, "its targets are out of order, or touch"),
        ({"text": None, "targets": spans((0, 1))}, "it has targets, but no text"),
        ({"text": "", "targets": []}, "its text is empty"),
        ({"text": "abc", "targets": None}, "its targets are null"),
        ({"text": "another text", "targets": spans((0, 3))}, "its repeats have other texts or targets"),
    ],
)
def test_wrong_targets_are_found(bundle: Path, values: Row, fault: str) -> None:
    def change(rows: list[Row]) -> list[Row]:
        ids = [row["id"] for row in rows]
        twice = next(k for k, row in enumerate(rows) if ids.count(row["id"]) > 1)
        return [row | values if k == twice else row for k, row in enumerate(rows)]

    edit_rows(bundle, "train", change)
    (check,) = (check for check in verify(open_bundle(str(bundle), bundle.parent)) if check.faults)
    assert check.name == "spans"
    assert any(line.endswith(fault) for line in check.faults)


def test_a_bundle_without_texts_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(PROGRAM, ["build", "mix=balanced", "template=none", "out=bundle"]) == 0
    assert broken(tmp_path / "bundle") == set()
    edit_manifest(tmp_path / "bundle", lambda manifest: manifest.update(template={"name": "x", "key": "y"}))
    assert broken(tmp_path / "bundle") == {"spans"}


@pytest.fixture(scope="module")
def whole_with_tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with repeats and sequences of a tokenizer that knows single bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("tokens")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: k for k, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    places = [f"paths.pools={folder / 'pools'}", f"paths.bundles={folder / 'bundles'}", f"out={folder / 'bundle'}"]
    mix = ["mix=balanced", "mix.weights={cmath: 2, mawps: 1}", "mix.total_rows=500"]
    tokens = [f"tokenizer={folder / 'tokenizer.json'}", "tokens.max_length=300", "tokens.on_long=split"]
    assert main(PROGRAM, ["build", *mix, *tokens, *places]) == 0
    return folder / "bundle"


@pytest.fixture
def with_tokens(whole_with_tokens: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_with_tokens, tmp_path / "bundle"))


def edit_sequences(bundle: Path, edit: Callable[[list[Row]], Any]) -> None:
    """Change the training sequences in place; the digests in their manifest follow."""
    (folder,) = (bundle / "tokens").iterdir()
    path = folder / "train" / DATA
    rows = pa.ipc.open_stream(path.read_bytes()).read_all().to_pylist()
    edit(rows)
    with pa.ipc.new_stream(str(path), SEQUENCES) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=SEQUENCES))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"][f"train/{DATA}"] = {"bytes": path.stat().st_size, "xxh3_128": file_digest(path)}
    (folder / "manifest.json").write_text(sealed(manifest), encoding="utf-8")


def token_faults(bundle: Path) -> list[str]:
    faulty = {check.name: check.faults for check in verify(open_bundle(str(bundle), bundle.parent)) if check.faults}
    assert set(faulty) <= {"tokens"}
    return faulty.get("tokens", [])


def test_sequences_written_again_unchanged_are_sound(with_tokens: Path) -> None:
    assert token_faults(with_tokens) == []
    edit_sequences(with_tokens, lambda rows: None)
    assert token_faults(with_tokens) == []


def another_label(rows: list[Row]) -> None:
    rows[3]["labels"][-1] = rows[3]["input_ids"][-1] + 1


def first_label(rows: list[Row]) -> None:
    rows[3]["labels"][0] = rows[3]["input_ids"][0]


def fewer_labels(rows: list[Row]) -> None:
    rows[3]["labels"] = rows[3]["labels"][:-1]


def untrained(rows: list[Row]) -> None:
    rows[3]["labels"] = [-100] * len(rows[3]["labels"])


def shorter(rows: list[Row]) -> None:
    rows[3]["seq_lengths"][0] -= 1


def moved(rows: list[Row]) -> None:
    row = next(row for row in rows if len(row["seq_lengths"]) > 1)
    row["seq_lengths"][:2] = [sum(row["seq_lengths"][:2]) - 1, 1]


def twice(rows: list[Row]) -> None:
    rows[3]["rows"][0], rows[3]["starts"][0] = rows[4]["rows"][0], rows[4]["starts"][0]


def outside(rows: list[Row]) -> None:
    rows[3]["rows"][0] = 500


def longer(rows: list[Row]) -> None:
    for name in rows[3]:
        rows[3][name] += rows[4][name]
    del rows[4]


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (another_label, "labels that are neither the id nor -100 (sequence 3 and 0 more)"),
        (first_label, "the first token of a row's stretch is trained on (sequence 3 and 0 more)"),
        (fewer_labels, "not as many labels as ids (sequence 3 and 0 more)"),
        (untrained, "a stretch without a token that is trained on (sequence 3 and 0 more)"),
        (shorter, "seq_lengths do not sum to the sequence (sequence 3 and 0 more)"),
        (moved, "a stretch without a token that is trained on"),
        (twice, "1 stretches of a row come twice, the first of row"),
        (outside, "1 stretches are of no row or start of the split, the first of row 500"),
        (longer, "longer than 300 tokens (sequence 3 and 0 more)"),
        (lambda rows: rows.pop(), "rows 4"),
        (lambda rows: rows.pop(), "fill 0."),
        (lambda rows: rows.pop(), "cmath: tokens "),
        (lambda rows: rows.pop(), "target_tokens "),
        (lambda rows: rows[0].update(labels=None), "there are nulls in it"),
    ],
)
def test_wrong_sequences_are_found(with_tokens: Path, edit: Callable[[list[Row]], Any], fault: str) -> None:
    edit_sequences(with_tokens, edit)
    assert any(f"/train: {fault}" in line for line in token_faults(with_tokens))


def test_a_flipped_byte_in_a_token_file_is_named(with_tokens: Path) -> None:
    (path,) = (with_tokens / "tokens").glob(f"*/train/{DATA}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    key = path.parents[1].name
    assert token_faults(with_tokens) == [f"tokens/{key}/train/{DATA} has other bytes than when it was written"]


def test_missing_tokens_and_files_too_many_are_named(with_tokens: Path) -> None:
    (folder,) = (with_tokens / "tokens").iterdir()
    (folder / "more.txt").write_text("")
    assert token_faults(with_tokens) == [f"tokens/{folder.name}/more.txt is not in the manifest"]
    (folder / "manifest.json").write_text("{}")
    (fault,) = token_faults(with_tokens)
    assert fault.startswith(f"tokens/{folder.name}/manifest.json is not as it is written")
    shutil.rmtree(folder)
    assert token_faults(with_tokens) == [f"tokens/{folder.name} is missing"]


@pytest.mark.parametrize("count", ["raw_rows", "unique", "available"])
def test_sums_that_do_not_add_up_are_found(bundle: Path, count: str) -> None:
    edit_manifest(bundle, lambda manifest: manifest["sources"]["cmath"].update({count: 1}))
    assert "sums" in broken(bundle)


def test_a_quarantined_row_that_is_not_listed_is_found(bundle: Path) -> None:
    path = bundle / "quarantine.jsonl"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]), encoding="utf-8")
    edit_manifest(
        bundle,
        lambda manifest: manifest["files"].update(
            {"quarantine.jsonl": {"bytes": path.stat().st_size, "xxh3_128": file_digest(path)}}
        ),
    )
    assert broken(bundle) == {"quarantine"}


def test_other_columns_are_found(bundle: Path) -> None:
    path = bundle / "train" / DATA
    table = pa.ipc.open_stream(path.read_bytes()).read_all().drop_columns(["answer"])
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    edit_manifest(
        bundle,
        lambda manifest: manifest["files"].update(
            {f"train/{DATA}": {"bytes": path.stat().st_size, "xxh3_128": file_digest(path)}}
        ),
    )
    assert broken(bundle) == {"schema"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "another 9"}', "{"])
def test_a_manifest_that_is_none_is_named(bundle: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "manifest.json").write_text(text)
    assert main(PROGRAM, ["verify", f"bundle={bundle}"]) == 3
    assert "manifest.json" in capsys.readouterr().out
    assert main(PROGRAM, ["stats", f"bundle={bundle}"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


SCHEDULE = "mix.schedule=[{until: 0.5, weights: {cmath: 1, emoji: 1}}, {until: 1, weights: {alpaca: 4, cmath: 1}}]"


def test_a_stage_of_other_weights_than_its_manifest_says_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(PROGRAM, ["build", "mix=balanced", "out=bundle", SCHEDULE]) == 0
    sources = open_bundle("bundle", tmp_path).manifest["sources"]
    lengths = [sum(entry["stages"][k] for entry in sources.values()) for k in (0, 1)]
    assert abs(lengths[0] - lengths[1]) <= 1
    assert sources["alpaca"]["stages"][0] == sources["emoji"]["stages"][1] == 0
    assert sources["cmath"]["requested_weight"] == 0.35
    edit_rows(tmp_path / "bundle", "train", lambda rows: rows[lengths[0] :] + rows[: lengths[0]])
    assert "quotas" in broken(tmp_path / "bundle")


@pytest.mark.parametrize(
    "settings",
    [
        ["mix.strategy=interleave"],
        ["mix.strategy=interleave", "mix.stop=first_exhausted"],
        ["mix.strategy=temperature"],
        ["mix.replacement=true"],
        ["mix.total_rows=3000", "mix.max_epochs=1.5", "mix.on_shortage=shrink"],
        ["mix.total_rows=1200", "mix.max_epochs=1", "mix.on_shortage=renormalize"],
        ["split=none"],
        ["mix.total_rows=7"],
        [SCHEDULE],
        [SCHEDULE, "mix.total_rows=2001", "mix.max_epochs=2", "mix.on_shortage=renormalize", "mix.weights.emoji=0"],
    ],
)
def test_bundles_of_every_strategy_are_sound(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(PROGRAM, ["build", "mix=math_heavy", "out=bundle", *settings]) == 0
    assert broken(tmp_path / "bundle") == set()
