"""A run as a training leaves it, made directly: an adapter whose weights are drawn, and a manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from pipeline.render.template import Template
from train.generate import served_template
from train.run import DONE, FORMAT, Run, adapter_name, write_manifest

CONF = Path(__file__).resolve().parents[2] / "conf"
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def project_template(name: str, **more: Any) -> Template:
    """A template of the project, with its variables."""
    found = yaml.safe_load((CONF / "template" / f"{name}.yaml").read_text("utf-8")) | more
    variables = {key: value for key, value in found.items() if key not in ("name", "path") and value is not None}
    return Template(name, (CONF / "template" / f"{name}.jinja").read_text("utf-8"), variables)


def finished_run(folder: Path, base: Path, template: str = "chatml", scale: float = 0.05, **device: str) -> Run:
    """A run of the model in `base`; `scale` is that of what the adapter adds to a layer's weights."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)  # on matrices this small, threads do little but wait for each other
    tokenizer = AutoTokenizer.from_pretrained(str(base))
    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    torch.manual_seed(1)
    tuned: Any = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=PROJECTIONS, task_type="CAUSAL_LM"))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter.data, std=scale)
    adapter = folder / adapter_name(base.name)
    tuned.save_pretrained(str(adapter))
    tokenizer.chat_template = served_template(project_template(template))
    tokenizer.save_pretrained(str(adapter))
    (adapter / "README.md").unlink(missing_ok=True)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    settings = {"do_sample": False, "eos_token_id": sorted([end, tokenizer.eos_token_id])}
    (adapter / "generation_config.json").write_text(json.dumps(settings))
    manifest = _manifest(folder.name, base, template, parameters)
    manifest["device"] |= device
    write_manifest(folder, manifest)
    return Run(folder, manifest)


def _manifest(name: str, base: Path, template: str, parameters: int) -> dict[str, Any]:
    """As `train.record` writes it."""
    model = yaml.safe_load((CONF / "model" / "smollm2_135m.yaml").read_text("utf-8"))
    losses = {"before": {"step": 0, "eval_loss": 3.2, "eval_loss_cmath": 3.1}}
    losses["after"] = {"step": 4, "eval_loss": 1.6, "eval_loss_cmath": 1.5}
    return {
        "format": FORMAT,
        "name": name,
        "state": DONE,
        "seed": 42,
        "versions": {"poolmix": "0.1.0"},
        "bundle": {
            "path": "nowhere",
            "name": "tiny-1a2b3c4d",
            "mix": "tiny",
            "digest": {"train": "00", "validation": "11"},
            "weights": {"cmath": 0.75, "emoji": 0.25},
        },
        "model": {
            "name": model["name"],
            "short": base.name,
            "id": model["id"],
            "revision": "main",
            "commit": None,
            "origin": "folder",
            "path": str(base),
            "parameters": parameters,
            "trainable": 0,
        },
        "template": {"name": template, "key": "0123456789abcdef"},
        "device": {"kind": "cpu", "dtype": "fp32", "quant": "none"},
        "steps": {"total": 4, "sequences": 2, "tokens": 900, "target_tokens": 400},
        "config": {
            "model": model | {"path": str(base)},
            "lora": {"r": 4, "alpha": 8, "dropout": 0.0},
            "train": {"learning_rate": 2e-4, "lr_scheduler_type": "cosine"},
        },
        "results": {"step": 4, "target_tokens": 400, "validation": losses},
    }
