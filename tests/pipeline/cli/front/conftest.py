"""A toy program with a configuration tree of its own, run as a separate process."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]

FILES = {
    "toy/__init__.py": "",
    "toy/__main__.py": """
import sys
from pathlib import Path
from pipeline.cli.front import Program, Verb, main

verbs = {
    "build": Verb("say what one was told", "toy.build", "build"),
    "fail": Verb("fail in every way", "toy.fail", "fail"),
    "check": Verb("needs a bundle", "toy.build", "check"),
    "again": Verb("builds on build", "toy.build", "again"),
}
conf = Path(__file__).parents[1] / "conf"
implied = {"mix.weights": "source@_global_.sources"}
program = Program("python -m toy", "A toy.", verbs, conf, module="toy", script=None, implied=implied)
sys.exit(main(program, sys.argv[1:]))
""",
    "toy/build.py": '''
"""Say what one was told.

examples:
  python -m toy build mix=math_heavy
"""
import json, sys

def run(config, job):
    told = {"config": config, "command": job.command, "overrides": job.overrides, "sweep": job.sweep}
    print(json.dumps(told, ensure_ascii=False))
''',
    "toy/fail.py": '''
"""Fail in every way."""
import logging, os, sys
from pipeline.errors import PoolmixError, SourceError

class CheckFailed(PoolmixError):
    status = 3

def run(config, job):
    print("job", config["how"], flush=True)
    if config["how"] == "source":
        raise SourceError("source cmath", "no file 'x'", "set sources.cmath.path=FILE")
    if config["how"] == "check":
        raise CheckFailed("bundle", "3 rows leak", "build again")
    if config["how"] == "bug":
        raise ValueError("a bug")
    if config["how"] == "interrupt":
        raise KeyboardInterrupt
    if config["how"] == "flood":
        for _ in range(100_000):
            print("row")
    if config["how"] == "log":
        logging.getLogger("toy.fail").info("info of toy")
        logging.getLogger("toy.fail").debug("debug of toy")
        logging.getLogger("other").info("info of other")
    return config["status"]
''',
    "conf/build.yaml": """\
# python -m toy build mix=math_heavy   says what one was told
defaults:
  - _self_
  - mix: balanced  # the weights
  - split: default

# decides every order
seed: 42
out: null  # the folder to write
paths:
  pools: pools
name: ${mix.strategy}_${seed}
""",
    "conf/fail.yaml": "# python -m toy fail how=bug\nhow: none\nstatus: null\nlink: ${status}\n",
    "conf/check.yaml": "# toy check bundle=PATH\nbundle: ???\nrun: ???\nlost: ${nowhere}\nsame: ${bundle}\n",
    "conf/again.yaml": "# toy again\ndefaults:\n  - build  # the same\n  - _self_\n\ntwice: true\nseed: 1\n",
    "conf/mix/balanced.yaml": "# as they come\nstrategy: concat\nweights: {cmath: 1}\n",
    "conf/mix/math_heavy.yaml": "# @package mix\n# much maths\nstrategy: resample\nweights: {cmath: 4}\n",
    "conf/mix/chat_heavy.yaml": "strategy: resample\nweights: {cmath: 1}\n",
    "conf/mix/custom.yaml": "# none of its own\nstrategy: resample\nweights: {}\n",
    "conf/split/default.yaml": "# by prompt\nvalid_ratio: 0.1\n",
    "conf/source/cmath.yaml": "# school maths\npath: cmath.json\n",
}

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    return folder


@pytest.fixture
def run(toy: Path, tmp_path: Path) -> Run:
    """Run the toy in an empty working folder, which must be empty afterwards too."""
    work = tmp_path / "work"
    work.mkdir()

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(ROOT), str(toy)])
        variables = {
            **os.environ,
            "PYTHONPATH": path,
            "PYTHONUTF8": "1",
            "TMPDIR": str(tmp_path),
            **environment,
        }
        command = [sys.executable, "-m", "toy", *arguments]
        done = subprocess.run(command, cwd=work, env=variables, capture_output=True, text=True, timeout=60)
        assert not list(work.iterdir()), "something was left in the working folder"
        assert not list(tmp_path.glob("poolmix-*")), "a temporary folder was left"
        return done

    return call
