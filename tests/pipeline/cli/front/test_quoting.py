"""Override values arrive as they were typed."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cli.front.quoting import hydra_form, is_sweep, parse, quote, split_commas, typed_form

AWKWARD = st.text(alphabet=st.sampled_from("'\"\\ab1 ,.$[](){}=:\n\t数é~#%!@*?|&;<>-+/_"), max_size=10)
TEXT = st.one_of(st.text(max_size=12), AWKWARD)


def arrives(value: str, sweep: bool = False):
    return parse(hydra_form(f"key={value}", sweep).partition("=")[2]).value()


def is_mere_text(value: str) -> bool:
    """No interpolation, and nothing that Hydra's grammar has a type or function for."""
    body = value.strip()
    if "${" in value or re.match(r"\s*[A-Za-z_][\w-]*\(", value):
        return False
    if body[:1] in ("'", '"', "[", "{") or body.lower() in ("null", "true", "false"):
        return False
    return not re.fullmatch(r"[+-]?(inf|nan|[\d_]*\.?[\d_]*(e[+-]?[\d_]+)?)", body, re.IGNORECASE) or not body


@settings(max_examples=600)
@given(TEXT)
def test_any_text_arrives_character_for_character(value: str) -> None:
    if is_mere_text(value):
        assert arrives(value) == value


@settings(max_examples=300)
@given(TEXT)
def test_in_a_sweep_text_without_commas_arrives_too(value: str) -> None:
    if is_mere_text(value) and "," not in value:
        assert arrives(value, sweep=True) == value


@settings(max_examples=300)
@given(TEXT)
def test_a_quoted_literal_reads_as_its_text(text: str) -> None:
    assert parse(quote(text)).value() == text


@settings(max_examples=300)
@given(TEXT)
def test_what_a_sweep_writes_out_can_be_typed_again(text: str) -> None:
    assert arrives(typed_form(f"key={quote(text)}").partition("=")[2]) == text


@pytest.mark.parametrize(
    "value",
    [
        "数据/a (1),b=c.json",
        "a,b.json",
        "C:\\data\\x.json",
        "\\\\host\\share\\",
        "ends in \\",
        " spaces ",
        "it's",
        '"half',
        "{a",
        "{a,b}",
        "{法律}",
        "[draft] v1, v2 [final]",
        "[1] 数据.json",
        "a\\,b",
        "$HOME/x",
        "#1 50% ~!",
        "int (3)",
        "data (1)",
        "",
        "   ",
    ],
)
def test_a_path_needs_no_quotes_for_hydra(value: str) -> None:
    assert arrives(value) == value


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("43", 43),
        ("0.5", 0.5),
        ("null", None),
        ("true", True),
        ("''", ""),
        ("'a, b'", "a, b"),
        ("[a,b]", ["a", "b"]),
        ("[]", []),
        ("str(5)", "5"),
        ("{user: q, n: 1}", {"user": "q", "n": 1}),
        (
            "{path: f.csv, shape: columns, columns: {user: q}, tags: [law, zh]}",
            {"path": "f.csv", "shape": "columns", "columns": {"user": "q"}, "tags": ["law", "zh"]},
        ),
        ("{path: 数据/a (1).csv, tags: [法律, zh]}", {"path": "数据/a (1).csv", "tags": ["法律", "zh"]}),
        ("{path: a (1, 2).csv, n: 3}", {"path": "a (1, 2).csv", "n": 3}),
        ("{path: it's = x.csv, card: https://x.y/z}", {"path": "it's = x.csv", "card": "https://x.y/z"}),
        ("{path: 'a, b', note: 数据\\, more}", {"path": "a, b", "note": "数据, more"}),
        ("[数据/x[1, 2].csv, [é, null, 2]]", ["数据/x[1, 2].csv", ["é", None, 2]]),
        ("${paths.pools}/数据 (1)", "${paths.pools}/数据 (1)"),
    ],
)
def test_other_types_stay_what_they_are(value: str, meant: object) -> None:
    assert arrives(value) == meant
    assert arrives(value, sweep=True) == meant


@pytest.mark.parametrize(
    ("value", "jobs"),
    [
        ("math_heavy,chat_heavy", ["math_heavy", "chat_heavy"]),
        ("1, 2,3", [1, 2, 3]),
        ("数据/a (1).csv,b=c.csv", ["数据/a (1).csv", "b=c.csv"]),
        ("[a,b],[法律,d]", [["a", "b"], ["法律", "d"]]),
        ("'a, b',c", ["a, b", "c"]),
        ("a b,\\\\host\\x", ["a b", "\\\\host\\x"]),
        ("数\\,据,x", ["数,据", "x"]),
    ],
)
def test_in_a_sweep_commas_outside_quotes_and_brackets_separate(value: str, jobs: list[object]) -> None:
    sweep = parse(hydra_form(f"key={value}", sweep=True).partition("=")[2])
    again = [parse(text).value() for text in sweep.sweep_string_iterator()]
    assert again == jobs


def test_only_functions_that_sweep_are_a_sweep_of_a_single_job() -> None:
    assert is_sweep(hydra_form("seed=choice(1,2)", sweep=False))
    assert not is_sweep(hydra_form("seed=1,2", sweep=False))


@given(AWKWARD)
def test_splitting_loses_nothing(text: str) -> None:
    parts = split_commas(text)
    assert parts is None or ",".join(parts) == text
