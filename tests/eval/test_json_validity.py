"""JSON replies: strictly valid, conforming, repairable."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import judge
from eval.json_validity import json_validity
from eval.schemas import MAX_DEPTH, NotJsonError, SchemaFaultError, require_schema, strict_json, violation
from tests.eval.replies import make_reply

SHOP = {
    "type": "object",
    "properties": {"item": {"type": "string"}, "count": {"type": "integer", "minimum": 1}},
    "required": ["item", "count"],
    "additionalProperties": False,
}
TREE = {"$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}, "$ref": "#/$defs/tree"}
VALID = [
    "1",
    "-0",
    "1e5",
    "1E+5",
    "1e999",
    "true",
    "null",
    '""',
    ' \t\r\n{"a": [1, {"b": null}]} \n',
    '{"数量": "两"}',
    '"\\ud83d\\ude00"',
    '"\\u0000"',
    "9" * 4300,
    "[" * MAX_DEPTH + "]" * MAX_DEPTH,
    '["' + "[" * 200 + '"]',
    '["\\"' + "[" * 200 + '\\""]',
]
INVALID = [
    ("", "not_json"),
    ("   ", "not_json"),
    ("{", "not_json"),
    ("[1,]", "not_json"),
    ('{"a": 1,}', "not_json"),
    ("{'a': 1}", "not_json"),
    ("{a: 1}", "not_json"),
    ("01", "text_after"),
    ("+1", "not_json"),
    (".5", "not_json"),
    ("1.", "text_after"),
    ("0x1", "text_after"),
    ("１", "not_json"),
    ("True", "not_json"),
    ('"a\nb"', "not_json"),
    ('"\\x41"', "not_json"),
    ("[1] // one", "text_after"),
    ("/* one */ [1]", "not_json"),
    ('{"a": 1} {"a": 2}', "text_after"),
    ("{}\x00", "text_after"),
    ("\ufeff{}", "not_json"),
    ("\u00a0{}", "not_json"),
    ('```json\n{"a": 1}\n```', "not_json"),
    ('Sure! {"a": 1}', "not_json"),
    ('{"a": 1} I hope this helps.', "text_after"),
    ("NaN", "nan"),
    ('{"a": NaN}', "nan"),
    ("[Infinity]", "nan"),
    ("-Infinity", "nan"),
    ('{"a": 1, "a": 1}', "duplicate_key"),
    ('[{"a": 1, "\\u0061": 2}]', "duplicate_key"),
    ('"\ud800"', "surrogate"),
    ('"\\ud800"', "surrogate"),
    ('{"\\udc00": 1}', "surrogate"),
    ("9" * 4301, "too_many_digits"),
    ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "too_deep"),
    ("[" * 100_000, "too_deep"),
    ('{"a":' * 100_000, "too_deep"),
    ("[" * 50_000 + "]" * 50_000, "too_deep"),
]


def scores(text: str, schema: Any = None, **more: Any) -> dict[str, float]:
    """Of a reply in a row tagged json, its name without `json_`."""
    meta = None if schema is None else {"schema": schema}
    found = json_validity(make_reply(text, tags=["chat", "json"], meta=meta, **more))
    assert found is not None
    return {name.removeprefix("json_"): value for name, value in found.scores.items()}


@pytest.mark.parametrize("text", VALID)
def test_one_json_value_is_valid(text: str) -> None:
    assert scores(text)["valid"] == 1


@pytest.mark.parametrize(("text", "reason"), INVALID)
def test_anything_else_is_not(text: str, reason: str) -> None:
    with pytest.raises(NotJsonError) as error:
        strict_json(text)
    assert error.value.reason == reason


def test_rows_without_the_tag_are_not_measured() -> None:
    assert json_validity(make_reply("{}", tags=["chat"])) is None
    assert json_validity(make_reply("{}", tags=[])) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"item": "pear", "count": 2}', (1, 1, 1, 1)),
        ('{"item": "pear", "count": 2.0}', (1, 1, 1, 1)),
        ('{"item": "pear", "count": "2"}', (1, 0, 1, 0)),
        ('{"item": "pear", "count": 0}', (1, 0, 1, 0)),
        ('{"item": "pear"}', (1, 0, 1, 0)),
        ('{"item": "pear", "count": 2, "size": 1}', (1, 0, 1, 0)),
        ("[]", (1, 0, 1, 0)),
        ('```json\n{"item": "pear", "count": 2}\n```', (0, 0, 1, 1)),
        ("{'item': 'pear', 'count': 2,}", (0, 0, 1, 1)),
        ('Here you are: {"item": "pear", "count": 2}', (0, 0, 1, 1)),
        ('{"item": "pear", "count": 2', (0, 0, 1, 1)),
        ('{"item": "pear", "count": NaN}', (0, 0, 1, 0)),
        ("{'item': 'pear'}", (0, 0, 1, 0)),
        ("I have no idea.", (0, 0, 0, 0)),
        ("", (0, 0, 0, 0)),
        ('<think>A pear.</think>\n\n{"item": "pear", "count": 2}', (1, 1, 1, 1)),
    ],
)
def test_validity_conformity_and_repair_are_told_apart(text: str, expected: tuple[int, int, int, int]) -> None:
    pytest.importorskip("json_repair")
    names = ("valid", "conforms", "repairable", "repaired_conforms")
    assert scores(text, SHOP) == dict(zip(names, expected, strict=True))
    assert scores(text, json.dumps(SHOP)) == scores(text, SHOP)  # a schema that came as text
    assert set(scores(text)) == {"valid", "repairable"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "list"},
        {"$ref": "#/nowhere"},
        {"properties": {"a": {"$ref": "https://example.com/a.json"}}},
        {"$ref": "file:///etc/passwd"},
        {"pattern": "("},
        {"minimum": "1"},
        [],
        7,
    ],
)
@pytest.mark.parametrize("text", ['{"b": 1}', "nothing", ""])
def test_a_schema_that_is_none_is_not_judged_by(schema: Any, text: str) -> None:
    assert set(scores(text, schema)) == {"valid", "repairable"}


@pytest.mark.parametrize(
    ("schema", "value", "conforms"),
    [
        (True, 1, True),
        (False, 1, False),
        ({}, None, True),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": True}, 1, False),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}, [1], False),
        ({"prefixItems": [{"type": "string"}]}, [1], False),
        ({"$schema": "https://example.com/own", "prefixItems": [{"type": "string"}]}, [1], False),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, {"type": "list"}, False),
        ({"format": "date"}, "no date", True),
        ({"type": "integer"}, True, False),
        ({"const": 1}, True, False),
        ({"uniqueItems": True}, [1, 1.0], False),
        (TREE, [[[]]], True),
        (TREE, [[[1]]], False),
    ],
)
def test_schemas_of_every_draft_are_followed(schema: Any, value: Any, conforms: bool) -> None:
    assert (violation(value, schema) is None) == conforms


def test_what_takes_forever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("json_repair")
    monkeypatch.setattr(judge, "_SECONDS", 1.0)
    began = time.perf_counter()
    found = json_validity(
        make_reply(json.dumps("a" * 40 + "!"), tags=["json"], meta={"schema": {"pattern": "^(a+)+$"}})
    )
    assert found is not None
    assert found.scores["json_conforms"] == 0
    assert "undecided" in found.notes
    many = "[" + ",".join(f'{{"a": {n}}}' for n in range(10_000)) + "]"
    assert scores(many, {"uniqueItems": True})["conforms"] == 0
    assert scores("{'a' " * 20_000)["repairable"] == 0
    assert scores('{"item": "pear", "count": 2}', SHOP)["conforms"] == 1
    assert time.perf_counter() - began < 30


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}, {"multipleOf": 1e-320}, {"patternProperties": {"(": {}}}]
)
@pytest.mark.parametrize("text", ['{"a": 1}', "1e308", "1e999", "[" * 80 + "]" * 80])
def test_schemas_that_jsonschema_chokes_on_do_no_harm(schema: Any, text: str) -> None:
    assert set(scores(text, schema).values()) <= {0, 1}


@pytest.mark.parametrize("text", [text for text, _ in INVALID] + VALID)
def test_dirty_replies_are_judged_in_every_way(text: str) -> None:
    pytest.importorskip("json_repair")
    assert set(scores(text, TREE).values()) <= {0, 1}


def test_a_tree_as_deep_as_allowed_is_judged_by_its_schema() -> None:
    assert scores("[" * MAX_DEPTH + "]" * MAX_DEPTH, TREE)["conforms"] == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.booleans(), st.sampled_from([None, 2]))
def test_what_json_writes_is_read_as_it_was(value: Any, escaped: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=escaped, indent=indent)
    assert strict_json(text) == value


@given(JSON.map(json.dumps), st.data())
def test_a_strict_reader_accepts_the_same_texts(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(at, min(len(text), at + 3)))
    text = text[:at] + data.draw(st.text(st.sampled_from('{}[]",:0123.eE-+ \n\\utrnfalsNI'), max_size=3)) + text[cut:]
    try:
        strict_json(text)
    except NotJsonError as error:
        accepted = error.reason in ("duplicate_key", "too_deep", "too_many_digits")
    else:
        accepted = True
    assert accepted == _is_json(text)


def _is_json(text: str) -> bool:
    try:
        msgspec.json.Decoder(float_hook=str).decode(text.encode())  # numbers of any size, as the grammar has them
    except msgspec.DecodeError:
        return False
    return True


@given(JSON)
def test_anything_as_a_schema_is_one_or_refused(schema: Any) -> None:
    try:
        require_schema(schema)
    except SchemaFaultError:
        return
    assert isinstance(schema, dict | bool)
