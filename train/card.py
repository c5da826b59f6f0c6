"""The README.md of a folder for the hub: what the model is, its data, what it reached, and how it is used."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.manifest import FORMAT
from pipeline.markdown import link, plain, span
from pipeline.names import file_part
from pipeline.store import read_manifest

# The hub's names of licences; others are given by the name they have.
_LICENCES = {
    "Apache-2.0": "apache-2.0",
    "MIT": "mit",
    "Gemma Terms of Use": "gemma",
    "Llama 3.1 Community License": "llama3.1",
    "Llama 3.2 Community License": "llama3.2",
}
_USE = """\
```python
from {library} import {loader}
from transformers import AutoTokenizer

name = "OWNER/{title}"  # or a folder with these files
tokenizer = AutoTokenizer.from_pretrained(name)
model = {loader}.from_pretrained(name, dtype="auto")
inputs = tokenizer.apply_chat_template(
    [{{"role": "user", "content": "What is 12 times 7?"}}],
    add_generation_prompt=True,
    return_dict=True,
    return_tensors="pt",
)
answer = model.generate(**inputs, max_new_tokens=128)[0, inputs["input_ids"].shape[1] :]
print(tokenizer.decode(answer, skip_special_tokens=True))
```"""


def model_card(manifest: Mapping[str, Any], title: str, merged: bool) -> str:
    """The card of a run, by its manifest, for its adapter or its merged model."""
    library, loader = ("transformers", "AutoModelForCausalLM") if merged else ("peft", "AutoPeftModelForCausalLM")
    kind = "The merged model of a LoRA adapter for" if merged else "A LoRA adapter for"
    losses = _loss_table(manifest)
    parts = [
        f"---\n{_front(manifest, merged)}---\n\n# {plain(title)}",
        f"{kind} {_base_name(manifest['model'])}, tuned with poolmix on the mix {span(manifest['bundle']['mix'])}.",
        f"## Data\n\n{_mix_table(manifest['bundle'])}",
        "Besides the model's own licence, those of the data may bind what is made of them.",
        f"## Training\n\n{_training(manifest)}",
        *([f"## Validation loss\n\n{losses}"] if losses else []),
        f"## Use\n\n{_USE.format(library=library, loader=loader, title=file_part(title))}",
        f"Prompts are written by `chat_template.jinja` ({plain(manifest['template']['name'])}), "
        "as they were in training.",
    ]
    return "\n\n".join(parts) + "\n"


def base_id(model: Mapping[str, Any]) -> str | None:
    """The hub's name of a run's base model; None for one that came from a folder of the user's own."""
    return model["id"] if model["origin"] != "folder" else None


def _base_name(model: Mapping[str, Any]) -> str:
    if base_id(model) is None:
        return plain(model["short"])
    note = ", as unpacked from a quantized copy of it" if model["origin"] == "wheel" else ""
    return link(model["id"], f"https://huggingface.co/{model['id']}") + note


def _front(manifest: Mapping[str, Any], merged: bool) -> str:
    """The YAML that the hub reads."""
    model, licence = manifest["model"], manifest["config"]["model"]["licence"]
    base = base_id(model)
    known = _LICENCES.get(licence)
    front = {
        **({"base_model": base, "base_model_relation": "finetune" if merged else "adapter"} if base else {}),
        "library_name": "transformers" if merged else "peft",
        "pipeline_tag": "text-generation",
        "license": known or "other",
        **({} if known else {"license_name": re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-")}),
        "tags": ["lora", "sft", "poolmix", manifest["bundle"]["mix"]],
    }
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True)


def _mix_table(bundle: Mapping[str, Any]) -> str:
    """The weights; with rows and licences where the bundle is still there."""
    found = read_manifest(Path(bundle["path"]), FORMAT)
    if found is None or found["digest"] != bundle["digest"]:
        rows = [f"| {plain(name)} | {weight:g} |" for name, weight in bundle["weights"].items()]
        return "\n".join(["| source | weight |", "|---|---|", *rows])
    rows = [
        f"| {link(name, entry['card'])} | {bundle['weights'].get(name, 0):g} | {entry['train_rows']:,} | "
        f"{plain(entry['licence'] or 'not stated')} |"
        for name, entry in found["sources"].items()
    ]
    return "\n".join(["| source | weight | rows | licence |", "|---|---|---|---|", *rows])


def _training(manifest: Mapping[str, Any]) -> str:
    config, steps, device = manifest["config"], manifest["steps"], manifest["device"]
    lora, train = config["lora"], config["train"]
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    rows = {
        "LoRA": f"r {lora['r']}, alpha {lora['alpha']:g}, dropout {lora['dropout']:g}",
        "steps": f"{manifest['results'].get('step', steps['total']):,} of {steps['sequences']} sequences",
        "trained tokens": f"{manifest['results'].get('target_tokens', steps['target_tokens']):,}",
        "learning rate": plain(f"{train['learning_rate']:g}, {train['lr_scheduler_type']}"),
        "computed in": plain(f"{device['dtype']}, base weights {device['quant'].replace('none', 'not quantized')}"),
        "seed": manifest["seed"],
        "bundle": f"{span(manifest['bundle']['name'])}, digest {span(json.dumps(manifest['bundle']['digest']))}",
        "versions": plain(versions),
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _loss_table(manifest: Mapping[str, Any]) -> str:
    """Mean loss of a target token before and after the training, of all sources and of each; "" if not measured."""
    found = manifest["results"].get("validation")
    if found is None:
        return ""
    names = {name: name.removeprefix("eval_loss").strip("_") or "all" for name in found["after"] if name != "step"}
    rows = [
        f"| {plain(short)} | {found['before'][name]:.4f} | {found['after'][name]:.4f} |"
        for name, short in names.items()
    ]
    return "\n".join(["| source | before | after |", "|---|---|---|", *rows])
