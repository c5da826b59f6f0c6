"""Whether a reply that was asked for JSON is JSON, and the JSON that was asked for."""

from __future__ import annotations

from typing import Any

from eval.judge import JUDGE, UndecidedError, conforming
from eval.reply import Reply, Verdicts, read_value
from eval.schemas import NotJsonError, strict_json

TAG = "json"
_SHOWN = 1000  # characters of what json-repair found


def json_validity(reply: Reply) -> Verdicts | None:
    """Of a row tagged `json`, all 0 or 1:

    - `json_valid`: the reply is strictly one JSON value (`strict_json`) and nothing else, no fence of Markdown either;
    - `json_conforms`: and it conforms to the row's JSON Schema (`violation`; `schema` in the row's `meta`);
    - `json_repairable`: it is valid, or json-repair finds a value in it;
    - `json_repaired_conforms`: it conforms, or what json-repair finds does.

    A row without a schema, or with one that is none (note `schema`), has no scores for conforming. What cannot be found
    out within seconds is 0 (note `undecided`).
    """
    if TAG not in reply.tags:
        return None
    notes: dict[str, Any] = {}
    valid = _is_valid(reply.content, notes)
    found = reply.content if valid else _repaired(reply.content, notes)
    scores = {"json_valid": valid, "json_repairable": found is not None}
    schema = row_schema(reply)
    conforms = None if schema is None else conforming(found, schema, notes)
    if conforms is not None:
        scores |= {"json_conforms": valid and conforms, "json_repaired_conforms": conforms}
    return Verdicts({name: float(score) for name, score in scores.items()}, notes)


def row_schema(reply: Reply) -> Any:
    """The schema in a row's `meta`, given as an object or as its text; None where there is none."""
    meta = reply.value("meta")
    return read_value(meta.get("schema")) if isinstance(meta, dict) else None  # type: ignore[reportUnknownMemberType]


def _is_valid(text: str, notes: dict[str, Any]) -> bool:
    try:
        strict_json(text)
    except NotJsonError as error:
        notes["invalid"] = str(error)
        return False
    return True


def _repaired(text: str, notes: dict[str, Any]) -> str | None:
    try:
        found = JUDGE.ask("repair", text=text)["json"]
    except UndecidedError as error:
        notes["undecided"] = str(error)
        return None
    if found is not None:
        notes["repaired"] = found[:_SHOWN]
    return found
