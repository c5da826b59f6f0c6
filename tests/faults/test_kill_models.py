"""`kill -9` of trainings and evaluations: what is there is whole, and the same command goes on to the same end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from eval.__main__ import PROGRAM as EVALUATOR
from pipeline.cli.front import main
from tests.faults.processes import MARGIN, WORDS, Place, group_is_gone, kill, moment, wait_for
from tests.train.conftest import Model
from train.__main__ import PROGRAM as TRAINER

# Looked for and not imported, which would take seconds in every process that collects tests.
pytestmark = pytest.mark.skipif(find_spec("trl") is None, reason="needs the extra train")
SETTINGS = ["template=chatml", "tokens.max_length=256", "train.gradient_accumulation_steps=2", "train.eval_rows=2"]
SETTINGS += ["dtype=fp32", "train.max_steps=10", "train.epochs=50", "train.save_steps=1", "train.save_total_limit=2"]


@pytest.fixture
def trained(tmp_path: Path, bundle: Path, tiny_model: Model) -> tuple[Place, list[str]]:
    """A place, and the words of a training there."""
    place = Place(tmp_path / "place")
    place.folder.mkdir()
    shutil.copytree(bundle, place.folder / "bundle")
    runs = [*place.paths, f"paths.runs={place.folder / 'runs'}"]
    return place, [*runs, f"bundle={place.folder / 'bundle'}", f"model.path={tiny_model('llama')}", *SETTINGS]


def sft(place: Place, told: list[str], out: str) -> list[str]:
    """The command that begins a run, or goes on with it."""
    run = place.folder / out
    if (run / "manifest.json").is_file():
        return ["sft", *told[:3], f"resume={run}"]
    return ["sft", *told, f"out={run}"]


def state(run: Path) -> str:
    return json.loads((run / "manifest.json").read_text("utf-8"))["state"]


def reached(run: Path) -> Any:
    """What a training came to: the bytes of the adapter and the losses."""
    (adapter,) = run.glob("*_lora_adapter/adapter_model.safetensors")
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    return adapter.read_bytes(), {one["step"]: one["loss"] for one in map(json.loads, lines) if "loss" in one}


def kill_training(place: Place, told: list[str], when: float | None) -> str:
    """Kill a training so many seconds after its first step, or while it writes a checkpoint; what it left."""
    run = place.folder / "run"
    with place.start("train", *sft(place, told, "run")) as process:
        if when is None:
            wait_for(process, lambda: any(run.glob("checkpoints/.*.writing-*/*")))
        else:
            wait_for(process, lambda: (place.folder / "out.txt").read_text().count("\n ") > 1)
            time.sleep(when)
        ended = process.poll() is not None
        kill(process)
    if ended:
        return "after its end"
    return "while something was hidden" if place.left() else "at another moment"


def evaluation(place: Place, model: Path, out: str) -> list[str]:
    asked = [f"bundle={place.folder / 'bundle'}", f"model.path={model}", "template=chatml", "dtype=fp32", "limit=2"]
    paths = [*place.paths, f"paths.runs={place.folder / 'runs'}"]
    return ["run", *asked, *paths, "eval.max_new_tokens=8", f"out={place.folder / out}"]


def measured(result: Path) -> Any:
    """All that was found, but for when, where and how long."""
    found = json.loads((result / "metrics.json").read_text("utf-8"))
    return found["values"], (result / "generations.jsonl").read_bytes()


def test_a_training_killed_while_it_saves_goes_on(trained: tuple[Place, list[str]]) -> None:
    place, told = trained
    told = [*told, "train.max_steps=4"]
    kill_training(place, told, None)
    assert place.faults() == []
    assert main(TRAINER, sft(place, told, "run")) == 0
    assert state(place.folder / "run") == "done"
    assert (place.left(), place.faults()) == ([], [])
    assert main(TRAINER, sft(place, told, "whole")) == 0
    assert reached(place.folder / "run") == reached(place.folder / "whole")


def test_an_evaluation_killed_while_it_writes_leaves_nothing(
    trained: tuple[Place, list[str]], tiny_model: Model
) -> None:
    place, _ = trained
    command = evaluation(place, tiny_model("llama"), "out/result")
    with place.start("eval", *command) as process:
        wait_for(process, lambda: any(place.folder.glob("out/.result.writing-*/*")))
        kill(process)
    assert place.faults() == []
    assert main(EVALUATOR, command) == 0
    assert (place.left(), place.faults()) == ([], [])


@pytest.mark.torture
def test_kills_of_a_training_at_every_moment(trained: tuple[Place, list[str]]) -> None:
    place, told = trained
    place.run("train", *sft(place, told, "whole"))
    found = Counter[str]()
    for at in range(25):
        if (place.folder / "run").is_dir() and state(place.folder / "run") == "done":
            shutil.rmtree(place.folder / "run")
        found[kill_training(place, told, None if at % 2 else moment(3, at, 25) * 2)] += 1
        assert place.faults() == []
    if state(place.folder / "run") != "done":
        place.run("train", *sft(place, told, "run"))
    assert reached(place.folder / "run") == reached(place.folder / "whole")
    assert (place.left(), place.faults()) == ([], [])
    print("train: 25 kills: " + ", ".join(f"{n} {what}" for what, n in sorted(found.items())))


@pytest.mark.torture
def test_kills_of_an_evaluation_at_every_moment(trained: tuple[Place, list[str]], tiny_model: Model) -> None:
    place, _ = trained
    command = evaluation(place, tiny_model("llama"), "out/result")
    began = time.monotonic()
    place.run("eval", *evaluation(place, tiny_model("llama"), "whole/result"))
    whole, found = time.monotonic() - began, Counter[str]()
    for at in range(15):
        shutil.rmtree(place.folder / "pools" / "generations")  # or there is nothing left to answer
        with place.start("eval", *command) as process:
            if at % 2:
                wait_for(process, lambda: any(place.folder.glob("out/.result.writing-*/*")))
            else:
                time.sleep((0.5 + moment(4, at, 15) / 2) * whole)
            kill(process)
        found["while something was hidden" if place.left() else "at another moment"] += 1
        assert place.faults() == []
        (place.folder / "pools" / "generations").mkdir(parents=True, exist_ok=True)
    place.run("eval", *command)
    assert measured(place.folder / "out" / "result") == measured(place.folder / "whole" / "result")
    assert (place.left(), place.faults()) == ([], [])
    print("eval: 15 kills: " + ", ".join(f"{n} {what}" for what, n in sorted(found.items())))


@pytest.mark.torture
@pytest.mark.parametrize("verb", ["train", "eval"])
def test_interrupts_at_every_moment(verb: str, trained: tuple[Place, list[str]], tiny_model: Model) -> None:
    place, told = trained
    seconds: list[float] = []
    for at in range(10):
        number = list(WORDS)[at % 2]
        out = f"{verb}-{at}"
        command = sft(place, told, out) if verb == "train" else evaluation(place, tiny_model("llama"), out)
        with place.start(verb, *command) as process:
            time.sleep(0.3 + moment(5, at, 10) * 12)
            if process.poll() is None:
                began = time.monotonic()
                os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
                process.wait(30)
                seconds.append(time.monotonic() - began)
                assert process.returncode == 128 + number, place.errors()
                assert place.errors().splitlines()[-1].split(";")[0] == WORDS[number]
                assert "Traceback" not in place.errors()
                assert group_is_gone(process.pid)
        assert (place.left(), place.faults()) == ([], [])
    assert max(seconds) < 2 + MARGIN
    print(f"{verb}: {len(seconds)} interrupts, {max(seconds):.2f} s at most")
