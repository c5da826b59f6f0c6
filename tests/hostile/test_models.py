"""Folders of models, adapters and checkpoints with code and pickles in them: nothing of it is run, and it is said."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

if find_spec("torch") is None or find_spec("trl") is None:
    pytest.skip("needs the extra `train`", allow_module_level=True)

from pipeline.cli.front import main
from pipeline.errors import ConfigError, StoreError, TemplateError
from pipeline.render.template import Template
from tests.train.conftest import Model
from tests.train.finished import CONF, finished_run
from train.__main__ import PROGRAM
from train.adapted import load_adapted
from train.device import Device, choose, look
from train.foreign import adapter_fault, folder_fault
from train.generate import prompts
from train.model import add_adapter, load_model, load_tokenizer, outline
from train.run import INTERRUPTED, open_run, write_manifest
from train.settings import Hardware, Lora

LORA = Lora(r=4, alpha=8, dropout=0.0, targets=None)
KERNEL = "someone/kernel"
REMOTE = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.EvilModel"}
ASKING: dict[str, dict[str, Any]] = {
    "an attention of the hub": {"attn_implementation": KERNEL},
    "the same, as it is written": {"_attn_implementation": KERNEL},
    "the same, within": {"text_config": {"attn_implementation": KERNEL}},
    "one for a part": {"attn_implementation": {"text_config": f"{KERNEL}@main"}},
    "experts of the hub": {"experts_implementation": KERNEL},
    "kernels for all": {"use_kernels": True},
}


WORDS = r"(([a-z0-9_]+\.?)+)+!"  # tried in more ways than can be counted
ENDLESS: dict[str, dict[str, Any]] = {
    "an expression": {"target_modules": WORDS},
    "one that leaves out": {"exclude_modules": WORDS},
    "any number of choices": {"target_modules": "(m|mo)(o|od|d)(d|de|e)(e|el|l)(l|.)!"},
    "any number of stars": {"target_modules": ".*.*.*.*.*!"},
    "a long one": {"target_modules": "(" + "|".join("m" * 100) + ").*!"},
    "a list with one": {"target_modules": [WORDS]},
    "a list without an end": {"target_modules": [f"m{k}" for k in range(1001)]},
    "a name without an end": {"target_modules": ["a." * 100_000]},
    "modules that are none": {"target_modules": {"a": 1}},
    "modules within each other": {"target_modules": json.loads("[" * 900 + "]" * 900)},
    "ranks": {"rank_pattern": {WORDS: 4}},
    "alphas": {"alpha_pattern": {WORDS: 4}},
    "modules beside": {"modules_to_save": [WORDS]},
    "a pattern of layers": {"layers_pattern": [WORDS], "layers_to_transform": [0]},
    "parameters": {"target_parameters": [WORDS]},
    "layers again and again": {"layer_replication": [[0, 1]] * 1000},
    "tokens": {"trainable_token_indices": {WORDS: [1]}},
    "a start that is computed": {"init_lora_weights": "pissa_niter_1000000000"},
    "no rank": {"r": None},
    "a rank of nothing": {"r": 0},
    "a rank that is true": {"r": True},
    "a rank without an end": {"r": 10**9},
}


class Touch:
    """What a pickle of this makes when it is read is a folder."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.makedirs, (self.place, 0o777, True)


@pytest.fixture(scope="module")
def device() -> Device:
    return choose(Hardware("cpu", "fp32", "none", "sdpa", "auto", False), look("cpu"))


@pytest.fixture
def model(tiny_model: Model, tmp_path: Path, canary: Path) -> Path:
    """A model of a known architecture, beside code that makes the canary."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model("llama"), folder)
    code = f"import os\nos.makedirs({str(canary)!r}, exist_ok=True)\nfrom transformers import *\n"
    classes = "class Evil(LlamaConfig): pass\nclass EvilModel(LlamaForCausalLM): pass\nclass EvilTokenizer: pass\n"
    (folder / "evil.py").write_text(code + classes)
    return folder


def change(path: Path, **settings: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | settings))


def test_the_canary_is_one(tmp_path: Path) -> None:
    place = tmp_path / "made"
    pickle.loads(pickle.dumps(Touch(place)))  # noqa: S301
    assert place.is_dir()


@pytest.mark.parametrize("what", ASKING)
def test_a_model_that_asks_for_a_kernel_of_the_hub_is_refused(what: str, model: Path) -> None:
    assert folder_fault(model) is None
    change(model / "config.json", **ASKING[what])
    fault = folder_fault(model)
    assert fault is not None
    assert "asks for code from elsewhere" in fault[0]


@pytest.mark.parametrize("name", ["sdpa", "eager", "flash_attention_2", "flex_attention", None])
def test_what_transformers_has_itself_may_be_asked_for(name: str | None, model: Path) -> None:
    change(model / "config.json", attn_implementation=name)
    assert folder_fault(model) is None


@pytest.mark.parametrize("text", ["[]", "{", '{"a":' * 100_000, "\udcff"], ids=["list", "cut", "deep", "bytes"])
def test_a_configuration_that_is_none_is_said(text: str, model: Path) -> None:
    (model / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert folder_fault(model) == ("its config.json is not valid", "copy or download it again")


@pytest.mark.parametrize(
    "settings",
    [
        {"auto_map": REMOTE, "model_type": "evil"},
        {"architectures": ["EvilModel"], "model_type": "evil"},
        {"hidden_size": -1},
        {"hidden_size": "x"},
    ],
    ids=str,
)
def test_a_model_of_its_own_code_is_refused_without_running_it(
    settings: dict[str, Any], model: Path, device: Device
) -> None:
    change(model / "config.json", **settings)
    with pytest.raises(ConfigError):
        load_model(model, device)
    with pytest.raises(ConfigError):
        outline(model, LORA, ["q_proj"])


def test_code_beside_a_known_architecture_is_left_alone(model: Path, device: Device) -> None:
    change(model / "config.json", auto_map=REMOTE)
    assert type(load_model(model, device)).__module__.startswith("transformers.models.llama")


def test_a_tokenizer_of_its_own_code_is_refused_and_nobody_is_asked(
    model: Path, canary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """transformers would ask on a terminal whether to run it; `yes |` would answer."""
    settings = {"tokenizer_class": "EvilTokenizer", "auto_map": {"AutoTokenizer": ["evil.EvilTokenizer", None]}}
    change(model / "tokenizer_config.json", **settings)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 10))
    with pytest.raises(ConfigError, match="tokenizer of"):
        load_tokenizer(model)
    assert "y/N" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("text", ["[]", "{", '{"model": 5}'])
def test_a_tokenizer_that_is_none_is_said(text: str, model: Path) -> None:
    (model / "tokenizer.json").write_text(text)
    with pytest.raises(ConfigError):
        load_tokenizer(model)


def test_weights_in_pickles_alone_are_refused(model: Path, canary: Path, device: Device) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Touch(canary)))
    fault = folder_fault(model)
    assert fault is not None
    assert "pickle" in fault[0]
    with pytest.raises(ConfigError):
        load_model(model, device)


def test_an_index_that_names_a_pickle_is_refused(model: Path, canary: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "evil.bin").write_bytes(pickle.dumps(Touch(canary)))
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "evil.bin"}, "metadata": {}}))
    fault = folder_fault(model)
    assert fault is not None
    assert "evil.bin" in fault[0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"megatron_config": {"a": 1}, "megatron_core": "evil"}, "megatron_config"),
        ({"auto_mapping": {"base_model_class": "Evil", "parent_library": "evil"}}, "auto_mapping"),
        ({"peft_type": "EVIL"}, "no LoRA"),
        ({"peft_type": None}, "no LoRA"),
    ],
    ids=str,
)
def test_an_adapter_that_names_a_module_is_refused(
    settings: dict[str, Any], said: str, model: Path, tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished_run(tmp_path / "run", model)
    assert adapter_fault(run.adapter) is None
    change(run.adapter / "adapter_config.json", **settings)
    monkeypatch.syspath_prepend(str(model))  # where `evil` would be found
    with pytest.raises(StoreError, match=said):
        load_adapted(model, run.adapter, device)


@pytest.mark.parametrize("what", ENDLESS)
def test_an_adapter_that_peft_would_never_be_done_with_is_refused(what: str, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path, ["q_proj"])
    assert adapter_fault(adapter) is None
    change(adapter / "adapter_config.json", **ENDLESS[what])
    fault = adapter_fault(adapter)
    assert fault is not None
    assert "its adapter_config.json has " in fault[0]
    assert len(fault[0]) < 300


@pytest.mark.parametrize("path", sorted(CONF.glob("model/*.yaml")), ids=lambda path: path.stem)
def test_an_adapter_of_every_model_of_the_project_is_taken(path: Path, tmp_path: Path) -> None:
    targets = yaml.safe_load(path.read_text("utf-8"))["lora_targets"]
    assert adapter_fault(write_adapter(tmp_path, targets)) is None


@pytest.mark.parametrize("targets", ["all-linear", r".*\.(q|v)_proj", ".*q_proj"])
def test_an_adapter_trained_with_other_targets_is_taken(
    targets: str, model: Path, tmp_path: Path, device: Device
) -> None:
    tuned = add_adapter(load_model(model, device), replace(LORA, targets=targets), [], 0)
    tuned.save_pretrained(str(tmp_path / "adapter"))
    assert adapter_fault(tmp_path / "adapter") is None


def write_adapter(folder: Path, targets: list[str] | str) -> Path:
    """As peft writes it, but for the weights."""
    from peft import LoraConfig

    LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM").save_pretrained(str(folder))
    (folder / "adapter_model.safetensors").touch()
    return folder


def test_an_adapter_in_a_pickle_is_refused(model: Path, tmp_path: Path, canary: Path, device: Device) -> None:
    run = finished_run(tmp_path / "run", model)
    weights = run.adapter / "adapter_model.safetensors"
    pickled = run.adapter / "adapter_model.bin"
    pickled.write_bytes(pickle.dumps(Touch(canary)))
    load_adapted(model, run.adapter, device)  # the other is taken
    weights.unlink()
    with pytest.raises(StoreError, match="only a pickle"):
        load_adapted(model, run.adapter, device)
    with pytest.raises(StoreError, match="no adapter"):
        run.require_adapter()


def test_pickles_put_into_a_checkpoint_are_not_read(
    train: Callable[..., int], tmp_path: Path, canary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under every name that the libraries would read a state from."""
    assert train("llama", "train.max_steps=4", "train.save_steps=2") == 0
    run = open_run(str(tmp_path / "run"), tmp_path)
    checkpoints = run.checkpoints()
    for path in checkpoints[1:]:
        shutil.rmtree(path)
    shutil.rmtree(run.adapter)
    write_manifest(run.folder, run.manifest | {"state": INTERRUPTED})
    names = ["optimizer.pt", "optimizer.bin", "scheduler.pt", "rng_state.pth", "rng_state_0.pth", "training_args.bin"]
    names += ["scaler.pt", "adapter_model.bin", "pytorch_model.bin", "model.pt", "state.pkl"]
    for name in names:
        (checkpoints[0] / name).write_bytes(pickle.dumps(Touch(canary)))
    assert main(PROGRAM, ["sft", f"resume={run.folder}", f"paths.runs={tmp_path / 'runs'}"]) == 0
    assert "step-000002" in "".join(capsys.readouterr())
    assert (run.adapter / "adapter_model.safetensors").is_file()
    assert not canary.exists()


def test_a_prompt_is_rendered_in_the_sandbox_and_a_refusal_is_said() -> None:
    """Templates come with adapters, too: those of `chat`, of questions and of evaluation."""
    asked = [[{"role": "user", "content": "Hi"}]]
    with pytest.raises(TemplateError, match="needs too much memory"):
        prompts(Template("own", "{{ 'x' * 10**11 }}", {}), asked)
    with pytest.raises(TemplateError, match="refuses a conversation"):
        prompts(Template("own", "{{ raise_exception('no') }}", {}), asked)
