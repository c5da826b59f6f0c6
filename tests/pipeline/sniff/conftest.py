"""What the tests of `sniff` share: a folder to work in, and the verb called as a user does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.sniff.sniff import Finding, sniff
from pipeline.sources.shapes import SHAPES

Sniffed = Callable[..., Finding]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sniffed(tmp_path: Path) -> Sniffed:
    """sniffed([{…}, …]) or sniffed(b"…", name) → what is found in a file with this content."""

    def call(content: list[Any] | bytes, name: str = "rows.jsonl", records: int = 4000) -> Finding:
        data = content if isinstance(content, bytes) else "\n".join(map(json.dumps, content)).encode()
        (tmp_path / name).write_bytes(data)
        return sniff(str(tmp_path / name), records, 1_000_000)

    return call


@pytest.fixture
def verb(work: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """verb("sniff", "path=x") → exit status, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        status = main(PROGRAM, list(arguments))
        out, error = capfd.readouterr()
        return status, out, error

    return call


@pytest.fixture
def said() -> Callable[[Finding], tuple[str, dict[str, str]]]:
    """said(finding) → its shape, and the column of each role that is set or has the shape's usual name."""

    def call(finding: Finding) -> tuple[str, dict[str, str]]:
        have = {column.name for column in finding.columns}
        usual = {role: name for role, name in SHAPES[finding.kind.shape].columns.items() if name in have}
        return finding.kind.shape, {**usual, **finding.kind.columns}

    return call
