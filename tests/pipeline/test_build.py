"""The build as a user runs it: commands in, bundles out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.store import scan_pool

FOUR = {
    "cmath": "cmath/deepseek_cmath_test.jsonl",
    "mawps": "mawps/mawps_n00_from_svamp.csv",
    "emoji": "emoji_shape/bilingual_qa_emojishape.jsonl",
    "alpaca": "alpaca/alpaca_data.json",
}


def build(capsys: pytest.CaptureFixture[str], *overrides: str) -> Path:
    """Run `build` here; the bundle's folder is the last line printed."""
    status = main(PROGRAM, ["build", *overrides])
    out, err = capsys.readouterr()
    assert status == 0, err
    return Path(out.splitlines()[-1])


def fail(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """Run `build`, which must end with the two-line message; returns it."""
    status = main(PROGRAM, ["build", *overrides])
    err = capsys.readouterr().err
    assert status == 2
    lines = err.splitlines()
    assert len(lines) == 2, err
    assert lines[1].startswith("  fix: ")
    return err


def manifest(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))


def rows(bundle: Path, split: str) -> pl.DataFrame:
    table = pa.ipc.open_stream(pa.memory_map(str(bundle / split / "data-00000-of-00001.arrow"))).read_all()
    return pl.DataFrame(pl.from_arrow(table.select(["id", "source", "key", "prompt_key", "epoch"])))


def assert_sums(bundle: Path) -> None:
    for name, entry in manifest(bundle)["sources"].items():
        gone = sum(entry["quarantined"].values()) + sum(entry["duplicates"].values())
        assert entry["raw_rows"] == gone + entry["unique"], name
        assert entry["unique"] == entry["validation"] + entry["available"], name


def write_rows(path: Path, count: int, prompt: str = "question {}", answer: str = "answer {}") -> Path:
    path.write_text("".join(json.dumps({"q": prompt.format(k), "a": answer.format(k)}) + "\n" for k in range(count)))
    return path


def mine(path: Path | str, name: str = "mine", weight: float = 1) -> list[str]:
    return [
        f"+sources.{name}={{path: {path}, shape: columns, columns: {{user: q, assistant: a}}}}",
        f"+mix.weights.{name}={weight}",
    ]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("mix", ["balanced", "math_heavy", "chat_heavy", "natural"])
def test_every_shipped_mix_builds_and_keeps_its_promises(mix: str, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = build(capsys, f"mix={mix}")
    assert_sums(bundle)
    assert main(PROGRAM, ["verify"]) == 0
    assert Path("data_pools/bundles/latest").read_text().strip() == bundle.name
    assert {path.name for path in Path().iterdir()} == {"data_pools"}


def test_datasets_opens_the_bundle_both_ways(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import datasets

    bundle = build(capsys, "mix=natural")
    loaded = datasets.load_from_disk(str(bundle))
    again = datasets.load_dataset(str(bundle), cache_dir=str(tmp_path / "cache"))
    for split in ("train", "validation"):
        assert loaded[split].features == again[split].features
        assert loaded[split].to_list() == again[split].to_list()
        lines = [
            json.loads(line)
            for line in (bundle / {"train": "train.jsonl", "validation": "val.jsonl"}[split])
            .read_text(encoding="utf-8")
            .splitlines()
        ]
        for row, line in zip(loaded[split], lines, strict=True):
            assert line == without_nulls({name: row[name] for name in ("id", "source", "tags", "messages", "tools")})
    calls = [message["tool_calls"] for row in loaded["train"] for message in row["messages"] if message["tool_calls"]]
    assert isinstance(calls[0][0]["function"]["arguments"], dict)


def without_nulls(value: Any) -> Any:
    """JSONL leaves out nulls in rows and messages, not inside tool calls and schemas."""
    messages = [{name: field for name, field in message.items() if field is not None} for message in value["messages"]]
    return {name: field for name, field in (value | {"messages": messages}).items() if field is not None}


def test_quotas_are_exact_and_no_prompt_stands_on_both_sides(capsys: pytest.CaptureFixture[str], shared: Path) -> None:
    weights = {"cmath": 0.4, "mawps": 0.3, "emoji": 0.2, "alpaca": 0.1}
    settings = [f"mix.weights.{name}={weight}" for name, weight in weights.items()]
    paths = [f"sources.{name}.path={shared / path}" for name, path in FOUR.items()]
    bundle = build(capsys, "mix=balanced", "mix.total_rows=30000", *settings, *paths)
    train, validation = rows(bundle, "train"), rows(bundle, "validation")
    assert Counter(train["source"]) == {"cmath": 12_000, "mawps": 9_000, "emoji": 6_000, "alpaca": 3_000}
    assert not set(train["prompt_key"]) & set(validation["prompt_key"])
    assert_sums(bundle)
    found = manifest(bundle)["sources"]
    assert {name: (entry["raw_rows"], entry["unique"]) for name, entry in found.items()} == {
        "cmath": (1_098, 1_097),
        "mawps": (1_921, 1_746),
        "emoji": (2_957, 2_957),
        "alpaca": (52_002, 51_974),
    }
    assert found["alpaca"]["quarantined"] == {"empty_answer": 28}
    assert main(PROGRAM, ["verify"]) == 0


def test_a_build_is_a_function_of_its_inputs(tmp_path: Path) -> None:
    """Threads, hash seed, locale, time zone and the order of a folder's files change nothing; the seed does."""
    for order in ("forward", "backward"):
        (tmp_path / order).mkdir()
        for k in range(5) if order == "forward" else reversed(range(5)):
            write_rows(tmp_path / order / f"part-{k}.jsonl", 200, f"question {k} {{}}")

    def digest(*overrides: str, folder: str = "forward", **environment: str) -> Any:
        command = [
            sys.executable,
            "-m",
            "pipeline",
            "build",
            "mix=balanced",
            "out=out",
            *overrides,
            *mine(tmp_path / folder / "part-*.jsonl"),
        ]
        work = tmp_path / f"work {len(list(tmp_path.iterdir()))}"
        work.mkdir()
        subprocess.run(command, cwd=work, env=os.environ | environment, check=True, capture_output=True)
        return manifest(work / "out")["digest"]

    usual = digest("threads=1", PYTHONHASHSEED="1")
    assert digest("threads=2", folder="backward", PYTHONHASHSEED="2", LC_ALL="C", TZ="Asia/Shanghai") == usual
    other = digest("seed=43")
    assert other["train"] != usual["train"]
    assert other["validation"] != usual["validation"]


def test_only_the_weights_change_and_validation_stays(capsys: pytest.CaptureFixture[str]) -> None:
    one = build(capsys, "mix=math_heavy")
    two = build(capsys, "mix=chat_heavy")
    three = build(capsys, "mix=math_heavy", "mix.weights.cmath=0", "mix.weights.emoji=5")
    digests = [manifest(bundle)["digest"] for bundle in (one, two, three)]
    assert len({found["validation"] for found in digests}) == 1
    assert len({found["train"] for found in digests}) == 3
    assert "cmath" not in set(rows(three, "train")["source"])
    assert "cmath" in set(rows(three, "validation")["source"])
    assert manifest(one)["rows"]["train"] == manifest(three)["rows"]["train"]


def test_pools_are_made_once_and_again_when_the_raw_file_changes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", 50)
    build(capsys, "mix=custom", *mine(path))
    made = {pool: pool.stat().st_mtime_ns for pool in Path("data_pools/pools/mine").glob("*/manifest.json")}
    build(capsys, "mix=custom", *mine(path, weight=3), "seed=7")
    assert {pool: pool.stat().st_mtime_ns for pool in Path("data_pools/pools/mine").glob("*/manifest.json")} == made
    write_rows(path, 51)
    build(capsys, "mix=custom", *mine(path))
    assert len(list(Path("data_pools/pools/mine").glob("*/manifest.json"))) == 2
    assert scan_pool("mine").select(pl.len()).collect().item() == 51


def test_a_damaged_pool_is_made_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", 50)
    first = manifest(build(capsys, "mix=custom", *mine(path), "out=first"))
    (data,) = Path("data_pools/pools/mine").glob("*/data-*.arrow")
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    assert manifest(build(capsys, "mix=custom", *mine(path), "out=second"))["digest"] == first["digest"]


def test_two_rows_still_build(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import datasets

    bundle = build(capsys, "mix=custom", *mine(write_rows(tmp_path / "two.jsonl", 2)))
    assert manifest(bundle)["rows"] == {"train": 1, "validation": 1}
    same = build(capsys, "mix=custom", *mine(write_rows(tmp_path / "same.jsonl", 2, "one question")))
    assert manifest(same)["rows"] == {"train": 1, "validation": 0}
    assert len(datasets.load_from_disk(str(same))["validation"]) == 0
    assert len(datasets.load_dataset(str(same), cache_dir=str(tmp_path / "cache"))["train"]) == 1


def test_rows_written_in_the_configuration_build(capsys: pytest.CaptureFixture[str]) -> None:
    rows_ = (
        "[{messages: [{role: user, content: Hi}, {role: assistant, content: Ho}]}, "
        "{messages: [{role: user, content: Ping}, {role: assistant, content: Pong}]}]"
    )
    bundle = build(capsys, "mix=custom", f"+sources.two={{shape: messages, literal: {rows_}}}", "+mix.weights.two=1")
    assert manifest(bundle)["sources"]["two"]["raw_rows"] == 2


def test_without_a_split_all_rows_are_available(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bundle = build(
        capsys, "mix=custom", "split=none", "mix.strategy=concat", *mine(write_rows(tmp_path / "f.jsonl", 40))
    )
    assert manifest(bundle)["rows"] == {"train": 40, "validation": 0}


def test_validation_from_another_bundle_is_kept_and_kept_out_of_training(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first = build(capsys, "mix=custom", *mine(write_rows(tmp_path / "old.jsonl", 300)), "out=first")
    fresh = tmp_path / "new.jsonl"
    write_rows(fresh, 350, answer="another answer {}")
    second = build(capsys, "mix=custom", *mine(fresh), f"split.validation_from={first}", "out=second")
    assert manifest(second)["digest"]["validation"] == manifest(first)["digest"]["validation"]
    assert (second / "val.jsonl").read_bytes() == (first / "val.jsonl").read_bytes()
    assert not set(rows(second, "train")["prompt_key"]) & set(rows(first, "validation")["prompt_key"])
    kept_out = manifest(second)["sources"]["mine"]["quarantined"]["prompt_in_validation"]
    assert kept_out == manifest(first)["rows"]["validation"]
    assert_sums(second)
    assert main(PROGRAM, ["verify", "bundle=second"]) == 0
    third = build(capsys, "mix=custom", *mine(tmp_path / "old.jsonl"), f"split.validation_from={first}", "out=third")
    assert manifest(third)["sources"]["mine"]["validation"] == manifest(first)["rows"]["validation"]


def test_prefer_decides_who_keeps_a_shared_row(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    a, b = write_rows(tmp_path / "a.jsonl", 60), write_rows(tmp_path / "b.jsonl", 80)
    by_name = build(capsys, "mix=custom", *mine(a, "a"), *mine(b, "b"))
    preferred = build(capsys, "mix=custom", *mine(a, "a"), *mine(b, "b"), "dedup.prefer=[b]")
    across = [
        {name: entry["duplicates"]["across"] for name, entry in manifest(bundle)["sources"].items()}
        for bundle in (by_name, preferred)
    ]
    assert across == [{"a": 0, "b": 60}, {"a": 60, "b": 0}]


def test_a_sweep_makes_a_folder_for_each_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(PROGRAM, ["build", "-m", "mix=math_heavy,chat_heavy", "seed=1,2", "out=sweep"]) == 0
    made = sorted(path.parent.name for path in Path("sweep").glob("*/manifest.json"))
    assert len(made) == 4
    assert {name.rpartition("-")[0] for name in made} == {"math_heavy", "chat_heavy"}
    assert {path.name for path in Path().iterdir()} == {"data_pools", "sweep"}


def test_equal_weights_replace_unusable_ones_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    zero = [f"mix.weights.{name}=0" for name in FOUR]
    bundle = build(capsys, "mix=balanced", *zero)
    assert any("equal weights" in warning for warning in manifest(bundle)["warnings"])
    assert {entry["requested_weight"] for entry in manifest(bundle)["sources"].values()} == {0.25}
    assert main(PROGRAM, ["verify"]) == 0


def test_the_quarantine_names_file_and_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"q": "1", "a": "x"}\n\n{"q": "2", "a": " "}\n{"q": "3"\n{"q": "4", "a": "x"}\n')
    bundle = build(capsys, "mix=custom", *mine(path))
    listed = [json.loads(line) for line in (bundle / "quarantine.jsonl").read_text().splitlines()]
    assert [(row["row"], row["file"], row["line"], row["reason"]) for row in listed] == [
        (1, "rows.jsonl", 3, "empty_answer"),
        (2, "rows.jsonl", 4, "bad_json"),
    ]


def test_text_is_data(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = "{{name}} {% raw %} <script>alert(1)</script> ${oc.env:HOME} <|im_end|>"
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"q": "q", "a": text}) + "\n")
    bundle = build(capsys, "mix=custom", *mine(path))
    assert json.loads((bundle / "train.jsonl").read_text())["messages"][1]["content"] == text


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["sources.cmath.path=nowhere/cmath.jsonl"], "nowhere/cmath.jsonl"),
        (["sources.cmath.path=empty"], "no data files in the folder empty"),
        (["sources.cmath.path=no-columns.jsonl"], "no column 'question' (have: q, a)"),
        (["mix=math_hevy"], "math_heavy"),
        (["+mix.weights.cmat=1"], "did you mean cmath?"),
        (["split.valid_ratio=-0.1"], "split.valid_ratio=-0.1"),
        (["mix.total_rows=0"], "mix.total_rows=0"),
        (["mix.weights.cmath=-1"], "mix.weights.cmath"),
        (["mix.weights.cmath=nan"], "mix.weights.cmath"),
        (["+_target_=os.system"], "_target_"),
        (["hydra._target_=os.system"], "_target_"),
        (["mix.strategy=resampel"], "resample"),
        (["seed=-1"], "seed=-1"),
        (["+sources.cmath.shappe=columns"], "shape"),
        (["split.validation_from=nowhere"], "nowhere"),
        (["dedup.prefer=[cmaths]"], "cmath"),
        (["template=qwen"], "qwen3"),
        (["template.path=nowhere.jinja"], "nowhere.jinja"),
        (["template=tokenizer"], "no tokenizer is named"),
        (["tokenizer=nowhere/at/all"], "tokenizer=nowhere/at/all"),
        (["tokenizer=empty"], "no tokenizer.json"),
        (["template=none", "tokenizer=empty"], "there is no text to encode"),
        (["mix.unit=tokens"], "nothing counts tokens"),
        (["loss.targets=first"], "all, last or text"),
        (["+sources.cmath.loss={tool_calls: yes_please}"], "sources.cmath.loss.tool_calls"),
        (["tokens.on_long=cut"], "truncate, drop, split"),
        (["tokens.max_length=1"], "tokens.max_length=1"),
    ],
)
def test_wrong_input_is_said_in_two_lines(overrides: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    write_rows(Path("no-columns.jsonl"), 3)
    assert said in fail(capsys, *overrides)
    assert not Path("data_pools/bundles/latest").exists()


def test_all_mistakes_are_reported_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(PROGRAM, ["build", "seed=-1", "mix.total_rows=0", "split.valid_ratio=2"]) == 2
    err = capsys.readouterr().err
    assert [word in err for word in ("seed=-1", "mix.total_rows=0", "split.valid_ratio=2")] == [True] * 3


def test_a_missing_column_is_an_error_beside_unreadable_lines_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", 20)
    path.write_text("{bad\n" + path.read_text())
    assert "no column 'nix' (have: q, a)" in fail(capsys, "mix=custom", *mine(path), "sources.mine.columns.user=nix")


@pytest.mark.parametrize("setting", ["out=file", "out=file/below", "paths.pools=file", "paths.bundles=file"])
def test_a_place_that_cannot_be_written_is_said_before_any_work(
    setting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    assert setting in fail(capsys, setting)
    assert {path.name for path in Path().iterdir()} == {"file"}


def test_a_limit_of_epochs_does_not_go_with_replacement(capsys: pytest.CaptureFixture[str]) -> None:
    assert "mix.max_epochs" in fail(capsys, "mix.max_epochs=2", "mix.replacement=true")


def test_quarantined_rows_look_as_they_were(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"q": "x", "a": true}\n{"q": "y", "a": "z"}\n')
    bundle = build(capsys, "mix=custom", *mine(path))
    assert json.loads((bundle / "quarantine.jsonl").read_text())["text"] == '{"q": "x", "a": true}'


def test_a_terminal_without_utf8_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "build", "out=out"],
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_missing_file_is_named_before_any_work(capsys: pytest.CaptureFixture[str]) -> None:
    missing = [f"sources.{name}.path=nowhere/{name}.jsonl" for name in ("cmath", "mawps")]
    assert main(PROGRAM, ["build", *missing]) == 2
    err = capsys.readouterr().err
    assert "nowhere/cmath.jsonl" in err
    assert "nowhere/mawps.jsonl" in err
    assert not Path("data_pools").exists()


def test_a_folder_with_something_else_is_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    for name in ("thesis.txt", "manifest.json"):  # that of another program, too
        (Path("mine") / name).write_text('{"name": "years of work"}')
        assert "something else than a bundle" in fail(capsys, "out=mine")
        assert not Path("data_pools").exists(), "it is said before any work"
    assert (Path("mine") / "thesis.txt").read_text() == '{"name": "years of work"}'


def test_no_file_and_no_pool_is_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    bundle = build(capsys)
    pool = next(path for path in Path("data_pools/pools/cmath").iterdir() if path.is_dir())
    assert "something else than a bundle" in fail(capsys, f"out={pool}")
    shutil.rmtree(bundle)
    bundle.write_text("")
    assert "is no folder" in fail(capsys)
    assert bundle.read_text() == ""


def test_a_bundle_whose_manifest_is_damaged_is_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    bundle = build(capsys)
    whole = manifest(bundle)
    (bundle / "manifest.json").write_text("{")
    assert build(capsys) == bundle
    assert manifest(bundle)["digest"] == whole["digest"]


HEAVY = "[m for m in ('torch', 'datasets', 'transformers', 'pandas') if m in sys.modules]"


@pytest.mark.parametrize(
    "code",
    [
        f"import sys, pipeline.__main__; print({HEAVY} + sorted({{'polars', 'hydra'}} & {{*sys.modules}}))",
        f"import sys, pipeline.build, pipeline.verify.checks; print({HEAVY})",
        "import sys; from pipeline.__main__ import PROGRAM, main; main(PROGRAM, ['build', 'mix=balanced']); "
        f"main(PROGRAM, ['build', 'mix=natural']); print({HEAVY})",
    ],
)
def test_nothing_heavy_is_loaded_for_import_and_build(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
