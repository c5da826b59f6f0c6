"""Comparisons of runs and of arms, and a whole experiment on tiny models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from eval.__main__ import PROGRAM as EVALUATOR
from eval.ab import Experiment
from pipeline.__main__ import PROGRAM as BUILDER
from pipeline.cli.front import main
from tests.train.conftest import Model
from train.__main__ import PROGRAM as TRAINER

Trained = Callable[[str, int], Path]
Evaluate = Callable[..., int]
SHORT = ("eval.max_new_tokens=8", "limit=4")


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def evaluated(trained: Trained, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """evaluated("llama", 1) → the folder of that run's evaluation."""
    place = tmp_path_factory.mktemp("evaluated")

    def run(model: str, seed: int) -> Path:
        folder = place / f"{model}-{seed}"
        if not folder.exists():
            paths = [f"paths.pools={bundle.parent / 'pools'}", f"paths.runs={place / 'runs'}"]
            assert main(EVALUATOR, ["run", f"run={trained(model, seed)}", f"out={folder}", *paths, *SHORT]) == 0
        return folder

    return run


def test_two_runs_are_spoken_of_as_two_runs(
    evaluate: Evaluate, evaluated: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = evaluated("llama", 1), evaluated("llama", 2)
    assert evaluate("compare", f"a={a}", f"b={b}", f"out={tmp_path / 'c'}") == 0
    assert "two runs" in capsys.readouterr().out
    found = metrics(tmp_path / "c")
    assert "mix" not in " ".join(found["verdict"])
    by_hand = {v["arm"]: v["value"] for v in found["values"] if (v["measure"], v["bucket"]) == ("usable", "all")}
    (told,) = [d for d in found["differences"] if (d["measure"], d["bucket"]) == ("usable", "all")]
    assert told["value"] == pytest.approx(by_hand["B"] - by_hand["A"])
    assert found["unlike"] == []
    assert compared(found) >= {"perplexity"}
    assert "bits_per_byte" not in compared(found), "it says the same where the target tokens are the same"
    assert (tmp_path / "c" / "report.html").is_file()


def compared(found: dict[str, Any]) -> set[str]:
    """The measures of which differences are told."""
    return {one["measure"] for one in found["differences"]}


def test_a_run_does_not_differ_from_itself(evaluate: Evaluate, evaluated: Trained, tmp_path: Path) -> None:
    a = evaluated("llama", 1)
    assert evaluate("compare", f"a={a}", f"b={a}", f"out={tmp_path / 'c'}") == 0
    found = metrics(tmp_path / "c")
    assert all(d["value"] in (0, None) and not d["seen"] for d in found["differences"])


def test_arms_of_several_runs_and_settings_that_differ(evaluate: Evaluate, evaluated: Trained, tmp_path: Path) -> None:
    arms = {"a": [evaluated("llama", 1), evaluated("llama", 2)], "b": [evaluated("qwen3", 1), evaluated("qwen3", 2)]}
    told = [f"{arm}=[{','.join(map(str, runs))}]" for arm, runs in arms.items()]
    assert evaluate("compare", *told, "names=[one,two]", f"out={tmp_path / 'c'}") == 0
    found = metrics(tmp_path / "c")
    assert {tuple(d["runs"]) for d in found["differences"]} == {(2, 2)}
    assert any(line.startswith("model.path: ") for line in found["unlike"])


def test_what_cannot_be_compared_is_refused(
    evaluate: Evaluate, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, tokens in (("x", 4), ("y", 6)):
        told = [f"run={trained('llama', 1)}", "limit=2", f"eval.max_new_tokens={tokens}", f"out={tmp_path / name}"]
        assert evaluate("run", *told) == 0
    assert evaluate("compare", f"a={tmp_path / 'x'}", f"b={tmp_path / 'y'}", f"out={tmp_path / 'c'}") == 2
    assert "eval.max_new_tokens" in capsys.readouterr().err
    assert evaluate("compare", f"a={tmp_path / 'nothing'}", f"b={tmp_path / 'y'}") == 2
    assert evaluate("compare", "a=null", f"b={tmp_path / 'y'}") == 2


def small(tiny_model: Model, folder: Path) -> list[str]:
    """Settings of an experiment that is done in seconds."""
    model = [f"model.path={tiny_model('llama')}", "template=chatml", "train.max_steps=2", "train.eval_rows=1"]
    return [
        *("seeds=[3]", f"out={folder / 'experiment'}", f"paths.bundles={folder / 'bundles'}"),
        "build=[mix.total_rows=40,template=chatml,split.min_validation=8,split.min_per_source=2]",
        f"sft=[{','.join(model)}]",
        "eval=[limit=1,eval.max_new_tokens=4]",
    ]


def test_an_experiment_is_done_once_and_gone_on_with(
    evaluate: Evaluate, tiny_model: Model, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One seed an arm, on the sample data: the arms have equal targets and validation rows, unlike weights, and one
    setting of their own."""
    out = tmp_path / "experiment"
    own = "sources.mawps.options.assistant=equation"
    told = ["a=math_heavy", f"b=[chat_heavy,{own}]", "target_tokens=300", *small(tiny_model, tmp_path)]
    assert evaluate("ab", *told) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "comparison")
    found = metrics(out / "comparison")
    assert (found["a"], found["b"]) == ("math_heavy", f"chat_heavy {own}")
    assert found["unlike"] == ["sources.mawps.options.assistant: answer | equation"]
    bundles = [json.loads((out / arm / "bundle" / "manifest.json").read_text()) for arm in ("a-3", "b-3")]
    assert bundles[0]["digest"]["validation"] == bundles[1]["digest"]["validation"]
    assert bundles[0]["digest"]["train"] != bundles[1]["digest"]["train"]
    assert evaluate("ab", *told) == 0
    assert "step" not in capsys.readouterr().out
    assert evaluate("ab", *told, "seeds=[4]") == 2


def test_arms_of_unlike_weights_are_alike_in_all_else(evaluate: Evaluate, tiny_model: Model, tmp_path: Path) -> None:
    """As `ab` trains them, but in this process."""
    model = [f"model.path={tiny_model('llama')}", "template=chatml", "train.max_target_tokens=300", "train.eval_rows=1"]
    paths = [f"paths.pools={tmp_path / 'pools'}", f"paths.runs={tmp_path / 'runs'}"]
    size = ["mix.total_rows=40", "split.min_validation=8", "split.min_per_source=2"]
    same = f"split.validation_from={tmp_path / 'a-bundle'}"
    for arm, told in (("a", ["mix=math_heavy"]), ("b", ["mix=chat_heavy", same])):
        bundle, run = (tmp_path / f"{arm}-{what}" for what in ("bundle", "run"))
        assert main(BUILDER, ["build", *told, *size, paths[0], f"out={bundle}"]) == 0
        assert main(TRAINER, ["sft", f"bundle={bundle}", *model, *paths, f"out={run}"]) == 0
        assert evaluate("run", f"run={run}", f"out={tmp_path / arm}", "limit=1", "eval.max_new_tokens=4") == 0
    assert evaluate("compare", f"a={tmp_path / 'a'}", f"b={tmp_path / 'b'}", f"out={tmp_path / 'c'}") == 0
    assert metrics(tmp_path / "c")["unlike"] == []


def test_what_is_no_arm_is_refused(
    evaluate: Evaluate, tiny_model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arm in ("a=[]", "a=[mix.total_rows=40]", "a=null"):
        assert evaluate("ab", arm, "b=math_heavy", *small(tiny_model, tmp_path)) == 2
        assert "fix: set a=math_heavy" in capsys.readouterr().err


def test_an_arm_is_called_by_its_mix_and_its_settings() -> None:
    others = {"seeds": [0], "target_tokens": None, "build": [], "sft": [], "eval": [], "buckets": None, "seed": 0}
    told = ["math_heavy", "sources.mawps.options.assistant=equation"]
    assert Experiment(["math_heavy"], told, **others).names == ("math_heavy", " ".join(told))
    assert Experiment(["math_heavy"], ["math_heavy"], **others).names == ("math_heavy (a)", "math_heavy (b)")
