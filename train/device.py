"""What a training runs on and in which types: chosen from what the machine has, and said.

`look` finds out what there is, `choose` decides. What was asked for and is not there is replaced by the next best,
which a note names; nothing fails later for it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from pipeline.errors import ConfigError
from pipeline.memory import most
from train.settings import Hardware

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
_LISTEN, _BUSY = 0.3, 30.0  # seconds, percent
_OF_BITSANDBYTES = ("paged_", "_bnb", "adamw_8bit", "ademamix_8bit", "lion_")


@dataclass(frozen=True)
class Machine:
    """What there is. `memory` is that of the device in bytes; the types are those with instructions of their own."""

    cuda: bool
    mps: bool
    name: str
    memory: int
    bf16: bool  # of the card, else of the processor
    bitsandbytes: bool
    flash_attention: bool


@dataclass(frozen=True)
class Device:
    """What a training uses. `dtype` is what is computed in, `quant` how the frozen weights are kept.

    `gradient_checkpointing` of None is still to be decided by memory (`train.memory`).
    """

    kind: str  # cuda | mps | cpu
    name: str
    memory: int
    dtype: str  # bf16 | fp16 | fp32
    quant: str  # nf4 | int8 | none
    attention: str
    optim: str
    gradient_checkpointing: bool | None
    notes: tuple[str, ...]

    def line(self) -> str:
        """`NVIDIA H100 · bf16 · nf4 · flash_attention_2 · paged_adamw_8bit`."""
        return " · ".join([self.name, self.dtype, f"quant {self.quant}", self.attention, self.optim])


def look(wanted: str) -> Machine:
    """What this machine has, as the device `wanted` (or `auto`) sees it."""
    import torch

    cuda = torch.cuda.is_available() and wanted in ("auto", "cuda")
    mps = torch.backends.mps.is_available() and not cuda and wanted in ("auto", "mps")
    bitsandbytes = find_spec("bitsandbytes") is not None
    if cuda:
        card: Any = torch.cuda.get_device_properties(torch.cuda.current_device())
        flash = find_spec("flash_attn") is not None and card.major >= 8
        return Machine(True, False, card.name, card.total_memory, torch.cuda.is_bf16_supported(), bitsandbytes, flash)
    name = "Apple GPU" if mps else f"CPU, {torch.get_num_threads()} threads"
    return Machine(False, mps, name, _main_memory(), mps or _processor_has_bf16(), bitsandbytes, False)


def _processor_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 itself: without, it takes several times as long as float32."""
    import torch

    checks = [getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile", "arm_bf16")]
    return any(check() for check in checks if check is not None)


def _main_memory() -> int:
    """Bytes of main memory that this process may have: what is free, or what the system's limits leave of it."""
    if (free := most()) is not None:
        return free
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 8 << 30


def choose(asked: Hardware, machine: Machine) -> Device:
    """What to use of what there is.

    Raises: ConfigError if a device is named that is not there: to train on another by chance would take days.
    """
    if (asked.device == "cuda" and not machine.cuda) or (asked.device == "mps" and not machine.mps):
        raise ConfigError(f"device={asked.device}", "there is none that PyTorch can use", "set device=auto")
    notes: list[str] = []
    kind = "cuda" if machine.cuda else "mps" if machine.mps else "cpu"
    dtype = _dtype(asked.dtype, kind, machine, notes)
    return Device(
        kind=kind,
        name=machine.name,
        memory=machine.memory,
        dtype=dtype,
        quant=_quant(asked.quant, kind, machine, notes),
        attention=_attention(asked.attention, kind, dtype, machine, notes),
        optim=_optim(asked.optim, kind, machine, notes),
        gradient_checkpointing=asked.gradient_checkpointing,
        notes=tuple(notes),
    )


def others_at_work(device: Device, threads: int | None) -> str | None:
    """A note where other programs keep the processor busy: every product of matrices waits for its slowest thread."""
    import psutil

    if device.kind != "cpu" or threads == 1:
        return None
    busy = psutil.cpu_percent(interval=_LISTEN)
    if busy < _BUSY:
        return None
    return f"other programs take {busy:.0f} % of the processor: end them, or set threads=1, or training may crawl"


def report_to(asked: str) -> tuple[list[str], str | None]:
    """The trackers that a training reports to, and a note where the one asked for is not installed."""
    if asked == "none":
        return [], None
    if find_spec(asked) is None:
        return [], f"train.report_to={asked}: the package is not installed; metrics.jsonl has everything"
    return [asked], None


def _dtype(asked: str, kind: str, machine: Machine, notes: list[str]) -> str:
    if asked == "auto":
        return "bf16" if machine.bf16 else "fp16" if kind == "cuda" else "fp32"
    if asked == "fp16" and kind == "cpu":
        notes.append("dtype=fp16 loses too much on a CPU: fp32 is used")
        return "fp32"
    if asked == "bf16" and not machine.bf16:
        if kind == "cuda":
            notes.append("dtype=bf16 is not what this card has: fp16 is used")
            return "fp16"
        notes.append("dtype=bf16 is slow here, the processor has no instructions for it: dtype=fp32 is faster")
    return asked


def _quant(asked: str, kind: str, machine: Machine, notes: list[str]) -> str:
    if asked in ("nf4", "int8") and not machine.bitsandbytes:
        notes.append(f"quant={asked} needs bitsandbytes, which is not installed: the weights stay as they are")
        return "none"
    if asked in ("nf4", "int8") and kind == "mps":
        notes.append(f"quant={asked} does not run on this device: the weights stay as they are")
        return "none"
    if asked == "auto":
        return "nf4" if kind == "cuda" and machine.bitsandbytes else "none"
    return asked


def _attention(asked: str, kind: str, dtype: str, machine: Machine, notes: list[str]) -> str:
    flash = machine.flash_attention and kind == "cuda" and dtype != "fp32"
    if asked == "auto":
        return "flash_attention_2" if flash else "documents"
    if asked == "flash_attention_2" and not flash:
        notes.append("attention=flash_attention_2 needs a CUDA card, half precision and flash-attn: documents is used")
        return "documents"
    return asked


def _optim(asked: str, kind: str, machine: Machine, notes: list[str]) -> str:
    plain = "adamw_torch_fused" if kind == "cuda" else "adamw_torch"
    if asked == "auto":
        return "paged_adamw_8bit" if kind == "cuda" and machine.bitsandbytes else plain
    if "paged" in asked and kind != "cuda":
        notes.append(f"optim={asked} pages out of a CUDA card's memory, which is not here: {plain} is used")
        return plain
    if any(part in asked for part in _OF_BITSANDBYTES) and not machine.bitsandbytes:
        notes.append(f"optim={asked} needs bitsandbytes, which is not installed: {plain} is used")
        return plain
    return asked
