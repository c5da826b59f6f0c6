"""Whole trainings on tiny models of real architectures: what they write, and that they can be gone on with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.front import main
from tests.faults.processes import usual_signals
from tests.train.conftest import CONFIGS, ROOT
from train.__main__ import PROGRAM

pytest.importorskip("trl")
Train = Callable[..., int]
STEPS = "train.max_steps=6"
MANY = "train.epochs=50"


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text("utf-8"))


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]


def losses(folder: Path) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in records(folder) if "loss" in record}


def measured(folder: Path) -> dict[int, float]:
    return {record["step"]: record["eval_loss"] for record in records(folder) if "eval_loss" in record}


def adapter_bytes(folder: Path) -> bytes:
    (path,) = folder.glob("*_lora_adapter/adapter_model.safetensors")
    return path.read_bytes()


@pytest.mark.parametrize(("model", "quant"), [*((model, "none") for model in CONFIGS), ("qwen3", "nf4")])
def test_a_training_lowers_the_loss_and_writes_a_run(
    model: str, quant: str, train: Train, tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rate = [
        "train.learning_rate=0.02",
        "train.max_steps=12",
        "train.epochs=9",
        "train.eval_steps=0.5",
        "questions=[1+1?]",
    ]
    assert train(model, f"quant={quant}", *rate, "answer_tokens=4") == 0
    run = tmp_path / "run"
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == str(run)
    found = manifest(run)
    assert found["state"] == "done"
    assert found["bundle"]["digest"] == json.loads((bundle / "manifest.json").read_text())["digest"]
    assert found["device"]["quant"] == quant
    measures = [record for record in records(run) if "eval_loss" in record]
    assert measures[0]["step"] == 0
    assert {"eval_loss_cmath", "eval_loss_emoji"} <= set(measures[0])
    assert measures[-1]["eval_loss"] < measures[0]["eval_loss"] - 0.1
    assert measures[-1]["step"] == found["steps"]["total"]
    names = {path.name for path in (run / f"tiny-{model}_lora_adapter").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert not list(run.rglob("*.bin")) + list(run.rglob("*.pt")) + list(run.rglob("*.pth"))
    (answer,) = [json.loads(line) for line in (run / "answers.jsonl").read_text("utf-8").splitlines()]
    assert answer["question"] == "1+1?"
    assert (run / "curves.png").stat().st_size > 5000


def test_the_same_seed_gives_the_same_adapter_and_another_does_not(train: Train, tmp_path: Path) -> None:
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert train("llama", STEPS, MANY, f"seed={seed}", "lora.dropout=0.1", out=out) == 0
    assert adapter_bytes(tmp_path / "a") == adapter_bytes(tmp_path / "b") != adapter_bytes(tmp_path / "c")


def test_a_run_that_was_killed_and_interrupted_goes_on_to_the_same_losses(
    train: Train, tmp_path: Path, bundle: Path, tiny_model: Callable[[str], Path]
) -> None:
    """Killed before its first checkpoint, and then interrupted; `tests/faults` kills while one is written."""
    settings = ["train.max_steps=6", MANY, "train.gradient_accumulation_steps=8", "train.save_steps=3"]
    settings += ["train.eval_steps=4", "train.logging_steps=1", "lora.dropout=0.1", "train.learning_rate=0.01"]
    assert train("qwen3", *settings, out="whole") == 0
    broken = tmp_path / "broken"
    words = command(broken, bundle, tiny_model("qwen3"), settings, tmp_path)
    for number, step in ((signal.SIGKILL, 1), (signal.SIGINT, 2)):
        process = said_by(words)
        wait_for(process, f"{step}/6")
        process.send_signal(number)
        said = process.communicate(timeout=60)[0]
        assert not list(broken.glob("*_lora_adapter"))
        words = [sys.executable, "-m", "train", *going_on(broken, tmp_path)]
        if number == signal.SIGKILL:
            assert manifest(broken)["state"] == "running"
            continue
        assert process.returncode == 128 + number, said
        assert not list(broken.rglob(".*.writing-*"))
        saved = max(int(path.name.removeprefix("step-")) for path in (broken / "checkpoints").iterdir())
        assert step <= saved < 6
        assert f"step {saved} is saved; to go on: python -m train sft resume={broken}" in said
        assert manifest(broken)["state"] == "interrupted"
    assert main(PROGRAM, going_on(broken, tmp_path)) == 0
    assert_the_same(broken, tmp_path / "whole")
    found = manifest(broken)
    assert found["state"] == "done"
    assert ["resume=" in one["command"] for one in found["resumed"]] == [True] * 2
    assert "resume=" not in found["command"]


def assert_the_same(run: Path, whole: Path) -> None:
    """Losses, measures and adapter of a run that went on, and of one that was never disturbed."""
    expected, found = losses(whole), losses(run)
    assert found.keys() == expected.keys()
    assert max(abs(found[step] - expected[step]) for step in expected) <= 1e-5
    assert adapter_bytes(run) == adapter_bytes(whole)
    assert measured(run) == measured(whole)


def command(out: Path, bundle: Path, model: Path, settings: list[str], folder: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "train", "sft", f"bundle={bundle}", f"model.path={model}", "template=chatml"),
        *("tokens.max_length=256", "train.gradient_accumulation_steps=2", "train.eval_rows=6", "dtype=fp32"),
        *(f"out={out}", f"paths.pools={bundle.parent / 'pools'}", f"paths.runs={folder / 'runs'}", *settings),
    ]


def said_by(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
        preexec_fn=usual_signals,
    )


def wait_for(process: subprocess.Popen[str], begin: str) -> None:
    for line in process.stdout or ():
        if line.strip().startswith(begin):
            return
    raise AssertionError(f"it ended before it said {begin}")


def going_on(run: Path, folder: Path) -> list[str]:
    return ["sft", f"resume={run}", f"paths.runs={folder / 'runs'}"]


def test_no_file_and_no_folder_in_use_becomes_a_run(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "x").write_text("")
    for out, said in (("file", "is not a folder"), ("file/x", "is not a folder"), ("used", "something already")):
        assert train("llama", STEPS, out=out) == 2
        assert said in capsys.readouterr().err


def test_a_damaged_bundle_is_refused(
    train: Train, tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bundle / "train.jsonl"
    good = path.read_bytes()
    path.write_bytes(good.replace(b"a", b"b", 1))
    try:
        assert train("llama", STEPS, MANY) == 2
    finally:
        path.write_bytes(good)
    assert "train.jsonl" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_was_damaged_is_passed_over(train: Train, tmp_path: Path) -> None:
    from train.trainer import newest_checkpoint

    assert train("llama", STEPS, MANY, "train.save_steps=2") == 0
    places = tmp_path / "run" / "checkpoints"
    assert [path.name for path in sorted(places.iterdir())] == ["step-000004", "step-000006"]
    last = places / "step-000006" / "optimizer.safetensors"
    last.write_bytes(last.read_bytes()[:-1])
    assert newest_checkpoint(places) == places / "step-000004"


def test_a_run_ends_at_a_number_of_target_tokens(train: Train, tmp_path: Path) -> None:
    assert train("llama", "train.max_target_tokens=600", "train.epochs=50") == 0
    found = manifest(tmp_path / "run")
    reached = [record["target_tokens"] for record in records(tmp_path / "run") if "loss" in record]
    assert reached[-1] == 600 > reached[-2]
    assert found["results"]["target_tokens"] == reached[-1] == found["steps"]["target_tokens"]


def test_early_stopping_keeps_the_best_adapter(train: Train, tmp_path: Path) -> None:
    """At a rate that only does harm, the best step is an early one."""
    rate = ["train.learning_rate=0.5", "train.epochs=20", "train.eval_steps=1", "train.early_stopping=2"]
    assert train("llama", *rate, "train.warmup_ratio=0", "train.lr_scheduler_type=constant") == 0
    found = manifest(tmp_path / "run")
    seen = measured(tmp_path / "run")
    assert found["results"]["step"] < found["steps"]["total"]
    assert found["results"]["best_step"] == min(seen, key=lambda step: seen[step])
    assert found["results"]["validation"]["after"]["eval_loss"] == min(seen.values())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["lora.targets=[nothing_proj]"], "lora.targets"),
        (["device=cuda"], "device=cuda"),
        (["train.max_steps=0"], "train.max_steps"),
        (["model.path=nowhere"], "nowhere"),
        (["train.nonsense=1"], "nonsense"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    overrides: list[str], said: str, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("llama", *overrides) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "fix:" in error or "did you mean" in error
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_takes_no_other_settings(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("llama", STEPS, MANY) == 0
    assert train("llama", f"resume={tmp_path / 'run'}") == 2
    assert "goes on with the settings" in capsys.readouterr().err


def test_two_processes_train_as_one(
    train: Train, tmp_path: Path, bundle: Path, tiny_model: Callable[[str], Path]
) -> None:
    """The same sequences in a step, on one process and on two: the same losses."""
    settings = [STEPS, MANY, "device=cpu"]
    assert train("llama", *settings, "train.gradient_accumulation_steps=4", out="one") == 0
    python, *words = command(tmp_path / "two", bundle, tiny_model("llama"), settings, tmp_path)
    two = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    done = subprocess.run([python, *two, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    one, both = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert one.keys() == both.keys()
    assert max(abs(one[step] - both[step]) for step in one) <= 1e-5


def free_port() -> int:
    import socket

    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


def test_a_bundle_feeds_a_plain_trainer_as_it_is(
    tmp_path: Path, bundle: Path, tiny_model: Callable[[str], Path]
) -> None:
    import datasets
    import trl

    arguments = trl.SFTConfig(
        output_dir=str(tmp_path),
        max_steps=1,
        use_cpu=True,
        bf16=False,
        report_to=[],
        max_length=64,
        save_strategy="no",
        chat_template_path=str(ROOT / "conf" / "template" / "chatml.jinja"),
        disable_tqdm=True,
    )
    rows = datasets.load_from_disk(str(bundle))["train"]
    trainer = trl.SFTTrainer(model=str(tiny_model("llama")), args=arguments, train_dataset=rows)
    assert trainer.train().training_loss > 0
