"""Tab completion: the query form, and a real bash that evaluates the script."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("python -m toy bu", ["build "]),
        ("poolmix bu", ["build "]),
        ("poolmix build mi", ["mix="]),
        ("poolmix build mix=ma", ["mix=math_heavy"]),
        (
            "python -m toy build seed=1 'out=a b' mix=",
            [f"mix={m}" for m in ("balanced", "chat_heavy", "custom", "math_heavy")],
        ),
        ("poolmix build mix=math_heavy mix.w", ["mix.weights."]),
        ("poolmix build mix=custom +mix.weights.c", ["+mix.weights.cmath="]),
        ("poolmix build --mul", ["--multirun "]),
        ("poolmix build hyd", []),
        ("poolmix other mi", []),
    ],
)
def test_the_last_word_is_completed(run, line: str, expected: list[str]) -> None:
    done = run("completion", "query", COMP_LINE=line)
    assert done.stdout.split("\n") == [*expected, ""] if expected else not done.stdout.strip()


def test_bash_completes_the_word_at_the_cursor(run, toy: Path, root: Path, tmp_path: Path) -> None:
    script = tmp_path / "completion.sh"
    script.write_text(run("completion", "bash").stdout)
    bash = f"""
        python() {{ {sys.executable!r} "$@"; }}
        source {script}
        try() {{
            COMP_LINE="$1 and more"; COMP_POINT=${{#1}}
            read -ra COMP_WORDS <<< "$1"
            COMPREPLY=()
            _poolmix_complete python
            echo "${{COMPREPLY[*]}}"
        }}
        complete -p python
        try "python -m toy bu"
        try "python -m toy build mi"
        try "python -m toy build mix=ma"
        try "python -m other bu"
    """
    path = os.pathsep.join([str(root), str(toy)])
    variables = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(["bash", "-c", bash], env=variables, cwd=tmp_path, capture_output=True, text=True)
    registered, *answers = done.stdout.splitlines()
    assert "_poolmix_complete python" in registered, done.stderr
    # Bash has cut the word at `=`, so only what follows is put in.
    assert answers == ["build ", "mix=", "math_heavy", ""]
