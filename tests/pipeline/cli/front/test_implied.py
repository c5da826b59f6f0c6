"""A weight for a name that is a file of conf/source makes it a source."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest


def told(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def own(tmp_path: Path) -> list[str]:
    """A folder with a source, and a mix that brings a source by itself."""
    for name, text in {
        "source/gsm8k-like.yaml": "# more school maths\npath: gsm8k.jsonl\ntags: [math]\n",
        "mix/whole.yaml": "defaults:\n  - /source@_global_.sources.cmath: cmath\nstrategy: x\nweights: {cmath: 1}\n",
    }.items():
        file = tmp_path / "own" / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
    return ["--config-dir", str(tmp_path / "own")]


def test_a_weight_finds_its_source_which_can_be_set_as_any_other(run, own: list[str]) -> None:
    [one] = told(run("build", "mix=custom", "+mix.weights.cmath=2", "sources.cmath.path=a (1).json"))
    assert one["config"]["sources"] == {"cmath": {"path": "a (1).json"}}
    assert one["config"]["mix"]["weights"] == {"cmath": 2}
    assert one["command"].endswith("build mix=custom +mix.weights.cmath=2 'sources.cmath.path=a (1).json'")
    mine = ["+mix.weights.gsm8k-like=1", "+mix.weights.cmath=1", "sources.gsm8k-like.tags=[x]"]
    [two] = told(run("build", "mix=custom", *mine, *own))
    assert two["config"]["sources"] == {
        "gsm8k-like": {"path": "gsm8k.jsonl", "tags": ["x"]},
        "cmath": {"path": "cmath.json"},
    }
    assert "source/cmath" in run("build", "mix=custom", "+mix.weights.cmath=2", "--info", "defaults").stdout


def test_in_a_sweep_too_and_each_command_repeats_its_job(run, own: list[str]) -> None:
    jobs = told(run("build", "-m", "mix=custom", "+mix.weights.gsm8k-like=1,2", "sources.gsm8k-like.path=a,b", *own))
    seen = [(job["config"]["mix"]["weights"]["gsm8k-like"], job["config"]["sources"]) for job in jobs]
    sources = [{"gsm8k-like": {"path": path, "tags": ["math"]}} for path in "ab"]
    assert seen == [(1, sources[0]), (1, sources[1]), (2, sources[0]), (2, sources[1])]
    assert jobs[3]["overrides"] == ["mix=custom", "+mix.weights.gsm8k-like=2", "sources.gsm8k-like.path=b"]
    [again] = told(run(*shlex.split(jobs[3]["command"])[3:]))
    assert again["config"] == jobs[3]["config"]


def test_a_source_that_is_there_anyway_stays_as_it_is(run, own: list[str]) -> None:
    [one] = told(run("build", "mix=whole", "++mix.weights.cmath=3", *own))
    assert one["config"]["sources"] == {"cmath": {"path": "cmath.json"}}
    for typed in ("+sources.cmath={shape: x}", "+sources={cmath: {shape: x}}"):
        [one] = told(run("build", "mix=custom", "+mix.weights.cmath=3", typed))
        assert one["config"]["sources"] == {"cmath": {"shape": "x"}}
    [one] = told(run("build", "mix=custom", "+mix.weights.cmath=3", "+source@_global_.sources.cmath=cmath"))
    assert one["config"]["sources"] == {"cmath": {"path": "cmath.json"}}


def test_other_names_and_other_verbs_are_left_alone(run) -> None:
    [one] = told(run("build", "mix=custom", "+mix.weights.mine=3"))
    assert "sources" not in one["config"]
    [two] = told(run("check", "+mix.weights.cmath=1", "bundle=x", "run=y", "lost=z"))
    assert "sources" not in two["config"]


def test_mistakes_beside_it_are_told_as_ever(run, own: list[str]) -> None:
    wrong = ["split=defalt", "sources.cmath.pat=x"]
    done = run("build", "mix=custom", "+mix.weights.cmath=1", "sources.cmath.path=x", *wrong)
    assert done.returncode == 2
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()[::2]] == wrong
    done = run("build", "-m", "mix=custom,whole", "++mix.weights.cmath=1", *own)
    assert (done.returncode, done.stdout) == (2, "")
    assert "some of these jobs have sources.cmath anyway" in done.stderr
