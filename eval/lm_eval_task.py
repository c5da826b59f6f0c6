"""A bundle's validation rows with an answer as tasks of the lm-evaluation-harness, so that others repeat the numbers.

OUT/
  poolmix_NAME.yaml  poolmix_NAME_SOURCE.yaml   the group, and a task for each source
  rows.jsonl                                    id, source, tags, answer; system and user, or prompt
  poolmix_rule_DIGEST/  calls.py                the rule that finds a reply's answer, and the way to it
  README.md  manifest.json
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from eval.lm_eval_calls import ROWS
from eval.lm_eval_rule import copy_rule
from eval.lm_eval_texts import calls_code, command, group_yaml, readme, task_yaml
from eval.rows import Rows, choose_rows, render_prompts
from pipeline import __version__
from pipeline.damage import require_whole
from pipeline.errors import StoreError
from pipeline.manifest import Bundle
from pipeline.render.renderer import Renderer
from pipeline.render.template import Template
from pipeline.room import require_place, writing
from pipeline.store import lock, new_folder, read_manifest, require_own

Say = Callable[[str], None]
FORMAT = "poolmix lm_eval 1"
_END_OF_TURN = 3  # of an assistant's turn: reasoning, content, tool calls, end


@dataclass(frozen=True)
class TaskExport:
    """What is asked for. `limit` counts rows of each source (None: all); without a `template` rows hold messages."""

    out: Path
    limit: int | None
    max_new_tokens: int
    template: Template | None


def export_task(bundle: Bundle, asked: TaskExport, pools: Path, say: Say) -> Path:
    """Write the tasks, and return their folder.

    Raises: StoreError if no row can be asked, or for a folder that holds something else; TemplateError.
    """
    require_place("out", asked.out)
    require_whole(bundle)
    about, files = task_files(bundle, asked)
    with writing(asked.out), lock(pools, asked.out):
        _require_own(asked.out)
        with new_folder(asked.out) as folder:
            for name, text in files.items():
                folder.write_text(name, text)
            folder.write_json("manifest.json", {**about, "files": folder.files})
    counts, left_out = about["rows"]["sources"], about["rows"]["left_out"]
    say(f"rows       {sum(counts.values()):,}: {', '.join(f'{name} {count:,}' for name, count in counts.items())}")
    if left_out:
        say(f"left out   {_listed(left_out)}")
    say(f"task       {about['group']}, a task for each source in it; to run it:")
    say(f"           {command(about, shlex.quote(str(asked.out)))}")
    return asked.out


def task_files(bundle: Bundle, asked: TaskExport) -> tuple[dict[str, Any], dict[str, str]]:
    """What the manifest says, and the text of each file: the same for the same bundle and settings.

    Raises: StoreError if no row can be asked; TemplateError.
    """
    rows, left_out = task_rows(choose_rows(bundle, asked.limit), asked.template)
    if not rows:
        raise _no_rows(bundle, left_out)
    written = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    sources = dict(sorted(Counter(row["source"] for row in rows).items()))
    rule = copy_rule()
    template = asked.template
    about = {
        "format": FORMAT,
        "poolmix": __version__,
        "group": re.sub(r"[^\w.-]+", "_", f"poolmix_{bundle.manifest['name']}"),
        "bundle": {"name": bundle.manifest["name"], "validation": bundle.manifest["digest"]["validation"]},
        "limit": asked.limit,
        "rows": {"sources": sources, "left_out": left_out, "xxh3_128": xxhash.xxh3_128_hexdigest(written.encode())},
        "template": None if template is None else {"name": template.name, "key": template.key()},
        "max_gen_toks": asked.max_new_tokens,
        "until": [] if template is None else _end_of_turn(template),
        "rule": rule.package,
    }
    tasks = {f"{about['group']}_{source}.yaml": task_yaml(about, source) for source in sources}
    return about, {
        ROWS: written,
        **rule.files,
        "calls.py": calls_code(rule.package),
        **tasks,
        f"{about['group']}.yaml": group_yaml(about),
        "README.md": readme(about, bundle.manifest),
    }


def task_rows(rows: Rows, template: Template | None) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The rows that the harness can ask, in their order, and the others counted by reason.

    The harness makes a conversation of a system text and one text of the user, so without a template other rows with
    an answer are left out (`several_turns`, `tools`); with one, only what it refuses to write (`template_refuses`).
    """
    prompts = render_prompts(rows, template) if template is not None else [None] * len(rows.values)
    found: list[dict[str, Any]] = []
    left_out: Counter[str] = Counter()
    for row, prompt in zip(rows.values, prompts, strict=True):
        if not (row["answer"] or "").strip():
            asked = "no_answer"
        elif len(row["messages"]) < 2 or row["messages"][-1]["role"] != "assistant":
            asked = "no_reply"
        elif template is not None:
            asked = "template_refuses" if prompt is None else {"prompt": prompt}
        else:
            asked = _one_question(row)
        if isinstance(asked, str):
            left_out[asked] += 1
        else:
            own = {"id": row["id"], "source": row["source"], "tags": list(row["tags"] or [])}
            found.append({**own, **asked, "answer": row["answer"]})
    return found, dict(sorted(left_out.items()))


def _one_question(row: Mapping[str, Any]) -> dict[str, str] | str:
    *before, asked = row["messages"][:-1]
    if asked["role"] != "user" or [message["role"] for message in before] not in ([], ["system"]):
        return "several_turns"
    if row["tools"]:
        return "tools"
    return {"system": "".join(message["content"] for message in before), "user": asked["content"]}


def _no_rows(bundle: Bundle, left_out: Mapping[str, int]) -> StoreError:
    where, counts = f"bundle {bundle.folder.name}", _listed(left_out)
    if set(left_out) == {"no_answer"}:
        fix = "build it with a source that has columns.answer: cmath and mawps have"
        return StoreError(where, f"none of its validation rows has an answer ({counts})", fix)
    fix = "add template=NAME, which writes any conversation as text"
    return StoreError(where, f"no validation row with an answer is one that the harness can ask ({counts})", fix)


def _listed(counts: Mapping[str, int]) -> str:
    return " · ".join(f"{name} {count:,}" for name, count in counts.items())


def _require_own(out: Path) -> None:
    """Raises: StoreError unless the folder is free, or holds an export that this one may replace."""
    require_own(out, FORMAT, "an earlier export")
    manifest = read_manifest(out, FORMAT)
    if manifest is None:
        return
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_file() and name not in {*manifest["files"], "manifest.json"} and path.parent.name != "__pycache__":
            raise StoreError(f"out={out}", f"{name} is no part of the earlier export", "move it, or name a new folder")


def _end_of_turn(template: Template) -> list[str]:
    """The text with which the template ends an answer, as its generation blocks mark it; none where they do not."""
    messages = [{"role": role, "content": role} for role in ("user", "assistant")]
    with Renderer(template) as renderer:
        row = renderer.rows([{"messages": messages, "tools": None, "meta": None, "prompt": False}])[0]
    blocks = row.get("blocks") or []
    if len(blocks) <= _END_OF_TURN:
        return []
    start, end = blocks[_END_OF_TURN]
    return [mark] if (mark := row["text"][start:end].strip()) else []
