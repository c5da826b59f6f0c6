"""Stages are pure: what they import and call lets them neither read nor write, ask the clock, nor see settings."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

STAGES = (
    *("normalize", "keys", "rows", "turns", "split", "pack", "schema", "arrow", "tokens.cutting", "render.fill"),
    *("dedup.exact", "dedup.conflict", "dedup.near", "dedup.minhash", "dedup.grams", "dedup.clusters"),
    *("mix.quotas", "mix.plan", "mix.strategies", "mix.order", "mix.account", "mix.checks"),
    *("filters.columns", "filters.expression", "decontaminate.grams", "decontaminate.overlap"),
    *("sources.drafts", "sources.turns", "sources.calls", "sources.columns", "sources.alpaca", "sources.messages"),
    *("sources.sharegpt", "sources.dialogue", "sources.preference", "sources.tree", "sources.mawps"),
    *("sources.gsm8k", "sources.emoji", "sources.think"),
)
# Of the standard library only what computes; of `sys` only `maxunicode`.
COMPUTES = {
    *("__future__", "ast", "bisect", "collections", "dataclasses", "fractions", "functools", "itertools", "json"),
    *("math", "operator", "re", "sys", "typing", "unicodedata", "warnings"),
}
READS_OR_WRITES = (
    *("store", "folder", "kept", "pool", "ingest", "publish", "manifest", "report", "cli", "child", "configuration"),
    *("sources.files", "sources.read", "sources.hub", "decontaminate.found", "dedup.found"),
)
CALLS = {"open", "print", "input", "read_text", "write_text", "read_bytes", "write_bytes", "memory_map"}
CALLS |= {"getenv", "default_rng", "shuffle", "sample", "scan_ndjson", "read_ndjson", "sink_ipc", "write_ndjson"}


def impurities(tree: ast.Module) -> Iterator[str]:
    """What in a module is not for a stage; imports and calls wherever they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield from _of_module(name.name)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from _of_module(node.module)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
            if node.attr != "maxunicode":
                yield f"line {node.lineno}: it uses sys.{node.attr}"
        elif isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if called in CALLS:
                yield f"line {node.lineno}: it calls {called}"


def _of_module(name: str) -> Iterator[str]:
    top = name.partition(".")[0]
    if (top in sys.stdlib_module_names and top not in COMPUTES) or top in ("hydra", "omegaconf", "tqdm"):
        yield f"it imports {name}"
    inside = name.removeprefix("pipeline.")
    if top == "pipeline" and any(inside == other or inside.startswith(f"{other}.") for other in READS_OR_WRITES):
        yield f"it imports {name}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_does_no_input_or_output_and_reads_no_clock(stage: str, root: Path) -> None:
    source = (root / "pipeline" / f"{stage.replace('.', '/')}.py").read_text(encoding="utf-8")
    assert list(impurities(ast.parse(source))) == []


@pytest.mark.parametrize(
    "line",
    [
        *("import os", "from time import time", "import random", "def f():\n    from pathlib import Path", "open('x')"),
        *("from pipeline.store import lock", "import omegaconf", "frame.write_ndjson()", "import sys\nsys.argv"),
    ],
)
def test_what_is_not_pure_is_seen(line: str) -> None:
    assert list(impurities(ast.parse(line)))
