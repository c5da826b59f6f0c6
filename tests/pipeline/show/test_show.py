"""`show`: the rows asked for, one row wherever it went, and nothing in them that a terminal obeys."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.show.rows import json_line
from pipeline.visible import visible

SHAPE = "shape: columns, columns: {user: q, assistant: a}"
ONE = [
    '{"q": "one \\u001b[31m?", "a": "1"}',
    '{"q": "two?", "a": ""}',
    '{"q": "a \\u001b]0;evil\\u0007 \\u009b31m \\u202e", "a": ""}',
    '{"q": broken \x1b[31m',
    '{"q": "three?", "a": "3"}',
    '{"q": "three?", "a": "3"}',
    '{"q": "five?", "a": "5"}',
    '{"q": "six?", "a": "6"}',
]
OTHER = ['{"q": "three?", "a": "3"}', '{"q": "four?", "a": "4"}', '{"q": "eight?", "a": "8"}']


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("show")
    (folder / "one.jsonl").write_text("\n".join(ONE), "utf-8")
    (folder / "other.jsonl").write_text("\n".join(OTHER), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert (
            main(PROGRAM, ["build", "mix=natural", "out=samples", "mix.strategy=resample", "mix.total_rows=900"]) == 0
        )
        sources = [f"+sources.{name}={{path: {name}.jsonl, {SHAPE}, tags: [{name}, x]}}" for name in ("one", "other")]
        weights = ["+mix.weights.one=1", "+mix.weights.other=3", "mix.total_rows=6"]
        assert main(PROGRAM, ["build", "mix=custom", *sources, *weights, "split.min_validation=1", "out=small"]) == 0
        # the same rows under other numbers, two of them twice, beside the validation rows of the first bundle
        (folder / "moved.jsonl").write_text("\n".join(['{"q": "new?", "a": "0"}', *OTHER, *OTHER[1:]]), "utf-8")
        sources[1] = sources[1].replace("other.jsonl", "moved.jsonl")
        reuse = ["split.validation_from=small", "out=reusing"]
        assert main(PROGRAM, ["build", "mix=custom", *sources, *weights, *reuse]) == 0
    return folder


@pytest.fixture
def show(work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(work)

    def call(*overrides: str) -> list[Any]:
        assert main(PROGRAM, ["show", "format=json", *overrides]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return call


@pytest.fixture
def text(work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(work)

    def call(*overrides: str) -> str:
        assert main(PROGRAM, ["show", *overrides]) == 0
        return capsys.readouterr().out

    return call


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_the_first_rows_are_those_of_the_files_in_their_order(show: Any, work: Path) -> None:
    for split, file in (("train", "train.jsonl"), ("validation", "val.jsonl")):
        rows = jsonl(work / "samples" / file)
        found = show("bundle=samples", f"rows={split}", "n=40")
        assert [{key: row[key] for key in ("id", "source", "tags", "messages")} for row in found] == [
            {key: row[key] for key in ("id", "source", "tags", "messages")} for row in rows[:40]
        ]
        some = show("bundle=samples", f"rows={split}", "sources=[mawps,emoji]", "tag=en", "n=100000")
        assert [row["id"] for row in some] == [
            row["id"] for row in rows if row["source"] in ("mawps", "emoji") and "en" in row["tags"]
        ]


def test_tool_calls_are_objects(show: Any) -> None:
    rows = show("bundle=samples", "tag=tool", "n=20")
    calls = [message["tool_calls"] for row in rows for message in row["messages"] if "tool_calls" in message]
    assert calls
    assert all(isinstance(call["function"]["name"], str) for some in calls for call in some)
    assert all(isinstance(row["tools"][0], dict) for row in rows)


@pytest.mark.parametrize("bundle", ["small", "reusing"])
def test_every_raw_row_is_found_in_exactly_the_place_that_the_manifest_counts(
    show: Any, work: Path, bundle: str
) -> None:
    manifest = json.loads((work / bundle / "manifest.json").read_text("utf-8"))
    for name, entry in manifest["sources"].items():
        places: dict[str, int] = {}
        for row in range(entry["raw_rows"]):
            [found] = show(f"bundle={bundle}", f"id={name}:{row}")
            places[found["place"]] = places.get(found["place"], 0) + 1
            assert "refused" in found if found["place"] == "quarantine" else found["row"]["id"] == f"{name}:{row}"
            assert f".jsonl, line {row + 1}" in found["raw_note"]
        assert places.pop("quarantine", 0) == sum(entry["quarantined"].values())
        assert places.pop("duplicate", 0) == sum(entry["duplicates"].values())
        assert places.pop("validation", 0) == entry["validation"]
        assert places.pop("train", 0) + places.pop("not_drawn", 0) == entry["available"]
        assert not places
    validation = {row["id"] for row in jsonl(work / bundle / "val.jsonl")}
    assert validation, "the test needs a validation row"


def test_a_row_tells_its_epochs_and_lines(show: Any, work: Path) -> None:
    rows = jsonl(work / "small" / "train.jsonl")
    for name in {row["id"] for row in rows}:
        [found] = show("bundle=small", f"id={name}")
        lines = [k + 1 for k, row in enumerate(rows) if row["id"] == name]
        assert found["epochs"] == list(range(len(lines)))
        assert f"{', '.join(map(str, lines))} of train.jsonl" in found["note"]


def test_a_copy_names_the_row_that_was_kept(show: Any) -> None:
    for name in ("one:5", "other:0"):
        [found] = show("bundle=small", f"id={name}")
        assert found["place"] == "duplicate"
        assert found["note"].startswith("a copy of one:4, which is ")


def test_the_raw_record_is_that_of_the_file(show: Any) -> None:
    [found] = show("bundle=small", "id=one:0")
    assert found["raw"] == json.loads(ONE[0])
    assert found["row"]["messages"][0]["content"] == "one [31m?"
    [found] = show("bundle=samples", "id=cmath:17")
    assert found["raw_note"] == "cmath.jsonl, line 18"
    [broken] = show("pool=one", "id=one:3")
    assert (broken["place"], broken["refused"]["reason"]) == ("quarantine", "bad_json")
    assert "raw" not in broken


def test_changed_or_lost_files_are_said(show: Any, work: Path) -> None:
    file, pool = work / "one.jsonl", work / "data_pools" / "pools" / "one"
    before = file.read_bytes()
    try:
        file.write_bytes(before + b"\n")
        [found] = show("bundle=small", "id=one:4")
        assert "raw" not in found
        assert "changed since" in found["raw_note"]
        file.unlink()
        [found] = show("bundle=small", "id=one:4")
        assert "no file one.jsonl" in found["raw_note"]
        shutil.move(pool, work / "aside")
        [found] = show("bundle=small", "id=one:5")
        assert found["place"] == "unknown"
        assert "its pool is not in" in found["note"]
    finally:
        file.write_bytes(before)
        if not pool.exists():
            shutil.move(work / "aside", pool)


def test_quarantine_has_reason_file_and_line(show: Any, work: Path) -> None:
    refused = jsonl(work / "samples" / "quarantine.jsonl")
    assert show("bundle=samples", "quarantine=true", "n=1000") == refused
    some = show("bundle=samples", "reason=empty_answer", "sources=cmath", "n=1000")
    assert some == [row for row in refused if (row["source"], row["reason"]) == ("cmath", "empty_answer")]
    assert len(show("pool=one", "quarantine=true")) == 3


def test_nothing_that_a_terminal_obeys_is_printed(work: Path, text: Any) -> None:
    for arguments in (
        ["quarantine=true", "n=9"],
        ["id=one:0"],
        ["id=one:2"],
        ["id=one:3"],
        ["n=9"],
        ["pool=one", "n=9"],
    ):
        for form in ("text", "json"):
            bundle = [] if "pool=one" in arguments else ["bundle=small"]
            out = text(*arguments, *bundle, f"format={form}")
            assert out == visible(out, keep="\n")
    assert r"broken \x1b[31m" in text("bundle=small", "reason=bad_json")


def test_visible_spells_out_controls_and_leaves_text_alone() -> None:
    plain = "数据 👩\u200d🔧 é ok\\"
    assert visible(plain) == plain
    assert visible("a\x1b[0m\r\n\t\x9b\x7f\u202e") == r"a\x1b[0m\r\n\t\x9b\x7f\u202e"
    assert visible("a\n\tb\r", keep="\n\t") == "a\n\tb\\r"
    value = {"a\x9b": ["\u202e\u2028", plain, "\x00"]}
    assert json.loads(json_line(value)) == value
    assert json_line(value) == visible(json_line(value))


def test_colours_only_on_a_terminal_that_wants_them(work: Path) -> None:
    def printed(**environment: str) -> bytes:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "pipeline", "show", "bundle=small", "n=1"]
        variables = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm"}
        subprocess.run(command, cwd=work, env=variables | environment, stdout=theirs, check=True, timeout=60)
        out = os.read(ours, 1 << 16)
        os.close(theirs)
        os.close(ours)
        return out

    assert b"\x1b[" in printed()
    assert b"\x1b" not in printed(NO_COLOR="1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sources=cmaht"], "did you mean cmath?"),
        (["tag=mth"], "did you mean math?"),
        (["reason=empty_anser"], "did you mean empty_answer or"),
        (["rows=trian"], "train or validation"),
        (["id=cmath"], "set id=cmath:17"),
        (["id=cmaht:1"], "did you mean cmath?"),
        (["id=cmath:9999"], "raw rows: 330"),
        (["pool=cmaht", "bundle=latest"], "did you mean cmath?"),
        (["pool=cmath", "rows=train"], "take rows or pool out"),
        (["id=cmath:1", "quarantine=true"], "take quarantine or id out"),
        (["pool=cmath", "id=mawps:1"], "have: cmath"),
    ],
)
def test_unknown_values_are_answered_with_the_nearest(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(work)
    bundle = [] if any(argument.startswith("pool=") for argument in arguments) else ["bundle=samples"]
    assert main(PROGRAM, ["show", *bundle, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 2
