"""The bundle and tiny models of the training's tests, and a run that a training has left."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.train.conftest import Model, bundle, tiny_model

__all__ = ["bundle", "tiny_model"]
# Evaluation needs the extra `train`, as its tests do.
collect_ignore_glob = [] if find_spec("torch") and find_spec("scipy") else ["test_*.py"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Model, bundle: Path) -> Callable[[str, int], Path]:
    """trained("llama", 1) → the folder of a run of that tiny model with that seed."""
    pytest.importorskip("trl")
    from pipeline.cli.front import main
    from train.__main__ import PROGRAM

    folder = tmp_path_factory.mktemp("runs")
    made: dict[tuple[str, int], Path] = {}

    def train(name: str, seed: int) -> Path:
        if (name, seed) not in made:
            run = folder / f"{name}-{seed}"
            settings = [
                "template=chatml",
                "tokens.max_length=256",
                "dtype=fp32",
                "train.max_steps=4",
                "train.eval_rows=2",
            ]
            rate = ["train.learning_rate=0.02", f"seed={seed}", f"paths.pools={bundle.parent / 'pools'}"]
            told = [f"bundle={bundle}", f"model.path={tiny_model(name)}", f"out={run}", f"paths.runs={folder}"]
            assert main(PROGRAM, ["sft", *told, *settings, *rate]) == 0
            made[name, seed] = run
        return made[name, seed]

    return train


@pytest.fixture
def evaluate(bundle: Path, tmp_path: Path) -> Callable[..., int]:
    """evaluate("run", "run=DIR", …) → the exit status of that verb of `python -m eval`."""
    from eval.__main__ import PROGRAM
    from pipeline.cli.front import main

    def run(verb: str, *overrides: str) -> int:
        paths = [f"paths.pools={bundle.parent / 'pools'}", f"paths.runs={tmp_path / 'runs'}"]
        return main(PROGRAM, [verb, *paths, *overrides])

    return run
