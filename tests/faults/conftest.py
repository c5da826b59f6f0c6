"""Places of their own for commands that are killed and interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.processes import Place, write_rows
from tests.pipeline.conftest import tiny_tokenizer
from tests.train.conftest import bundle, tiny_model

__all__ = ["bundle", "tiny_model", "tiny_tokenizer"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A place with two sources of raw rows, `one.jsonl` and `two.jsonl`."""
    write_rows(tmp_path / "one.jsonl", 600)
    write_rows(tmp_path / "two.jsonl", 400, salt=5000)
    return Place(tmp_path)
