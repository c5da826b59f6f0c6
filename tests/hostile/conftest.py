"""What tests of hostile files share: a folder that is there only if an attack has succeeded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.train.conftest import bundle, tiny_model, train

__all__ = ["bundle", "tiny_model", "train"]


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """Attacks make this folder; a test after which it is there has failed."""
    place = tmp_path / "canary"
    yield place
    assert not place.exists(), "code that came from outside was run"
