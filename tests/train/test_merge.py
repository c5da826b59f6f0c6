"""Base and adapter in one model: the same answers, the right files, and nothing written where they differ."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from safetensors import safe_open

from pipeline.cli.front import main
from pipeline.errors import ConfigError, StoreError
from tests.train.finished import finished_run
from train.__main__ import PROGRAM
from train.adapted import find_base, merged
from train.merge import MergeError, difference, is_merged, logits, merge_run, stored_dtype
from train.model import in_float32
from train.run import Run

Model = Callable[[str], Path]
ROWS = [list(range(5, 60)), list(range(200, 230))]


@pytest.fixture
def run(tmp_path: Path, tiny_model: Model) -> Run:
    """A finished run of a tiny Qwen3."""
    return finished_run(tmp_path / "run", tiny_model("qwen3"))


def loaded(folder: Path) -> Any:
    """A model as others load it, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)


def adapted(run: Run) -> Any:
    """Base and adapter, as peft puts them together."""
    from peft import PeftModel

    return PeftModel.from_pretrained(loaded(Path(run.manifest["model"]["path"])), str(run.adapter))


def types(folder: Path) -> set[str]:
    """The types of the weights written."""
    with safe_open(folder / "model.safetensors", framework="np") as file:
        return {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - no mapping


@pytest.mark.parametrize("name", ["qwen3", "llama", "gemma3"])
def test_a_merged_model_has_the_logits_of_base_and_adapter(tmp_path: Path, tiny_model: Model, name: str) -> None:
    run = finished_run(tmp_path / "run", tiny_model(name))
    folder = merge_run(run, lambda _: None, dtype="fp32")
    expected = logits(adapted(run), ROWS)
    found = difference(expected, logits(loaded(folder), ROWS))
    assert found.apart < 1e-4
    assert found.same == found.positions == 85
    assert difference(expected, logits(loaded(tiny_model(name)), ROWS)).apart > 0.1  # the adapter does something


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_answering_merges_the_adapter_and_puts_every_weight_back_bit_by_bit(run: Run, dtype: str) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def model() -> Any:
        base = AutoModelForCausalLM.from_pretrained(run.manifest["model"]["path"], dtype=dtype)
        return PeftModel.from_pretrained(base, str(run.adapter)).eval()

    def weights(model: Any) -> dict[str, Any]:
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}

    one, base = model(), loaded(Path(run.manifest["model"]["path"]))
    before = weights(one)
    expected = logits(model().float(), ROWS)
    with in_float32(one), merged(one):
        layer = next(layer for layer in one.modules() if hasattr(layer, "merged"))
        assert layer.merged
        assert difference(expected, logits(one, ROWS)).apart < 1e-4
    after = weights(one)
    assert {name: tensor.dtype for name, tensor in after.items()} == {n: t.dtype for n, t in before.items()}
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not layer.merged
    with in_float32(one), one.disable_adapter(), merged(one):
        assert not layer.merged
        if dtype == "float32":
            assert difference(logits(base, ROWS), logits(one, ROWS)).apart == 0


def test_a_run_trained_on_nf4_is_merged_onto_the_unquantized_base(tmp_path: Path, tiny_model: Model) -> None:
    run = finished_run(tmp_path / "run", tiny_model("llama"), quant="nf4")
    said: list[str] = []
    folder = merge_run(run, said.append)
    assert any("trained on nf4" in line for line in said)
    assert types(folder) == {"BF16"}
    assert "quantization_config" not in json.loads((folder / "config.json").read_text("utf-8"))
    found = difference(logits(adapted(run), ROWS), logits(loaded(folder), ROWS))
    assert found.share < 0.1  # rounding to 16 bits alone


def test_the_folder_has_what_the_adapter_says_and_can_be_used_by_itself(run: Run) -> None:
    from transformers import AutoTokenizer

    folder = merge_run(run, lambda _: None)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (folder / name).read_bytes() == (run.adapter / name).read_bytes()
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert (config["use_cache"], config["dtype"]) == (True, "bfloat16")
    ask = [{"role": "user", "content": "1 + 1"}]
    text = AutoTokenizer.from_pretrained(str(folder)).apply_chat_template(
        ask, add_generation_prompt=True, tokenize=False
    )
    assert text == "<|im_start|>user\n1 + 1<|im_end|>\n<|im_start|>assistant\n"
    assert is_merged(run)
    assert json.loads((run.folder / "manifest.json").read_text("utf-8"))["merged"]["dtype"] == "bf16"
    assert not list(run.folder.glob(".*writing*"))


@pytest.mark.parametrize(("dtype", "kind"), [("fp16", "F16"), ("fp32", "F32")])
def test_weights_are_written_in_the_type_asked_for(run: Run, dtype: str, kind: str) -> None:
    assert types(merge_run(run, lambda _: None, dtype=dtype)) == {kind}


def test_auto_keeps_the_sixteen_bits_of_the_base(tmp_path: Path) -> None:
    for noted, expected in {"float16": "fp16", "bfloat16": "bf16", "float32": "bf16", None: "bf16"}.items():
        (tmp_path / "config.json").write_text(json.dumps({"dtype": noted}))
        assert stored_dtype(tmp_path) == expected
    (tmp_path / "config.json").write_text('{"text_config": {"dtype": "float16"}}')
    assert stored_dtype(tmp_path) == "fp16"


def test_a_base_that_moved_is_found_by_the_runs_settings_or_named(run: Run, tmp_path: Path) -> None:
    base = Path(run.manifest["model"]["path"])
    said: list[str] = []
    run.manifest["model"]["path"] = str(tmp_path / "gone")
    assert find_base(run, said.append) == base
    assert "not at" in said[0]
    run.manifest["config"]["model"]["path"] = str(tmp_path / "gone")
    with pytest.raises(ConfigError, match="base model gone is gone from") as refused:
        find_base(run, said.append)
    assert "base=DIR" in refused.value.fix
    assert find_base(run, said.append, base) == base
    with pytest.raises(ConfigError, match="no such folder"):
        find_base(run, said.append, tmp_path / "gone")


def test_a_quantized_base_is_refused(run: Run, tmp_path: Path) -> None:
    base = shutil.copytree(run.manifest["model"]["path"], tmp_path / "quantized")
    config = json.loads((base / "config.json").read_text("utf-8")) | {"quantization_config": {"load_in_4bit": True}}
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="is quantized itself"):
        merge_run(run, lambda _: None, base=base)


def test_an_adapter_of_another_model_is_refused(run: Run, tiny_model: Model, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    other = shutil.copytree(tiny_model("qwen3"), tmp_path / "other")
    config = AutoConfig.from_pretrained(str(other))
    config.hidden_size = 32
    AutoModelForCausalLM.from_config(config).save_pretrained(str(other))
    with pytest.raises(StoreError, match="does not fit other"):
        merge_run(run, lambda _: None, base=other)


def test_a_merge_that_goes_wrong_leaves_the_earlier_one_and_ends_with_3(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    folder = merge_run(run, lambda _: None)
    before = (folder / "model.safetensors").read_bytes()
    path = run.adapter / "adapter_model.safetensors"
    weights = load_file(path)
    next(iter(weights.values()))[0, 0] = float("nan")
    save_file(weights, path)
    assert not is_merged(run)
    assert main(PROGRAM, ["merge", f"run={run.folder}"]) == MergeError.status == 3
    assert "not all finite" in capsys.readouterr().err
    assert (folder / "model.safetensors").read_bytes() == before
    assert not list(run.folder.glob(".*writing*"))


def test_logits_that_are_no_numbers_are_infinitely_far_away() -> None:
    import torch

    a = torch.tensor([[1.0, 2.0], [0.0, 4.0]])
    assert difference([a], [a + 0.5]).apart == 0.5
    assert difference([a], [a.flip(-1)]).same == 0
    broken = difference([a], [a / 0 * 0])
    assert (broken.apart, broken.share) == (float("inf"), float("inf"))


def test_the_command_says_sizes_and_differences_and_the_folder_last(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(PROGRAM, ["merge", "run=run", f"paths.runs={run.folder.parent}", "dtype=fp32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(run.merged)
    assert any("greedy token the same" in line for line in lines)
    assert any(line.startswith("size ") and "MiB as fp32" in line for line in lines)
    assert main(PROGRAM, ["merge", f"run={run.folder}", "dtype=fp8", "colour=red"]) == 2
    assert main(PROGRAM, ["merge", "run=nowhere"]) == 2
