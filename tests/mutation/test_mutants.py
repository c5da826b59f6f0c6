"""The rules of DESIGN are held by tests: what breaks one on purpose makes a test fail."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.mutation.mutants import MUTANTS, Mutant

RULES = [str(number) for number in range(1, 10)]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_can_be_made(mutant: Mutant, root: Path) -> None:
    """Its text stands in its file exactly once, what it becomes is still Python, and its tests are there."""
    source = (root / mutant.file).read_text(encoding="utf-8")
    assert source.count(mutant.text) == 1
    assert mutant.becomes != mutant.text
    ast.parse(source.replace(mutant.text, mutant.becomes))
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}" in (root / file).read_text(encoding="utf-8")


def test_every_rule_is_broken_in_several_ways() -> None:
    counts = Counter(mutant.rule for mutant in MUTANTS)
    assert all(counts[rule] >= 2 for rule in RULES), counts
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.fixture(scope="module")
def copy(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project as it stands."""
    place = tmp_path_factory.mktemp("mutants") / "project"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(None, subprocess.check_output(listed, cwd=root, text=True).split("\0")):
        if (root / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, place / name)
    return place


@pytest.fixture(scope="module")
def killers() -> Generator[dict[str, str]]:
    """Which test noticed which mutant; printed at the end."""
    found: dict[str, str] = {}
    yield found
    rules = {mutant.name: mutant.rule for mutant in MUTANTS}
    print("".join(f"\n{rules[name]:>10}  {name}  ·  {killer}" for name, killer in found.items()))


@pytest.mark.torture
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_is_noticed(mutant: Mutant, copy: Path, killers: dict[str, str]) -> None:
    file = copy / mutant.file
    source = file.read_text(encoding="utf-8")
    file.write_text(source.replace(mutant.text, mutant.becomes), encoding="utf-8")
    try:
        command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-rf", *mutant.tests]
        environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    finally:
        file.write_text(source, encoding="utf-8")
    killer = re.search(r"^FAILED (\S+)", done.stdout, re.M)
    killers[mutant.name] = killer[1] if killer else "nothing"
    assert done.returncode == 1, done.stdout[-2000:]  # tests failed; any other status says nothing
