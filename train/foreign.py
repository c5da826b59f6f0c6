"""Whether the folder of a model or an adapter can be read, wherever it comes from, and asks for no code to be run.

transformers loads a "kernel" from the hub, a package of code, for an attention that is named like one; peft imports the
module that an adapter names for Megatron. Neither asks first. And what an adapter says of modules, peft takes as
regular expressions, and tries each on every module's name for as long as that takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.names import is_inside
from pipeline.small_files import read_small

CONFIG, ADAPTER_CONFIG, ADAPTER = "config.json", "adapter_config.json", "adapter_model.safetensors"
_BUILT_IN = re.compile(r"[a-z0-9_]*")
# They choose how a layer is computed, by name, or by a name for each part of the model.
_CHOICES = re.compile(r"_?\w+_implementation(_internal)?")
_KERNELS = ("use_kernels", "kernel_config")
# What a training here leaves empty in an adapter's settings; each names a module, a class or a file.
_NOT_OURS = ("auto_mapping", "megatron_config", "custom_module_mapping")
# It leaves these empty, too; peft makes regular expressions of most of them.
_LEFT_EMPTY = (
    *("layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "modules_to_save"),
    *("target_parameters", "trainable_token_indices", "layer_replication"),
)
MOST_RANK = 1024
_MOST_MODULES = 1000  # in a list; a training writes the ends of names that all layers have, a few of them
_MODULE = re.compile(r"[\w.-]{1,256}")
# What conf/model has where names do not suffice: names, `.*` and choices of names, but for modules with a word in them.
_EXPRESSION = re.compile(r"(?:\(\?!\.\*\w+\))?((?:[\w-]|\\?\.|\.\*|\([\w-]+(?:\|[\w-]+)*\))+)")
_MOST_EXPRESSION = 100  # characters
_MOST_CHOICES = 4  # `.*` or `(a|b)`: what can be tried with them takes a hundredth of a second for a module
TARGETS_RULE = "a list of projections, or a short expression of names, `.`, `.*` and `(a|b)`"
_INDEX = "model.safetensors.index.json"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_AGAIN = "copy or download it again"


def folder_fault(folder: Path) -> tuple[str, str] | None:
    """What keeps a folder from being a model that can be read, and the fix; or None."""
    fix = "name a folder with config.json, tokenizer.json and *.safetensors"
    if not folder.is_dir():
        return "no such folder", fix
    if not (folder / CONFIG).is_file():
        if (folder / ADAPTER_CONFIG).is_file():
            return "has an adapter, not a model", "name the folder of a merged model, or of the base model"
        return f"has no {CONFIG}", fix
    asks = _config_fault(folder)
    if asks is not None:
        return asks
    try:
        weights = _weights(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"its {_INDEX} is not valid ({error})", _AGAIN
    if not weights:
        pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
        if pickled:
            what = f"has its weights in {pickled[0]} only, a pickle, which may run any code when it is read"
            return what, "name a folder with *.safetensors (`save_pretrained` writes them)"
        return "has no model.safetensors", fix
    for path in weights:
        fault = _weights_fault(path)
        if fault is not None:
            return fault, "copy or download the file again (with git: `git lfs pull`)"
    if not (folder / "tokenizer.json").is_file():
        return "has no tokenizer.json", "copy it from the model this one was made of"
    return None


def _weights(folder: Path) -> list[Path]:
    """The files of safetensors that transformers would read, whether they are there or not."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if not (folder / _INDEX).is_file():
        return []
    index = json.loads(read_small(folder / _INDEX))
    names = sorted(set(index["weight_map"].values()))
    if wrong := [name for name in names if not is_inside(name)]:
        raise ValueError(f"{wrong[0]} is not in its folder")
    return [folder / name for name in names]


def _weights_fault(path: Path) -> str | None:
    """Whether a file is missing, cut off or something else; its header and size tell."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            return None
    except FileNotFoundError:
        return f"has no {path.name}"
    except (SafetensorError, OSError) as error:
        return f"its {path.name} is cut off, or no safetensors ({error})"


def _config_fault(folder: Path) -> tuple[str, str] | None:
    """What is wrong with a model's config.json, and the fix; or None."""
    config = _settings(folder / CONFIG)
    if config is None:
        return f"its {CONFIG} is not valid", _AGAIN
    asked = next(_asked_code(config), None)
    if asked is None:
        return None
    what = f"its {CONFIG} asks for code from elsewhere ({asked}), which is never run"
    return what, "take that out of the file, or name another model"


def adapter_fault(folder: Path) -> tuple[str, str] | None:
    """What keeps an adapter from being read safely, and the fix; or None."""
    config = _settings(folder / ADAPTER_CONFIG)
    if config is None:
        return f"its {ADAPTER_CONFIG} is not valid", _AGAIN
    if config.get("peft_type") != "LORA":
        return f"is no LoRA adapter ({str(config.get('peft_type'))[:40]})", "name a run of `python -m train sft`"
    asked = next((name for name in _NOT_OURS if config.get(name)), None) or next(_asked_code(config), None)
    if asked is not None:
        what = f"its {ADAPTER_CONFIG} asks for code from elsewhere ({asked}), which is never run"
        return what, "take that out of the file"
    odd = _odd(config)
    if odd is not None:
        return f"its {ADAPTER_CONFIG} has {odd}", "name a run of `python -m train sft`"
    if not (folder / ADAPTER).is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        more = ", only a pickle, which may run any code when it is read" if pickled else ""
        return f"has no {ADAPTER}{more}", "copy it again, or train again"
    return None


def _odd(config: dict[str, Any]) -> str | None:
    """What no training here writes into an adapter's settings, and peft could be busy with for ever; or None."""
    rank = config.get("r")
    if type(rank) is not int or not 1 <= rank <= MOST_RANK:
        return f"no r that is a whole number from 1 to {MOST_RANK:,}"
    for name in ("target_modules", "exclude_modules"):
        if config.get(name) and not are_plain_targets(config[name]):
            return f"neither a list of names nor a short expression in {name}"
    if not isinstance(config.get("init_lora_weights", True), bool):
        return "in init_lora_weights what is to be computed"
    return next((f"something in {name}, which is left empty here" for name in _LEFT_EMPTY if config.get(name)), None)


def are_plain_targets(modules: Any) -> bool:
    """Whether modules are said in a way that is soon compared with all names of a model."""
    if isinstance(modules, list):
        names: list[Any] = modules
        return 0 < len(names) <= _MOST_MODULES and all(isinstance(one, str) and _MODULE.fullmatch(one) for one in names)
    if not isinstance(modules, str) or len(modules) > _MOST_EXPRESSION:
        return False
    found = _EXPRESSION.fullmatch(modules)
    return found is not None and found[1].count("*") + found[1].count("(") <= _MOST_CHOICES


def _settings(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(read_small(path))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _asked_code(config: dict[str, Any]) -> Iterator[str]:
    """The settings, at any depth, that name code which is no part of transformers."""
    nodes: list[Any] = [config]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            mapping: dict[str, Any] = node
            yield from (text for key, value in mapping.items() for text in _asked_by(key, value))
            nodes += mapping.values()
        elif isinstance(node, list):
            nodes += node


def _asked_by(key: str, value: Any) -> list[str]:
    if key in _KERNELS and value:
        return [key]
    if not _CHOICES.fullmatch(key):
        return []
    chosen: list[Any] = list(value.values()) if isinstance(value, dict) else [value]
    return [f"{key}={name}"[:80] for name in chosen if name is not None and not _BUILT_IN.fullmatch(str(name))]
