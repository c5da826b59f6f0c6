"""Results as pages for the eye: one HTML file each, with its plots, style and script inside.

A page loads nothing and runs nothing but its own script: its Content-Security-Policy has the digests of both. Whatever
comes from data is escaped, and stands in blocks of its own, so that marks of writing direction end where it ends.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from eval.arms import facts, flat
from eval.examples import Replies
from eval.forest import Records, Row, by_measure, grid, overall, rows_of
from eval.intervals import LEVEL
from eval.measures import measure_of
from eval.plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, charts
from eval.telling import Measure, told_p
from eval.texts import unturned, visible

_PAGES = Path(__file__).parent / "pages"
_CONFIG = 20_000  # characters of a configuration that are shown
# What a measure is, for readers who did not choose it.
MEANINGS = {
    "perplexity": "how surprised the model is by the targets, per token",
    "bits_per_byte": "the same per byte of text, which models with other tokenizers share",
    "usable": "replies that pass every check of usability",
    "not_empty": "replies that say something",
    "ended": "replies that end by themselves within the tokens allowed",
    "no_leak": "replies without special tokens or marks of a template",
    "no_loop": "replies that do not go round in circles",
    "language": "replies in the script asked for",
    "not_prompt": "replies that are not the prompt again",
    "json_valid": "replies that are one JSON value and nothing else",
    "json_conforms": "replies that are valid and conform to the row's schema",
    "json_repairable": "replies that are valid, or that json-repair can save",
    "json_repaired_conforms": "replies that conform to the row's schema, repaired if need be",
    "tool_parsable": "replies that are tool calls",
    "tool_known": "replies that call tools the row has",
    "tool_conforms": "replies whose arguments conform to the tool's parameters",
    "correct": "replies whose final answer equals the gold one",
    "emoji": "replies with emoji",
    "characters": "length of a reply in characters",
    "tokens": "length of a reply in tokens",
}


def evaluation_report(metrics: Mapping[str, Any], generations: Sequence[Mapping[str, Any]]) -> str:
    """The page of an evaluation, from what `metrics.json` and `generations.jsonl` hold.

    The same content gives the same text. At most 56 replies are shown, whole up to 4,000 characters.
    """
    models: Sequence[str] = metrics["models"]
    columns = [[one for one in metrics["values"] if one["model"] == model] for model in models]
    replies = Replies(generations, models)
    run: Mapping[str, Any] = metrics.get("run") or {}
    model: Mapping[str, Any] = metrics["model"]
    name = metrics.get("name") or run.get("name") or model.get("short") or model.get("name")
    about = {key: metrics.get(key) for key in ("bundle", "model", "run", "versions")}
    if (run.get("bundle") or {}).get("digest") == metrics["bundle"]["digest"]:  # said already
        about["run"] = {key: value for key, value in run.items() if key != "bundle"}
    return _page(
        "evaluation.jinja",
        metrics,
        _measured(columns, metrics["differences"], replies),
        title=f"Evaluation of {name}",
        labels=dict(zip(models, models, strict=True)),
        other=bool(metrics["bundle"].get("other")),
        rows_of_source=metrics["rows"],
        about=[(key, text) for key, text in flat(about) if text != "null"],
        seconds=metrics.get("seconds") or {},
        worst=replies.worst(),
    )


def comparison_report(metrics: Mapping[str, Any], examples: Sequence[Mapping[str, Any]]) -> str:
    """The page of a comparison of two arms, each of one or more runs.

    In `metrics`: `a` and `b`, the arms' names; `arms`, by name what is known of each run; `values`, records as
    `eval.record.value_entries` gives them, with `arm` (its name) and `run` (its number); `differences` (B less A) and
    `verdict` as an evaluation has them; `unlike`, a line for each setting besides weights and seeds in which the arms
    differ; `curves`, records with `arm`, `run`, `target_tokens`, `eval_loss` and `eval_loss_SOURCE`.
    `examples` are records as in `generations.jsonl`, of one run each, whose `model` is the arm's name.
    """
    names = (metrics["a"], metrics["b"])
    runs = _runs(metrics["values"])
    columns = [[one for one in metrics["values"] if one["arm"] == name] for name in names]
    arms = [metrics["arms"][name] for name in names]
    replies = Replies(examples, names)
    labels = {
        name: letter if name == letter else f"{letter} · {name}" for letter, name in zip("AB", names, strict=True)
    }
    return _page(
        "comparison.jinja",
        metrics,
        _measured(columns, metrics["differences"], replies),
        title=f"{metrics['a']} against {metrics['b']}",
        labels=labels,
        runs=[f"{labels[name]}, run {at}" for name, own in zip(names, arms, strict=True) for at in range(len(own))],
        facts=facts(arms),
        unlike=metrics.get("unlike"),
        rows_of_source=metrics.get("rows") or {},
        charts=charts(metrics.get("curves") or [], names),
        size={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        worst=[],
        of_runs=_of_runs(metrics["values"], replies) if len(runs) > len(names) else {},
        value_runs=[f"{labels[arm]}, run {run}" for arm, run in runs],
    )


def _measured(columns: Sequence[Records], differences: Records, replies: Replies) -> dict[str, Any]:
    """What both pages show of measures and replies."""
    rows = rows_of(columns, differences, _read(replies, *columns, differences))
    sections = by_measure(rows)
    better, worse = replies.changed()
    return {
        "measures": sections,
        "places": {measure.name: at for at, (measure, _) in enumerate(sections, 1)},
        "overall": overall(rows) if rows else [],
        "first_bucket": rows[0].bucket if rows else "",
        "grid": grid(rows),
        "compared": bool(differences),
        "replies": replies,
        "better": better,
        "worse": worse,
    }


def _read(replies: Replies, *records: Records) -> dict[str, Measure]:
    """How each measure of the records is to be read."""
    names = dict.fromkeys(one["measure"] for own in records for one in own)
    return {name: replies.measures.get(name) or measure_of(name, False) for name in names}


def _runs(values: Records) -> list[tuple[str, str]]:
    return list(dict.fromkeys((one["arm"], str(one["run"])) for one in values))


def _of_runs(values: Records, replies: Replies) -> dict[str, list[Row]]:
    """For each measure its rows, with a value for each run."""
    columns = [[one for one in values if (one["arm"], str(one["run"])) == run] for run in _runs(values)]
    rows = rows_of(columns, [], _read(replies, values))
    return {row.measure.name: [other for other in rows if other.measure == row.measure] for row in rows}


def _page(template: str, metrics: Mapping[str, Any], measured: Mapping[str, Any], **own: Any) -> str:
    environment, style, script = _environment()
    config = json.dumps(metrics.get("config") or {}, ensure_ascii=False, indent=2, default=str)
    form = environment.get_template(template)
    page = form.render(
        **measured,
        **own,
        style=Markup(style),  # noqa: S704  our own file
        script=Markup(script),  # noqa: S704  our own file
        allowed=f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; base-uri 'none'",
        verdict=[unturned(line) for line in metrics["verdict"]],
        metrics=metrics,
        config=config[:_CONFIG] + ("…" if len(config) > _CONFIG else ""),
        meanings=MEANINGS,
        level=LEVEL,
        p_text=told_p,
    )
    return visible(page)


@lru_cache
def _environment() -> tuple[Environment, str, str]:
    environment = Environment(
        loader=FileSystemLoader(_PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style, script = ((_PAGES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return environment, style, script


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
