"""Merge a run's adapter into its base model: a model by itself, as 16-bit safetensors.

Examples:
  python -m train merge
  python -m train merge run=math_heavy-1a2b3c4d-Qwen3-0.6B-20260101-120000
  python -m train merge run=latest dtype=fp16
  python -m train merge run=DIR base=DIR device=cpu

Often used:
  run=PATH                   a run's folder or name, or latest
  dtype=bf16|fp16|fp32       of the weights written; auto: the base's own 16 bits, bf16 where it has 32
  device=cpu                 where it is computed; auto: a card with room for the model in fp32, else the CPU
  base=DIR                   the base model, where it is no longer where it was and cannot be found again

The adapter is added to the weights as published, also if it was trained on quantized ones (NF4): the sum
is made in fp32 and rounded once. Then the logits of base and adapter are compared with those of the merged
model, read back from its files. If they differ by more than rounding explains, nothing is written and
the exit status is 3. The last line printed is the folder: weights, tokenizer, template, generation settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.cli.front import Job


def run(config: dict[str, Any], _job: Job) -> None:
    """Merge, and print the merged model's folder."""
    from pipeline.cli import prepare_libraries
    from pipeline.errors import ConfigErrors, PoolmixError
    from pipeline.settings import Settings, is_text, is_whole

    prepare_libraries(config.get("threads"))
    from train.run import open_run
    from train.settings import DEVICES, DTYPES

    errors: list[PoolmixError] = []
    top = Settings(config, "", errors)
    top.known({"run", "dtype", "device", "base", "threads", "paths"})
    name = top.required("run", is_text, "a run's folder or name, or latest", "latest", "latest")
    dtype = top.required("dtype", lambda value: value in DTYPES, " or ".join(DTYPES), "auto", "auto")
    device = top.required("device", lambda value: value in DEVICES, " or ".join(DEVICES), "auto", "auto")
    base = top.value("base", is_text, "a folder or null", "DIR")
    top.value("threads", is_whole(1), "a whole number above 0", "2")
    runs = Settings(config.get("paths"), "paths", errors).required("runs", is_text, "a folder", "DIR", ".")
    if errors:
        raise ConfigErrors(errors)
    found = open_run(name, Path(runs).expanduser())
    from train.merge import merge_run
    from train.quiet import quiet

    quiet()
    folder = merge_run(
        found, lambda line: print(line, flush=True), dtype, device, Path(base).expanduser() if base else None
    )
    print(folder)
