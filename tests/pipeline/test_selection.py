"""What leaves before the split: counted, listed, the same for every mix, and nothing of a reused validation split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.folder import file_entry, sealed
from pipeline.manifest import open_bundle
from pipeline.show.provenance import find_in_bundle
from pipeline.verify.checks import verify

Row = tuple[str, str]


def written(path: str, rows: list[Row]) -> Path:
    Path(path).write_text("".join(json.dumps({"question": q, "a": a}) + "\n" for q, a in rows), "utf-8")
    return Path(path)


def source(path: str, weight: float = 1) -> list[str]:
    name = Path(path).stem
    shape = f"{{path: {path}, shape: columns, columns: {{user: question, assistant: a}}, tags: [{name}]}}"
    return [f"+sources.{name}={shape}", f"+mix.weights.{name}={weight}"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    status = main(PROGRAM, list(arguments))
    out, err = capsys.readouterr()
    assert status == 0, out + err
    return out.splitlines()


def build(capsys: pytest.CaptureFixture[str], *overrides: str) -> Path:
    """A bundle that verifies and whose rows are all accounted for."""
    bundle = Path(run(capsys, "build", "mix=custom", "template=none", "split.min_validation=4", *overrides)[-1])
    run(capsys, "verify", f"bundle={bundle}")
    for entry in manifest(bundle)["sources"].values():
        gone = sum(entry["quarantined"].values()) + sum(entry["duplicates"].values())
        assert entry["raw_rows"] == gone + entry["validation"] + entry["available"]
    return bundle


def fail(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    assert main(PROGRAM, ["build", "mix=custom", "template=none", *overrides]) == 2
    return capsys.readouterr().err


def manifest(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "manifest.json").read_text("utf-8"))


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def quarantine(bundle: Path) -> dict[str, str]:
    """Id → reason."""
    return {f"{row['source']}:{row['row']}": row["reason"] for row in jsonl(bundle / "quarantine.jsonl")}


def copies(bundle: Path) -> dict[str, tuple[str, str | None]]:
    return {row["id"]: (row["copy"], row["kept"]) for row in jsonl(bundle / "duplicates.jsonl")}


def ids(bundle: Path, name: str) -> set[str]:
    return {row["id"] for row in jsonl(bundle / {"train": "train.jsonl", "validation": "val.jsonl"}[name])}


def long(k: int) -> str:
    """A text of 150 words that shares none with another's."""
    return " ".join(f"w{k}x{j}" for j in range(150))


@pytest.fixture(autouse=True)
def _work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty rows a source; the first of `b` are a copy, a near copy and another answer of the first of `a`."""
    monkeypatch.chdir(tmp_path)
    a = [(long(k), f"answer {k}") for k in range(40)]
    nearly = long(1).replace("w1x7 ", "W1X7 ")
    written("a.jsonl", a)
    written("b.jsonl", [a[0], (nearly, "answer 1"), (long(2), "another"), *((long(k), "b") for k in range(40, 77))])


AB = [*source("a.jsonl"), *source("b.jsonl")]


def test_a_filter_quarantines_what_does_not_pass(capsys: pytest.CaptureFixture[str]) -> None:
    expression = "len_answer > 1 and ('a' in tags or reply == 'another')"
    bundle = build(capsys, *AB, f"filter={expression}", "mix.strategy=concat")
    assert quarantine(bundle) == {f"b:{k}": "filtered" for k in (0, 1, *range(3, 40))}
    assert {row["detail"] for row in jsonl(bundle / "quarantine.jsonl")} == {expression}
    assert ids(bundle, "train") | ids(bundle, "validation") == {*(f"a:{k}" for k in range(40)), "b:2"}
    assert not (bundle / "duplicates.jsonl").exists()


def test_a_copy_that_passes_stays_where_the_preferred_one_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    bundle = build(capsys, *AB, "filter=\"'b' in tags\"", "mix.strategy=concat", "mix.weights.a=0")
    assert "b:0" in ids(bundle, "train") | ids(bundle, "validation")
    [found] = run(capsys, "show", f"bundle={bundle}", "id=b:0", "format=json")
    assert json.loads(found)["place"] in ("train", "validation")


@pytest.mark.parametrize(
    ("on_conflict", "expected"),
    [
        ("keep", {}),
        ("first", {"b:2": ("conflict", "a:2")}),
        ("drop", {"a:2": ("conflict", None), "b:2": ("conflict", None)}),
    ],
)
def test_conflicts_go_as_told(on_conflict: str, expected: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    bundle = build(capsys, *AB, f"dedup.on_conflict={on_conflict}", "mix.strategy=concat")
    if on_conflict == "keep":
        assert not (bundle / "duplicates.jsonl").exists()
        assert set(manifest(bundle)["sources"]["a"]["duplicates"]) == {"within", "across"}
    else:
        assert copies(bundle) == expected
        counted = sum(entry["duplicates"]["conflict"] for entry in manifest(bundle)["sources"].values())
        assert counted == len(expected)
    left = ids(bundle, "train") | ids(bundle, "validation")
    assert {"a:2", "b:2"} - left == set(expected)


def test_of_near_copies_the_preferred_stays(capsys: pytest.CaptureFixture[str]) -> None:
    bundle = build(capsys, *AB, "dedup=near")
    assert copies(bundle) == {"b:1": ("near", "a:1")}
    assert copies(build(capsys, *AB, "dedup=near", "dedup.prefer=[b]")) == {"a:1": ("near", "b:1")}
    near = json.loads((bundle / "near.json").read_text("utf-8"))
    assert (near["threshold"], near["clusters"], near["dropped_rows"]) == (0.8, 1, 1)
    [cluster] = near["largest"]
    assert (cluster["kept"]["id"], cluster["dropped"]["id"]) == ("a:1", "b:1")
    assert cluster["kept"]["text"] == (long(1) + "\nanswer 1")[:400]
    assert "near.json" in manifest(bundle)["files"]


def test_near_copies_are_looked_for_once_for_the_same_rows(capsys: pytest.CaptureFixture[str]) -> None:
    def kept() -> dict[Path, int]:
        return {path: path.stat().st_ino for path in Path("data_pools/pools").glob("*/*/near/*/*.arrow")}

    build(capsys, *AB, "dedup=near")
    first = kept()
    assert len(first) == 1
    build(capsys, *AB, "dedup=near", "mix.weights.a=3", "dedup.on_conflict=keep")
    assert kept() == first
    build(capsys, *AB, "dedup=near", "dedup.near.threshold=0.9")
    build(capsys, *AB, "dedup=near", "filter=len_answer > 1")
    assert len(kept()) == 3


def test_rows_that_differ_in_their_tool_calls_alone_are_no_near_copies(capsys: pytest.CaptureFixture[str]) -> None:
    calls = [
        [{"type": "function", "function": {"name": "f", "arguments": {"city": word}}}] for word in ("Rome", "Oslo")
    ]
    rows = [
        {
            "messages": [
                {"role": "user", "content": "Weather?"},
                {"role": "assistant", "content": "", "tool_calls": call},
            ]
        }
        for call in calls
    ]
    Path("calls.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    calling = ["+sources.calls={path: calls.jsonl, shape: messages}", "+mix.weights.calls=1"]
    assert copies(build(capsys, *calling, "dedup=near")) == {}


def test_rows_of_an_evaluation_set_leave_training_and_validation(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = [(long(3).upper() + "?", "unknown"), ("so: " + long(41)[:300], "unknown"), ("what else", "no")]
    written("eval.jsonl", evaluation)
    against = "decontaminate.against=[eval.jsonl]"
    bundle = build(capsys, *AB, against)
    assert quarantine(bundle) == {"a:3": "decontaminated", "b:4": "decontaminated"}
    details = {row["row"]: row["detail"] for row in jsonl(bundle / "quarantine.jsonl")}
    assert details[3] == "same prompt as eval:0"
    assert details[4].startswith("13 words in common with eval:1: “w41x0 w41x1 ")
    assert not manifest(bundle)["warnings"]
    [entry] = manifest(bundle)["evaluation_sets"].values()
    assert (entry["rows"], entry["files"][0]["path"]) == (3, "eval.jsonl")
    again = build(capsys, *AB, against)
    assert again == bundle
    written("eval.jsonl", evaluation[:1])
    fewer = build(capsys, *AB, against)
    assert fewer != bundle
    assert quarantine(fewer) == {"a:3": "decontaminated"}


def test_evaluation_rows_that_cannot_be_read_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    Path("eval.jsonl").write_text('{"question": "a"}\n{"question": " "}\n{bad\n')
    bundle = build(capsys, *AB, "decontaminate.against=[eval.jsonl]")
    [warning] = manifest(bundle)["warnings"]
    assert "2 rows of the evaluation set eval" in warning


def test_evaluation_sets_are_read_in_any_shape(capsys: pytest.CaptureFixture[str]) -> None:
    Path("messages.jsonl").write_text(
        json.dumps({"messages": [{"role": "user", "content": long(5)}, {"role": "assistant", "content": "x"}]}) + "\n"
    )
    Path("alpaca.json").write_text(json.dumps([{"instruction": "Go on.", "input": long(6), "output": "x"}]))
    Path("plain.csv").write_text(f"n,text\n1,{long(7)}\n")
    written("named.jsonl", [("nothing", long(8))])
    named = "{name: held, path: named.jsonl, shape: columns, columns: {user: question, assistant: a}}"
    bundle = build(capsys, *AB, f"decontaminate.against=[messages.jsonl,alpaca.json,plain.csv,tools,{named}]")
    assert set(quarantine(bundle)) == {"a:5", "a:6", "a:7", "a:8"}
    assert set(manifest(bundle)["evaluation_sets"]) == {"messages", "alpaca", "plain", "tools", "held"}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["decontaminate.against=[nowhere.jsonl]"], "evaluation set nowhere: no file nowhere.jsonl"),
        (["decontaminate.against=[cmaht]"], "did you mean cmath?"),
        (["decontaminate.against=[columns.jsonl]"], "no column of questions"),
        (["decontaminate.against=[a.jsonl]"], "decontaminate.against, a: a source of this build has this name"),
        (["decontaminate.against=[x/e.jsonl,x/e.csv]"], "two evaluation sets have this name"),
        (["decontaminate.against=[7]"], "a path, a name of conf/source or a mapping"),
        (["decontaminate.against=[{path: a.jsonl, shap: columns}]"], "did you mean shape"),
        (["decontaminate.ngram=1"], "decontaminate.ngram=1"),
        (["decontaminate.against=[{name: all, path: both.jsonl}]"], "the evaluation sets have every row"),
        (["filter=len_answer < 0"], "no row passes len_answer < 0"),
        (["filter=len_anser < 9"], "did you mean len_answer"),
        (["filter=true"], "filter=True"),
        (["dedup.on_conflict=last"], "keep or first or drop"),
        (["dedup.near=0.9"], "dedup.near=0.9"),
        (["dedup=near", "dedup.near.threshold=2"], "dedup.near.threshold=2"),
    ],
)
def test_wrong_settings_are_said(overrides: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("columns.jsonl").write_text('{"x": 1}\n')
    Path("both.jsonl").write_text(Path("a.jsonl").read_text() + Path("b.jsonl").read_text())
    err = fail(capsys, *AB, *overrides)
    assert said in err
    assert "\n  fix: " in err
    assert not Path("data_pools/bundles/latest").exists()


def test_verify_finds_a_list_that_does_not_say_all(capsys: pytest.CaptureFixture[str]) -> None:
    bundle = build(
        capsys, *AB, "dedup=near", "mix.strategy=concat", "split=none", "out=bundle", "split.min_validation=0"
    )
    for line, broken in (("", {"duplicates"}), ('{"id":"a:1","copy":"near","kept":"b:1"}\n', {"duplicates", "left"})):
        (bundle / "duplicates.jsonl").write_text(line)
        entry = manifest(bundle)
        entry["files"]["duplicates.jsonl"] = file_entry(bundle / "duplicates.jsonl")
        (bundle / "manifest.json").write_text(sealed(entry))
        assert {check.name for check in verify(open_bundle(str(bundle), bundle.parent)) if check.faults} == broken


EVERYTHING = [
    "dedup=near",
    "dedup.on_conflict=first",
    "filter=reply != 'answer 9'",
    "decontaminate.against=[eval.jsonl]",
]


def test_weights_change_nothing_of_what_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    written("eval.jsonl", [(long(3), "x")])
    one = build(capsys, *source("a.jsonl", 1), *source("b.jsonl", 1), *EVERYTHING)
    two = build(capsys, *source("a.jsonl", 0), *source("b.jsonl", 5), *EVERYTHING)
    assert quarantine(one) == quarantine(two) == {"a:9": "filtered", "a:3": "decontaminated"}
    assert copies(one) == copies(two) == {"b:1": ("near", "a:1"), "b:2": ("conflict", "a:2")}
    assert (one / "val.jsonl").read_bytes() == (two / "val.jsonl").read_bytes()
    assert run(capsys, "diff", f"a={one}", f"b={two}")
    assert "copies near  copies conflict" in "\n".join(run(capsys, "stats", f"bundle={one}"))


def test_an_arm_that_reuses_the_validation_rows_loses_the_same_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """As `eval ab` builds its arms, here with half of all rows in validation."""
    written("eval.jsonl", [(long(3), "x")])
    half = [*AB, *EVERYTHING, "split.min_validation=35"]
    first = build(capsys, *half, "out=first")
    second = build(capsys, *half, "out=second", "split.validation_from=first", "seed=7")
    assert quarantine(first) == quarantine(second)
    assert copies(first) == copies(second)
    counts = [
        {name: (entry["duplicates"], entry["validation"], entry["available"]) for name, entry in found.items()}
        for found in (manifest(first)["sources"], manifest(second)["sources"])
    ]
    assert counts[0] == counts[1]


def test_rows_of_a_reused_validation_split_stay_whatever_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """`c` is preferred to `first`, and has another answer and a near copy for each of its validation rows."""
    first = build(capsys, *source("a.jsonl"), "out=first")
    validation = {row["id"]: row["messages"] for row in jsonl(first / "val.jsonl")}
    others = [(question["content"], "other") for question, _ in validation.values()]
    near = [(question["content"].replace("x7 ", "X7 "), reply["content"]) for question, reply in validation.values()]
    written("A.jsonl", [*others, *near, ("fresh", "row"), ("more", "rows")])
    written("eval.jsonl", [(question["content"], "x") for question, _ in validation.values()])
    asked = ["split.validation_from=first", "decontaminate.against=[eval.jsonl]", "dedup=near"]
    asked += ["dedup.on_conflict=first", "filter=len_answer < 9 or source == 'A'", "out=second", "dedup.prefer=[A]"]
    second = build(capsys, *source("a.jsonl"), *source("A.jsonl"), *asked)
    found = manifest(second)["sources"]
    assert found["a"]["validation"] == len(validation)
    assert found["a"]["quarantined"] == {"filtered": len({f"a:{k}" for k in range(10, 40)} - validation.keys())}
    assert found["A"]["duplicates"]["conflict"] == found["A"]["duplicates"]["near"] == len(validation)
    assert ids(second, "train") & {f"A:{k}" for k in range(2 * len(validation))} == set()
    gone = build(capsys, *source("A.jsonl"), "split.validation_from=first", "dedup=near", "out=third")
    assert manifest(gone)["sources"]["A"]["duplicates"]["near"] == len(validation)
    assert manifest(gone)["sources"]["A"]["quarantined"] == {"prompt_in_validation": len(validation)}


def test_every_raw_row_is_found_where_it_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    written("eval.jsonl", [(long(3), "x")])
    written("b.jsonl", [(row["question"], row["a"]) for row in [*jsonl(Path("b.jsonl")), *jsonl(Path("b.jsonl"))]])
    bundle = build(capsys, *AB, *EVERYTHING)
    opened = open_bundle(str(bundle), bundle.parent)
    for name, entry in manifest(bundle)["sources"].items():
        places: dict[str, int] = {}
        for row in range(entry["raw_rows"]):
            place = find_in_bundle(opened, Path("data_pools/pools"), f"{name}:{row}", Path()).place
            places[place] = places.get(place, 0) + 1
        assert places.pop("quarantine", 0) == sum(entry["quarantined"].values())
        assert places.pop("duplicate", 0) == sum(entry["duplicates"].values())
        assert places.pop("validation", 0) == entry["validation"]
        assert sum(places.values()) == entry["available"]
    [note] = run(capsys, "show", f"bundle={bundle}", "id=b:1", "format=json")
    assert json.loads(note)["note"] == "nearly a copy of a:1"


def test_the_shipped_evaluation_sets_are_read_from_a_file_as_from_the_hub(
    capsys: pytest.CaptureFixture[str], shared: Path
) -> None:
    """Real questions, hidden in rows of our own, are found; the files' rows stay out of the project."""
    real = [row["question"] for row in jsonl(shared / "gsm8k" / "test.jsonl")[:3]]
    written("a.jsonl", [*((f"Warm-up! {question}", "?") for question in real), *((long(k), "x") for k in range(9))])
    path = shared / "gsm8k" / "test.jsonl"
    told = f"{{name: gsm8k_test, path: {path}, shape: columns, columns: {{user: question, assistant: answer}}}}"
    for overrides in (
        ["decontaminate=gsm8k_test", f"decontaminate.against=[{told}]"],
        [f"decontaminate.against=[{path}]"],
    ):
        bundle = build(capsys, *source("a.jsonl"), *overrides)
        assert quarantine(bundle) == {f"a:{k}": "decontaminated" for k in range(3)}


def test_every_file_of_conf_decontaminate_composes(capsys: pytest.CaptureFixture[str]) -> None:
    folder = PROGRAM.conf / "decontaminate"
    for name in sorted(path.stem for path in folder.glob("*.yaml")):
        text = "\n".join(run(capsys, "build", f"decontaminate={name}", "--cfg", "job"))
        assert "ngram: 13" in text
        assert f"name: {name}" in text
