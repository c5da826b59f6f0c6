"""Every command of the README works, in the order in which it stands there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from eval.__main__ import PROGRAM as EVALUATOR
from pipeline.cli.front import main
from train.__main__ import PROGRAM as TRAINER

MODEL = "Qwen/Qwen3-0.6B"
TOKENIZER = Path(__file__).resolve().parents[2] / "shared" / "data" / "qwen3_tokenizer"
README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", README, re.S) for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("python -m pipeline")]
TRAINING = [line for line in LINES if line.startswith(("python -m train", "python -m eval"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with the data that the README calls one's own."""
    place = tmp_path_factory.mktemp("readme")
    (place / "my").mkdir()
    rows = [{"instruction": f"Count to {k}.", "input": "", "output": f"One to {k}."} for k in range(30)]
    (place / "my/rows.json").write_text(json.dumps(rows))
    (place / "my/test.jsonl").write_text(json.dumps({"question": "How many are 2 pens and 3 pens?", "answer": "5"}))
    (place / "my/table.csv").write_text("q,a\n" + "".join(f"question {k},answer {k}\n" for k in range(30)))
    talks = [[{"role": "user", "content": f"Hi {k}"}, {"role": "assistant", "content": f"Ho {k}"}] for k in range(30)]
    (place / "my/chats.jsonl").write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    return place


def test_every_command_works(folder: Path) -> None:
    assert len(COMMANDS) >= 14
    for command in COMMANDS:
        arguments = shlex.split(command, comments=True)[1:]
        if MODEL in command:  # no hub here: the same tokenizer from a folder, where it is at hand
            if not TOKENIZER.is_dir():
                continue
            arguments = [argument.replace(MODEL, str(TOKENIZER)) for argument in arguments]
        done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "alpaca:17" in done.stdout


@pytest.mark.parametrize("command", TRAINING)
def test_every_command_of_training_can_be_composed(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trainings take minutes; `tests/train` and `tests/eval` run them on tiny models."""
    monkeypatch.chdir(folder)
    _, _, program, *arguments = shlex.split(command, comments=True)
    status = main(TRAINER if program == "train" else EVALUATOR, [*arguments, "--cfg", "job"])
    said = capsys.readouterr()
    assert status == 0, said.err
    assert "paths:" in said.out


def test_the_build_shown_is_the_build_made(folder: Path) -> None:
    """The sample output is what the first command prints, but for the bundle's address."""
    shown = re.search(r"<!-- build output -->\n```\n(.*?)```", README, re.S)
    assert shown
    command = [sys.executable, "-m", "pipeline", "build", "mix=math_heavy", "paths.pools=fresh", "paths.bundles=fresh"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert made.splitlines()[:-1] == shown[1].splitlines()[:-1]


def test_the_first_two_commands_are_make_build_and_make_test() -> None:
    first = re.search(r"```sh\n(.*?)```", README, re.S)
    assert first
    assert [line.split("#")[0].strip() for line in first[1].splitlines()] == ["make build", "make test"]


def test_every_test_that_the_readme_names_is_there(root: Path) -> None:
    (section,) = re.findall(r"## What you can rely on\n(.*?)\n## ", README, re.S)
    rows = [line for line in section.splitlines() if line.startswith("| ") and "::" in line]
    assert len(rows) > 30
    for row in rows:
        file = ""
        for named in re.findall(r"`([^`]*::[^`]*)`", row):
            file = named.partition("::")[0] or file
            assert f"def {named.partition('::')[2]}(" in (root / "tests" / file).read_text(encoding="utf-8"), named
