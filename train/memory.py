"""How much memory a training takes, estimated before it begins, and what to change where it was too much or little.

The estimate counts what is kept for the backward pass (after Korthikanti et al. 2022, "Reducing Activation
Recomputation in Large Transformer Models", section 4, for gated MLPs and attention that keeps no scores).
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.memory import MemoryShortError
from train.attention import SHORT_DOCUMENT
from train.device import BYTES, Device
from train.settings import Train

# Bits of a weight under each quantization, its constants included (double quantization: 0.127 bits a weight).
_QUANT_BYTES = {"nf4": 4.127 / 8, "int8": 1.0 + 4 / 4096}
# Bytes of state that an optimizer keeps for each trained weight.
_EIGHT_BIT = 2.1
_TWO_MOMENTS = 8.0
# What PyTorch, its libraries and fragments take besides.
_BESIDES = {"cuda": 1.0 * 2**30, "mps": 1.0 * 2**30, "cpu": 0.7 * 2**30}
# What is allocated for what is needed: sequences differ in their documents, and blocks that no longer fit are kept.
# (Measured on a processor with glibc: 4.0 to 5.0 GiB in use where 2.6 were alive.)
_FRAGMENTS = {"cuda": 1.1, "mps": 1.1, "cpu": 2.0}
_LOGITS_AT_ONCE = 1024
SHORT, MUCH = 0.9, 0.6  # of the device: above, it may not suffice; below, there is room


@dataclass(frozen=True)
class Estimate:
    """Bytes, by what they are for."""

    weights: float
    adapter: float
    activations: float
    besides: float

    @property
    def total(self) -> float:
        return self.weights + self.adapter + self.activations + self.besides

    def line(self) -> str:
        """`2.3 GiB: weights 0.5, adapter 0.1, activations 1.0, libraries 0.7`."""
        parts = {"weights": self.weights, "adapter": self.adapter, "activations": self.activations}
        parts["libraries"] = self.besides
        return f"{gib(self.total)} GiB: " + ", ".join(f"{name} {gib(size)}" for name, size in parts.items())


def gib(size: float) -> str:
    """Bytes as GiB with one digit."""
    return f"{size / 2**30:.1f}"


def mib(size: float) -> str:
    """Bytes as MiB."""
    return f"{size / 2**20:,.0f}"


def estimate(
    shape: Mapping[str, int], counts: Mapping[str, int], device: Device, tokens: int, checkpointing: bool
) -> Estimate:
    """The memory of a training that has `tokens` tokens at a time on the device.

    `shape` and `counts` are those of `train.model`: `counts` has the numbers of `parameters` and of `trainable` ones.
    """
    half = BYTES[device.dtype]
    embedding = shape["vocabulary"] * shape["hidden"]  # never quantized
    frozen = counts["parameters"] - counts["trainable"]
    quantized = max(0, frozen - embedding) * _QUANT_BYTES.get(device.quant, half)
    weights = quantized + min(frozen, embedding) * half
    state = state_bytes(device)
    adapter = counts["trainable"] * (4 + 4 + state)
    width = shape["heads"] * shape["head_dim"] + 2 * shape["kv_heads"] * shape["head_dim"]
    # Of each layer: two norms and their inputs, queries, keys and values, the attention's output, what the gate, the
    # product and the activation of the MLP keep.
    kept = 4 * shape["hidden"] + 2 * width + 2 * shape["heads"] * shape["head_dim"] + 4 * shape["intermediate"]
    layer = tokens * kept * half
    seen = {"eager": tokens, "documents": min(tokens, SHORT_DOCUMENT) if device.kind == "cpu" else 0}
    scores = shape["heads"] * tokens * seen.get(device.attention, 0) * (4 if half == 4 else 4 + half)
    mask = tokens * tokens * 4 if device.attention in ("eager", "sdpa") else 0
    layers = layer + scores
    whole = (
        layers * shape["layers"] if not checkpointing else layers + tokens * shape["hidden"] * half * shape["layers"]
    )
    logits = 3 * min(tokens, _LOGITS_AT_ONCE) * shape["vocabulary"] * 4
    return Estimate(weights, adapter, (whole + mask + logits) * _FRAGMENTS[device.kind], _BESIDES[device.kind])


def state_bytes(device: Device) -> float:
    """Bytes that the optimizer keeps for each trained weight."""
    return _EIGHT_BIT if "8bit" in device.optim else _TWO_MOMENTS


def peak(device: Device) -> int:
    """The most bytes that this process has had on the device so far."""
    if device.kind == "cuda":
        import torch

        return torch.cuda.max_memory_reserved()
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset  # type: ignore[attr-defined]

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    name, text = type(error).__name__, str(error)
    return isinstance(error, MemoryError) or "OutOfMemory" in name or "can't allocate memory" in text


def lower(settings: Train, device: Device, checkpointing: bool) -> list[str]:
    """What to lower, in the order in which it costs least."""
    schedule, found = settings.schedule, []
    length = settings.config["tokens"]["max_length"]
    if schedule.batch > 1:
        more = schedule.accumulate * schedule.batch
        found.append(f"train.per_device_train_batch_size=1 train.gradient_accumulation_steps={more}")
    if not checkpointing:
        found.append("train.gradient_checkpointing=true")
    if device.quant == "none" and device.kind == "cuda":
        found.append("quant=nf4")
    if device.kind == "cuda" and "8bit" not in device.optim:
        found.append("train.optim=paged_adamw_8bit")
    found.append(f"tokens.max_length={max(2, length // 2)}")
    if settings.lora.r > 8:
        found.append(f"lora.r={settings.lora.r // 2}")
    return [*found, "a smaller model"]


def shortage(settings: Train, device: Device, checkpointing: bool) -> MemoryShortError:
    """The error for memory that ran out: what to lower, in order."""
    what = f"the memory of {device.name} ({gib(device.memory)} GiB) did not suffice"
    return MemoryShortError(
        f"model {settings.model.short}",
        what,
        "lower, in this order: " + "; ".join(lower(settings, device, checkpointing)),
    )


def room(used: int, device: Device, settings: Train, checkpointing: bool) -> str | None:
    """After a run that left much of a card unused: what to raise."""
    if device.kind != "cuda" or used >= MUCH * device.memory:
        return None
    schedule, found = settings.schedule, []
    length = settings.config["tokens"]["max_length"]
    if checkpointing:
        found.append("train.gradient_checkpointing=false (faster)")
    if schedule.accumulate > 1:
        found.append(
            f"train.per_device_train_batch_size={schedule.batch * 2} "
            f"train.gradient_accumulation_steps={schedule.accumulate // 2} (faster)"
        )
    if device.quant != "none":
        found.append("quant=none (faster, more exact)")
    found += [f"tokens.max_length={length * 2} (longer rows whole)", f"lora.r={settings.lora.r * 2}"]
    return f"{1 - used / device.memory:.0%} of the card was not used. Worth raising: " + "; ".join(found)
