"""A run's base model and its adapter: where they are, and both together, ready to answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, ConfigErrors, PoolmixError, StoreError
from pipeline.render.template import Template
from pipeline.small_files import read_small, read_small_text
from train.device import Device
from train.foreign import adapter_fault, folder_fault
from train.model import load_model
from train.models import find_model, read_model
from train.run import Run

Say = Callable[[str], None]


def find_base(run: Run, say: Say, base: Path | None = None) -> Path:
    """The folder of a run's base model: `base`, where it was in the training, or where its settings find it again.

    Raises: ConfigError if it is nowhere, or is quantized itself.
    """
    noted = run.manifest["model"]
    folder = base if base is not None else Path(noted["path"])
    fault = folder_fault(folder)
    if fault is not None and base is not None:
        raise ConfigError(f"base={base}", *fault)
    if fault is not None:
        say(f"note       the base model is not at {folder} any more: looking for it again")
        folder = _found_again(run, say)
    if "quantization_config" in json.loads(read_small(folder / "config.json")):
        fix = "set base=DIR, a folder with its 16-bit weights"
        raise ConfigError(f"base model {folder}", "is quantized itself", fix)
    return folder


def _found_again(run: Run, say: Say) -> Path:
    errors: list[PoolmixError] = []
    settings = read_model(run.manifest["config"], errors)
    if errors:
        raise ConfigErrors(errors)
    commit = run.manifest["model"]["commit"]
    settings = replace(settings, revision=commit) if commit is not None else settings
    try:
        return find_model(settings, say).folder
    except PoolmixError as error:
        what = f"its base model {settings.short} is gone from {run.manifest['model']['path']}, and {error.what}"
        fix = "set base=DIR, a folder with the base model's files"
        raise ConfigError(f"run {run.folder.name}", what, fix) from error


def load_adapted(folder: Path, adapter: Path, device: Device) -> Any:
    """The base model with the run's adapter beside it, for answers. Raises: ConfigError, StoreError."""
    return put_adapter(load_model(folder, device), adapter, folder)


def put_adapter(model: Any, adapter: Path, folder: Path) -> Any:
    """A base model, loaded from `folder`, with an adapter beside it. Raises: StoreError if the two do not fit."""
    from peft import PeftModel

    fault = adapter_fault(adapter)
    if fault is not None:
        raise StoreError(f"adapter {adapter}", *fault)
    try:
        adapted = PeftModel.from_pretrained(model, str(adapter), is_trainable=False, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        what = f"does not fit {folder.name} ({' '.join(str(error).split())[:300]})"
        raise StoreError(f"adapter {adapter}", what, "name the base model that it was trained on: base=DIR") from error
    return adapted.eval()


@contextmanager
def merged(model: Any) -> Generator[None]:
    """While a model answers: its adapter added to its weights, where these are float32 on a processor, so that answers
    cost what the base's do. Weights come back as they were, bit by bit; a switched-off adapter stays out."""
    import psutil
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [one for one in model.modules() if isinstance(one, BaseTunerLayer) and not one.disable_adapters]
    weights = {one: one.data for layer in layers for one in layer.get_base_layer().parameters()}
    exact = all(one.dtype == torch.float32 and one.device.type == "cpu" for one in weights)
    if not exact or sum(one.nbytes for one in weights.values()) > psutil.virtual_memory().available / 2:
        layers, weights = [], {}
    for weight, data in weights.items():
        weight.data = data.clone()
    for layer in layers:
        layer.merge()
    try:
        yield
    finally:
        for layer in layers:
            layer.unmerge()
        for weight, data in weights.items():
            weight.data = data


def run_template(run: Run) -> Template:
    """The template that a run was trained with, as its adapter's folder has it. Raises: StoreError if it has none."""
    path = run.adapter / "chat_template.jinja"
    try:
        text = read_small_text(path)
    except OSError as error:
        what, fix = f"cannot be read ({error.strerror})", "copy it from conf/template, or train again"
        raise StoreError(str(path), what, fix) from error
    return Template(run.manifest["template"]["name"], text, {})
