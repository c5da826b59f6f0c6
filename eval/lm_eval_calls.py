"""What the lm-evaluation-harness calls of an exported task; `eval.lm_eval_task` copies it there beside the rule."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from eval.answers import answer
from eval.reply import Reply

ROWS = "rows.jsonl"


def read_rows(folder: Path, source: str) -> dict[str, Any]:
    """The exported rows of one source as the split `test`. Raises: ImportError without math-verify.

    They are read here, as the harness would look for a relative path in the folder that it is started in.
    """
    from datasets import Dataset

    if find_spec("math_verify") is None:
        raise ImportError("the answers of this task are compared by math-verify, too: pip install math-verify")
    with (folder / ROWS).open(encoding="utf-8", newline="\n") as lines:
        rows = [json.loads(line) for line in lines]
    return {"test": Dataset.from_list([row for row in rows if row["source"] == source])}


def score(row: Mapping[str, Any], replies: Sequence[str]) -> dict[str, float]:
    """`correct` of the first reply; see `answer`."""
    verdicts = answer(Reply(row, replies[0], tokens=0, ended=True, prompt=row.get("prompt") or ""))
    return dict(verdicts.scores) if verdicts is not None else {}
