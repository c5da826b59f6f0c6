"""The sample data has exactly the flaws it is said to have, and its answers are right; so do real data sets."""

import ast
import csv
import io
import json
import operator
import unicodedata
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest
import yaml

from pipeline.dedup.exact import mark_duplicates
from pipeline.ingest import make_pool
from pipeline.pool import Pool

SAMPLES = {
    "cmath": ("cmath.jsonl", 300),
    "mawps": ("mawps.csv", 300),
    "emoji": ("emoji.jsonl", 200),
    "emoji_dpo": ("emoji_dpo.jsonl", 5),
    "alpaca": ("alpaca.json", 300),
    "tools": ("tools.jsonl", 20),
}
Make = Callable[[str, Path], Pool]


@pytest.fixture(scope="module")
def make(root: Path, source: Any, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """make("cmath", FILE) → the pool of a file read by the settings of conf/source/cmath.yaml."""
    pools = tmp_path_factory.mktemp("pools")

    def call(name: str, path: Path, **more: Any) -> Pool:
        config = yaml.safe_load((root / "conf" / "source" / f"{name}.yaml").read_text("utf-8")) | more
        settings = source(config["shape"], config.get("columns", {}), config.get("options", {}), path=str(path))
        return make_pool(settings, pools / path.stem, 1_000_000)

    return call


@pytest.fixture(scope="module")
def sample(make: Make, root: Path) -> Callable[[str], Pool]:
    """sample("cmath") → the pool of the sample file."""
    return lambda name: make(name.split("_")[0], root / "data_pools" / "samples" / SAMPLES[name][0])


@pytest.fixture(scope="module")
def expected(root: Path) -> Callable[[str], dict[str, Any]]:
    """What tests/data/samples/NAME.expected.json says; row numbers as whole numbers."""

    def call(name: str) -> dict[str, Any]:
        said = json.loads((root / "tests" / "data" / "samples" / f"{name}.expected.json").read_text("utf-8"))
        return {key: {int(k): v for k, v in value.items()} if isinstance(value, dict) else value
                for key, value in said.items()}  # fmt: skip

    return call


def rows_of(pool: Pool) -> dict[int, dict[str, Any]]:
    return {int(row["id"].split(":")[1]): row for row in pool.rows().to_pylist()}


def duplicates_of(pool: Pool) -> dict[int, int]:
    """Row → the earlier row with its key."""
    first: dict[str, int] = {}
    return {k: first[row["key"]] for k, row in rows_of(pool).items() if first.setdefault(row["key"], k) != k}


@pytest.mark.parametrize("name", SAMPLES)
def test_exactly_the_listed_rows_are_quarantined(name: str, sample: Any, expected: Any) -> None:
    pool, said = sample(name), expected(name)
    assert pool.manifest["raw_rows"] == said["rows"]
    assert dict(pool.refused().select("row", "reason").rows()) == said["quarantined"]


@pytest.mark.parametrize("name", SAMPLES)
def test_exactly_the_listed_rows_are_duplicates(name: str, sample: Any, expected: Any) -> None:
    assert duplicates_of(sample(name)) == expected(name)["duplicates"]


@pytest.mark.parametrize("name", SAMPLES)
def test_there_are_enough_rows_and_some_are_broken(name: str, sample: Any, expected: Any) -> None:
    raw, bad = expected(name)["rows"], len(expected(name)["quarantined"])
    assert len(rows_of(sample(name))) - len(duplicates_of(sample(name))) >= SAMPLES[name][1]
    if name not in ("tools", "emoji_dpo"):  # too few rows for a share
        assert 1 / 60 <= bad / raw <= 1 / 25


@pytest.mark.parametrize("name", SAMPLES)
def test_mended_rows_are_clean(name: str, sample: Any, expected: Any) -> None:
    rows = rows_of(sample(name))
    for number, flaw in expected(name)["mended"].items():
        for turn in rows[number]["messages"]:
            text = turn["content"]
            assert text == text.strip() == unicodedata.normalize("NFC", text), flaw
            assert not any(unicodedata.category(sign) == "Cc" and sign not in "\n\t" for sign in text), flaw


@pytest.mark.parametrize("name", [name for name in SAMPLES if name not in ("tools", "emoji_dpo")])
def test_mended_rows_needed_mending(name: str, root: Path, sample: Any, expected: Any) -> None:
    file = root / "data_pools" / "samples" / SAMPLES[name][0]
    text = file.read_bytes().decode("utf-8", "replace")
    if name == "mawps":
        raw = list(csv.DictReader(io.StringIO(text, newline="")))
        values = [" ".join(str(value) for value in row.values()) for row in raw]
        clean = [all(value == cleaned(value) for value in (str(cell) for cell in row.values())) for row in raw]
        assert len(values) == expected(name)["rows"]
    else:
        lines = json.loads(text) if name == "alpaca" else [loaded(line) for line in text.split("\n") if line.strip()]
        clean = [all(value == cleaned(value) for value in row.values() if isinstance(value, str)) for row in lines]
    assert not [number for number in expected(name)["mended"] if clean[number]]


def loaded(line: str) -> dict[str, Any]:
    try:
        return json.loads(line)
    except ValueError:
        return {}


def cleaned(text: str) -> str:
    """The text as it would stand with no flaw."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(sign for sign in text if sign in "\n\t" or unicodedata.category(sign) != "Cc")
    return unicodedata.normalize("NFC", text).strip()


# --- the answers are right

OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def value_of(expression: str) -> Fraction:
    """An arithmetic expression as an exact fraction; only numbers, + - * / and brackets are known."""

    def visit(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return OPERATIONS[type(node.op)](visit(node.left), visit(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -visit(node.operand)
        assert isinstance(node, ast.Constant)
        return Fraction(ast.get_source_segment(expression, node) or "")

    return visit(ast.parse(expression, mode="eval").body)


def test_cmath_answers_are_what_their_equations_come_to(root: Path, sample: Any) -> None:
    equations = json.loads((root / "tests" / "data" / "samples" / "cmath_equations.json").read_text("utf-8"))
    rows = rows_of(sample("cmath"))
    assert {int(number) for number in equations} >= set(rows)
    wrong = {
        number: (equations[str(number)], row["answer"])
        for number, row in rows.items()
        if value_of(equations[str(number)]) != Fraction(row["answer"])
    }
    assert not wrong


def test_mawps_answers_are_what_their_equations_come_to(sample: Any) -> None:
    rows = rows_of(sample("mawps"))
    wrong = {
        number: (equation, row["answer"])
        for number, row in rows.items()
        for equation in [json.loads(row["meta"])["equation"]]
        if abs(float(value_of(equation)) - float(row["answer"])) > 1e-9 * max(1, abs(float(row["answer"])))
    }
    assert not wrong


def test_mawps_equations_are_the_raw_ones_filled_in(root: Path, sample: Any) -> None:
    text = (root / "data_pools" / "samples" / "mawps.csv").read_text("utf-8")
    raw = list(csv.DictReader(io.StringIO(text, newline="")))
    for number, row in rows_of(sample("mawps")).items():
        exact = raw[number]["Equation"]
        for k, value in reversed(list(enumerate(raw[number]["Numbers"].split()))):
            for form in (f"N_{k:02}", f"N_{k}", f"number{k}"):
                exact = exact.replace(form, value)
        said = float(value_of(json.loads(row["meta"])["equation"]))
        assert said == pytest.approx(float(value_of(exact)), rel=1e-2)
        assert float(row["answer"]) == pytest.approx(float(value_of(exact)), rel=1e-9)


# --- JSON answers and tools


def test_json_answers_are_as_their_schema_says(sample: Any, expected: Any) -> None:
    rows = rows_of(sample("alpaca"))
    tagged = [number for number, row in rows.items() if "json" in row["tags"]]
    assert tagged == [number for number in expected("alpaca")["json"] if number in rows]
    assert len(set(tagged) - set(duplicates_of(sample("alpaca")))) >= 60
    for number in tagged:
        schema = json.loads(rows[number]["meta"])["schema"]
        jsonschema.Draft202012Validator.check_schema(schema)
        answer = json.loads(rows[number]["messages"][-1]["content"])
        jsonschema.validate(answer, schema, cls=jsonschema.Draft202012Validator)


def test_a_schema_of_the_samples_refuses_other_answers(sample: Any, expected: Any) -> None:
    rows = rows_of(sample("alpaca"))
    for number in expected("alpaca")["json"]:
        if number in rows:
            validator = jsonschema.Draft202012Validator(json.loads(rows[number]["meta"])["schema"])
            assert not all(validator.is_valid(other) for other in ({}, [], "x", 1, None, {"unknown key": 1}))


def test_no_input_is_no_part_of_the_prompt(sample: Any, expected: Any) -> None:
    rows = rows_of(sample("alpaca"))
    for number in expected("alpaca")["no_input"]:
        parts = json.loads(rows[number]["meta"])
        assert parts["input"] == ""
        assert rows[number]["messages"][0]["content"] == parts["instruction"]


def test_tool_calls_name_tools_and_fit_their_parameters(sample: Any) -> None:
    called = 0
    for row in rows_of(sample("tools")).values():
        schemas = {
            tool["function"]["name"]: tool["function"]["parameters"] for tool in json.loads(row["tools"] or "[]")
        }
        for turn in row["messages"]:
            for call in json.loads(turn["tool_calls"] or "[]"):
                jsonschema.validate(call["function"]["arguments"], schemas[call["function"]["name"]])
                called += 1
    assert called >= 15


def test_emoji_answers_have_emoji_and_a_language(sample: Any) -> None:
    for name in ("emoji", "emoji_dpo"):
        for row in rows_of(sample(name)).values():
            assert row["tags"][-1] in ("zh", "en")
            assert any(unicodedata.category(sign) == "So" for sign in row["messages"][-1]["content"]), row["id"]


# --- real data


@pytest.mark.parametrize(
    ("name", "file", "more", "raw", "quarantined", "duplicates"),
    [
        ("cmath", "cmath/deepseek_cmath_test.jsonl", {}, 1_098, {}, 1),
        ("mawps", "mawps/mawps_n00_from_svamp.csv", {}, 1_921, {}, 175),
        ("alpaca", "alpaca/alpaca_data.json", {}, 52_002, {"empty_answer": 28}, None),
        ("alpaca", "huanhuan/huanhuan.json", {"options": {"language": "zh"}}, 3_729, {}, 112),
        ("emoji", "emoji_shape/bilingual_qa_emojishape.jsonl", {}, 2_957, None, None),
    ],
    ids=["cmath", "mawps", "alpaca", "huanhuan", "emoji"],
)
def test_real_data_is_kept_refused_or_copied(
    name: str, file: str, more: dict[str, Any], raw: int, quarantined: Any, duplicates: Any, make: Any, shared: Path
) -> None:
    pool = make(name, shared / file, **more)
    rows = pl.DataFrame(pl.from_arrow(pool.rows().select(["source", "key"])))
    copies = int(mark_duplicates(rows).is_not_null().sum())
    assert pool.manifest["raw_rows"] == raw
    assert raw == pool.manifest["rows"] + sum(pool.manifest["quarantined"].values())
    assert len(rows) - copies == rows["key"].n_unique()
    assert quarantined is None or pool.manifest["quarantined"] == quarantined
    assert duplicates is None or copies == duplicates


def test_literal_braces_in_real_data_stay(make: Any, shared: Path) -> None:
    file = shared / "llamafactory" / "identity.json"
    answers = [turns[-1]["content"] for turns in make("alpaca", file).rows()["messages"].to_pylist()]
    assert answers == [row["output"].strip() for row in json.loads(file.read_text("utf-8"))]
    assert sum("{{" in answer for answer in answers) == 85


def test_control_characters_in_real_data_go(make: Any, shared: Path) -> None:
    rows = rows_of(make("alpaca", shared / "alpaca" / "alpaca_data.json"))
    for number in (29819, 38224):
        text = json.dumps(rows[number]["messages"], ensure_ascii=False)
        assert not Counter(unicodedata.category(sign) for sign in text)["Cc"]
