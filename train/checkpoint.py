"""The state of a training on disk: tensors as safetensors, everything else as JSON. No pickle.

A state is any nesting of dictionaries, lists and tuples with tensors, NumPy arrays, numbers and texts in it, which is
what optimizers, schedules and random number generators give as theirs.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def save_state(folder: Path, name: str, state: Any) -> None:
    """Write a state to NAME.json and NAME.safetensors. Raises: TypeError for what has no form there."""
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {}
    plan = _taken_apart(state, tensors)
    save_file(tensors, str(folder / f"{name}.safetensors"))
    (folder / f"{name}.json").write_text(json.dumps(plan), encoding="utf-8")


def load_state(folder: Path, name: str) -> Any:
    """What `save_state` wrote, its tensors on the CPU."""
    from safetensors.torch import load_file

    tensors = load_file(str(folder / f"{name}.safetensors"))
    return _put_together(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")), tensors)


def has_state(folder: Path, name: str) -> bool:
    """Whether there is one of this name."""
    return (folder / f"{name}.json").is_file()


def _taken_apart(value: Any, tensors: dict[str, Any]) -> Any:
    import torch

    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.Tensor | np.ndarray):
        kind = "tensor" if isinstance(value, torch.Tensor) else "array"
        key = f"{len(tensors):06d}"
        tensor = value if isinstance(value, torch.Tensor) else torch.from_numpy(value)
        tensors[key] = tensor.detach().cpu().clone().contiguous()
        return {kind: key}
    if isinstance(value, Mapping):
        return {"pairs": [[_taken_apart(k, tensors), _taken_apart(v, tensors)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_taken_apart(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_taken_apart(item, tensors) for item in value]
    raise TypeError(f"a {type(value).__name__} has no form in a checkpoint")


def _put_together(plan: Any, tensors: Mapping[str, Any]) -> Any:
    if isinstance(plan, list):
        return [_put_together(item, tensors) for item in plan]
    if not isinstance(plan, dict):
        return plan
    ((kind, what),) = plan.items()
    if kind == "pairs":
        return {_put_together(k, tensors): _put_together(v, tensors) for k, v in what}
    if kind == "tuple":
        return tuple(_put_together(item, tensors) for item in what)
    return tensors[what] if kind == "tensor" else tensors[what].numpy()


def random_state() -> dict[str, Any]:
    """The state of every random number generator that a training may draw from."""
    import torch

    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }
    return state | ({"cuda": torch.cuda.get_rng_state_all()} if torch.cuda.is_available() else {})


def restore_random_state(state: Mapping[str, Any]) -> None:
    """The inverse of `random_state`."""
    import torch

    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
