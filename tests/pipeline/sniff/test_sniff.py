"""The verb: YAML and nothing else on stdout, a file where it is asked for, and a build that finds it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from pipeline.cli.sniff import name_of
from pipeline.sniff.quoting import one_line, scalar

ROWS = [{"instruction": f"Add 1 to {n}.", "input": "", "output": str(n + 1)} for n in range(30)]


def write(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")


def test_stdout_is_a_source_s_yaml(verb: Any, work: Path) -> None:
    write(work / "rows.jsonl", [*ROWS, {"instruction": "Say nothing.", "output": ""}])
    status, out, error = verb("sniff", "path=rows.jsonl")
    assert (status, error) == (0, "")
    assert yaml.safe_load(out) == {"shape": "alpaca", "tags": ["en"], "path": "rows.jsonl", "licence": None}
    assert "# 30 of 31 rows fit; 1 does not: empty_answer 1\n" in out
    assert "#   output (text): 1\n" in out
    assert "write=true name=rows" in out
    assert not (work / "conf").exists()


def test_what_is_written_is_found_by_its_weight(verb: Any, work: Path) -> None:
    write(work / "data/my rows.jsonl", ROWS)
    status, out, _ = verb("sniff", "path=data/my rows.jsonl", "write=true", "name=mine")
    assert (status, out) == (0, "conf/source/mine.yaml\n")
    assert [path.name for path in (work / "conf").rglob("*") if path.is_file()] == ["mine.yaml"]
    status, out, error = verb("build", "mix=custom", "+mix.weights.mine=1", "out=one")
    assert status == 0, error
    assert json.loads(Path("one/manifest.json").read_text("utf-8"))["sources"]["mine"]["raw_rows"] == 30


def test_its_settings_can_be_overridden_and_swept(verb: Any, work: Path) -> None:
    write(work / "rows.jsonl", ROWS)
    write(work / "other.jsonl", ROWS[:20])
    assert verb("sniff", "path=rows.jsonl", "write=true")[0] == 0
    assert verb("build", "mix=balanced", "+mix.weights.rows=1", "sources.rows.path=other.jsonl", "out=two")[0] == 0
    sources = json.loads(Path("two/manifest.json").read_text("utf-8"))["sources"]
    assert sources["rows"]["raw_rows"] == 20
    assert len(sources) == 5
    status, out, _ = verb(
        "build", "-m", "mix=custom", "+mix.weights.rows=1", "sources.rows.path=rows.jsonl,other.jsonl"
    )
    assert status == 0
    folders = [line for line in out.splitlines() if line.startswith("data_pools/bundles/")]
    manifests = [json.loads((Path(folder) / "manifest.json").read_text("utf-8")) for folder in folders]
    assert [manifest["sources"]["rows"]["raw_rows"] for manifest in manifests] == [30, 20]
    assert all("--config-dir conf" in manifest["command"] for manifest in manifests)


def test_a_folder_of_one_s_own_does_not_count_unless_asked_for(verb: Any, work: Path) -> None:
    (work / "conf").mkdir()
    (work / "conf/build.yaml").write_text("# some other program's\n_target_: os.system\n")
    assert verb("build", "mix=custom", "+mix.weights.tools=1", "out=three")[0] == 0


@pytest.mark.parametrize("name", ["alpaca", "taken"])
def test_nothing_is_overwritten(verb: Any, work: Path, name: str) -> None:
    write(work / "rows.jsonl", ROWS)
    write(work / "conf/source/taken.yaml", [])
    status, out, error = verb("sniff", "path=rows.jsonl", "write=true", f"name={name}")
    assert (status, out) == (2, "")
    assert f"the source {name} is there already" in error
    assert f"fix: name={name}_2" in error
    assert (work / "conf/source/taken.yaml").read_text() == ""
    assert verb("sniff", "path=rows.jsonl", f"name={name}")[0] == 0  # printing harms nothing


@pytest.mark.parametrize("name", ["../x", "a b", "1", "true", "NaN", "hydra", "名", "a.b", ""])
def test_a_name_is_one_that_a_weight_can_have(verb: Any, work: Path, name: str) -> None:
    write(work / "rows.jsonl", ROWS)
    status, out, error = verb("sniff", "path=rows.jsonl", "write=true", f"name={name}")
    assert (status, out) == (2, "")
    assert error.startswith("name=")
    assert not (work / "conf").exists()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("my rows.v2.jsonl.gz", "my_rows"),
        ("/data/GSM8K/", "gsm8k"),
        ("parts/*.jsonl", "parts"),
        ("*.jsonl", "data"),
        ("2020.csv", "data_2020"),
        ("数据.json", "data"),
        ("true.csv", "data_true"),
        (".", "data"),
        (".hidden.json", "hidden"),
    ],
)
def test_without_a_name_the_file_gives_it(path: str, name: str) -> None:
    assert name_of(path) == name


def test_the_fix_for_unknown_columns_works(verb: Any, work: Path) -> None:
    write(
        work / "rows.jsonl",
        [{"id": n, "frage": f"Was ist {n} + 1 denn?", "sagt": f"Das ist {n + 1}."} for n in range(9)],
    )
    status, out, error = verb("sniff", "path=rows.jsonl")
    assert (status, out) == (2, "")
    assert "columns: id (number), frage (text), sagt (text)" in error
    [_, override, _] = error.split("'")
    assert verb("build", "mix=custom", "+mix.weights.mine=1", override, "out=four")[0] == 0


@pytest.mark.parametrize(
    ("overrides", "where"),
    [
        ([], "path=null"),
        (["path=absent.jsonl"], "absent.jsonl: no file"),
        (["path=."], ".: no data files in the folder"),
        (["path=*.csv"], "*.csv: no file matches"),
        (["path=rows.jsonl", "write=maybe", "records=0"], "write=maybe"),
    ],
)
def test_mistakes_are_said(verb: Any, work: Path, overrides: list[str], where: str) -> None:
    (work / "notes.txt").write_text("no data")
    status, out, error = verb("sniff", *overrides)
    assert (status, out) == (2, "")
    assert error.startswith(where)
    assert "\n  fix: " in error


def test_a_folder_of_one_kind_is_one_source(verb: Any, work: Path) -> None:
    write(work / "parts/a.jsonl", ROWS[:10])
    write(work / "parts/b.jsonl", [{**row, "history": [["Hi", "Ho"]]} for row in ROWS[10:]])
    (work / "parts/LICENSE").write_text("mine")
    _, out, _ = verb("sniff", "path=parts")
    assert yaml.safe_load(out)["path"] == "parts"
    assert "# 30 of 30 rows fit\n" in out
    assert "# of this kind: a.jsonl, b.jsonl\n" in out
    assert "# not of this kind: LICENSE (not a data file by its ending)\n" in out


def test_the_files_of_the_majority_are_named_and_the_others_listed(verb: Any, work: Path) -> None:
    for name in ("a", "b"):
        write(work / f"parts/{name}.jsonl", ROWS)
    write(work / "parts/c.json", [{"question": "a", "answer": "b"}] * 99)
    (work / "parts/d.csv").write_bytes(b"\0\1\2" * 9)
    _, out, _ = verb("sniff", "path=parts")
    assert yaml.safe_load(out)["path"] == "parts/*.jsonl"
    assert "# 60 of 60 rows fit\n" in out
    assert "# not of this kind: c.json (shape columns)\n" in out
    assert "# not of this kind: d.csv (the file is binary, of no format known here)\n" in out
    assert "the path means" not in out
    (work / "parts/c.json").rename(work / "parts/c.jsonl")
    _, out, _ = verb("sniff", "path=parts")
    assert yaml.safe_load(out)["path"] == "parts"
    assert "# the path means those of another kind, too" in out


HOSTILE = [
    "# evil\nkey: value",
    "@package _global_",
    "a\u2028shape: x",
    "\x1b[31mred\x85\ufeff",
    "${oc.env:HOME}",
    "---",
    "%TAG",
    "_target_",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_column_breaks_out_of_its_comment(verb: Any, work: Path, name: str) -> None:
    write(work / "rows.jsonl", [{name: name, **row} for row in ROWS])
    status, out, _ = verb("sniff", "path=rows.jsonl")
    assert status == 0
    assert yaml.safe_load(out) == {"shape": "alpaca", "tags": ["en"], "path": "rows.jsonl", "licence": None}
    assert all(line.isprintable() for line in out.splitlines())
    assert verb("sniff", "path=rows.jsonl", "write=true")[0] == 0
    assert verb("build", "mix=custom", "+mix.weights.rows=1", "out=five")[0] == 0


@pytest.mark.parametrize("name", ["yes", "1e3", "a b", ": ", "a: b # c", "\\x", "\"'", "数据", "null", "- a", "&"])
def test_a_file_of_any_name_is_found_again(verb: Any, work: Path, name: str) -> None:
    write(work / "rows" / name / f"{name}.jsonl", ROWS)
    status, _, error = verb("sniff", f"path=rows/{name}", "write=true", "name=x")
    assert status == 0, error
    status, _, error = verb("build", "mix=custom", "+mix.weights.x=1", "out=six")
    assert status == 0, error


def test_a_working_folder_of_any_name_is_written_down_as_it_is(
    verb: Any, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(work / "${oc.env:HOME} \\${x}" / "rows.jsonl", ROWS)
    monkeypatch.chdir(work / "${oc.env:HOME} \\${x}")
    assert verb("sniff", "path=rows.jsonl", "write=true")[0] == 0
    status, _, error = verb("build", "mix=custom", "+mix.weights.rows=1", f"out={work}/seven")
    assert status == 0, error


def test_where_nothing_can_be_written_it_is_said(verb: Any, work: Path) -> None:
    write(work / "rows.jsonl", ROWS)
    (work / "conf").write_text("a file")
    status, out, error = verb("sniff", "path=rows.jsonl", "write=true")
    assert (status, out) == (2, "")
    assert "conf/source/rows.yaml: cannot be written" in error


@given(
    st.text(max_size=30)
    | st.sampled_from([*HOSTILE, "yes", "1e3", "0x1", "1_000", "~", "2020-01-01", "", " a ", "???"])
)
def test_a_scalar_is_read_as_itself(text: str) -> None:
    document = f"key: {scalar(text)}\n"
    assert isinstance(yaml.safe_load(document)["key"], str)
    if text != "???":
        assert OmegaConf.to_container(OmegaConf.create(document), resolve=True) == {"key": text}


@given(st.text())
def test_one_line_stays_one_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert yaml.safe_load(f"a: 1  # {line}\n") == {"a": 1}


def test_thousands_of_columns(verb: Any, work: Path) -> None:
    names = [f"c{n}" for n in range(3_000)]
    (work / "wide.csv").write_text("\n".join([",".join([*names, "question", "answer"]), ",".join(["1"] * 3_002)]))
    status, out, error = verb("sniff", "path=wide.csv")
    assert status == 0, error
    assert yaml.safe_load(out)["columns"]["user"] == "question"
    assert "#   and 2,982 more\n" in out
    assert len(out.splitlines()) < 60


def test_a_huge_cell_is_cut(verb: Any, work: Path) -> None:
    write(work / "rows.jsonl", [{**ROWS[0], "output": "long " * 100_000}])
    _, out, _ = verb("sniff", "path=rows.jsonl")
    assert all(len(line) < 200 for line in out.splitlines())
