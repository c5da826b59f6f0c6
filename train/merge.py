"""A run's adapter and its base model made one, and measured against the two of them.

The adapter goes onto the weights as they were published, never onto the quantized ones that QLoRA trains on: rounded to
4 bits again, most of what was learned would be lost. The sum is made in float32 and rounded once, to what is written.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import PoolmixError, StoreError
from pipeline.folder import file_digest
from pipeline.room import require_place, require_room
from pipeline.store import lock, new_folder
from train.adapted import find_base, load_adapted, run_template
from train.device import BYTES, Device, choose, look
from train.foreign import folder_fault
from train.generate import prompts
from train.memory import SHORT, is_shortage, mib
from train.model import load_model, load_tokenizer, torch_type
from train.room import writing_tensors
from train.run import Run, write_manifest
from train.settings import Hardware

Say = Callable[[str], None]
WEIGHTS = "adapter_model.safetensors"
# What stands in an adapter's folder and goes into that of the merged model unchanged.
_OF_ADAPTER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
# What the base has besides, and other programs want: Ollama and llama.cpp read Gemma's vocabulary from tokenizer.model.
_OF_BASE = ("tokenizer.model", "preprocessor_config.json", "processor_config.json", "special_tokens_map.json")
_QUESTIONS = (
    "What is 12 times 7?",
    "一个数加上8等于15，这个数是多少？",
    "Write one sentence about the sea. 🌊",
    "List three colours as JSON.",
)
_TEXT = "The quick brown fox jumps over the lazy dog; 3.14 is not 22/7.\n"  # stands as answer, to be measured, too
# The most that logits may be apart. In float32, as a share of the largest logit: what sums in another order come to.
# (2e-6 was measured on 30 layers.) In 16 bits, and as written, the root mean square of the difference as a share of
# that of the logits: what rounding does. (bf16: 0.03 was measured on 135 million parameters; larger models have less.)
_EXACT = 5e-5
_ROUNDED = {"fp32": 1e-4, "fp16": 0.02, "bf16": 0.1}
_COPIES = 1.3  # times the model's size: the model, one layer's sum and the logits


class MergeError(PoolmixError):
    """The merged model does not answer as the adapter does."""

    status = 3


@dataclass(frozen=True)
class Difference:
    """Between the logits of two models: the largest `apart`, the largest logit, and root mean squares as a `share`.

    `same` of `positions` have the same token on top, which is the one that greedy decoding takes.
    """

    apart: float
    largest: float
    share: float
    same: int
    positions: int


def merge_run(run: Run, say: Say, dtype: str = "auto", device: str = "auto", base: Path | None = None) -> Path:
    """Write a run's merged model, and say how near it comes to base and adapter; its folder.

    `dtype` is that of the weights written (auto: the base's own where it has 16 bits, else bf16); `base` is a folder
    with the base model, for when it is no longer where it was. The folder appears when everything in it has been
    checked. Raises: MergeError if the logits differ by more than rounding explains; ConfigError without a base model;
    StoreError without an adapter, or if nothing can be written.
    """
    adapter = run.require_adapter()
    require_place("run", run.folder)
    folder = find_base(run, say, base)
    written = stored_dtype(folder) if dtype == "auto" else dtype
    place = _place(run, device, written)
    trained = run.manifest["device"]["quant"]
    if trained != "none":
        say(f"note       trained on {trained} weights, merged onto those that they were made of: answers may differ")
        say("           a little from those at the end of the training")
    say(f"merge      on {place.name} in {place.dtype}, written as {written}")
    rows = _rows(run, load_tokenizer(adapter))
    require_room(run.merged, run.manifest["model"]["parameters"] * BYTES[written])
    with writing_tensors(run.merged), lock(run.folder, run.merged), new_folder(run.merged) as made:
        try:
            exact, rounded = _merge(folder, adapter, place, written, rows, made.path)
        except RuntimeError as error:
            if is_shortage(error):
                what = f"the memory of {place.name} did not suffice"
                raise StoreError(f"run {run.folder.name}", what, "set device=cpu, or end other programs") from error
            raise
        made.adopt()
    size = _size(run.merged)
    say(check_lines(exact, rounded, len(rows), place.dtype, written))
    say(f"size       {mib(size)} MiB as {written}; base {mib(_size(folder))} MiB, adapter {mib(_size(adapter))} MiB")
    run.manifest["merged"] = {
        "dtype": written,
        "bytes": size,
        "adapter": file_digest(adapter / WEIGHTS),
        "base": str(folder),
        "exact": asdict(exact),
        "rounded": asdict(rounded),
    }
    write_manifest(run.folder, run.manifest)
    return run.merged


def is_merged(run: Run) -> bool:
    """Whether the merged model is there, whole, and of the adapter as it is now."""
    noted = run.manifest.get("merged")
    return (
        noted is not None
        and folder_fault(run.merged) is None
        and noted["adapter"] == file_digest(run.require_adapter() / WEIGHTS)
    )


def stored_dtype(folder: Path) -> str:
    """The 16-bit type that a model's files are kept in; bf16 for those in 32 bits, since it spans the same range."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    noted = config.get("dtype") or config.get("torch_dtype") or config.get("text_config", {}).get("dtype")
    return "fp16" if noted == "float16" else "bf16"


def _place(run: Run, asked: str, written: str) -> Device:
    """Where to merge, in float32 if that fits: a card with room for it, else the processor."""
    device = _unquantized(asked, "fp32")
    size = run.manifest["model"]["parameters"] * _COPIES
    if device.kind == "cuda" and asked == "auto" and _free(device) < size * BYTES["fp32"]:
        device = _unquantized("cpu", "fp32")
    if _free(device) < size * BYTES["fp32"] and written != "fp32":
        device = replace(device, dtype=written)  # not by `choose`, which has fp32 in place of fp16 on a processor
    return device


def _unquantized(kind: str, dtype: str) -> Device:
    return choose(Hardware(kind, dtype, "none", "sdpa", "auto", False), look(kind))


def _free(device: Device) -> float:
    """Bytes that may be used on the device."""
    if device.kind == "cuda":
        import torch

        return torch.cuda.mem_get_info()[0]
    import psutil

    return min(device.memory * SHORT, psutil.virtual_memory().available)


def _merge(
    folder: Path, adapter: Path, place: Device, written: str, rows: Sequence[list[int]], target: Path
) -> tuple[Difference, Difference]:
    """Fill the target, and compare: base and adapter with their sum, and with what is read back from the target."""
    from transformers import GenerationConfig

    model = load_adapted(folder, adapter, place)
    expected = logits(model, rows)
    try:
        model = model.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise MergeError(f"adapter {adapter}", f"its weights are not all finite ({error})", "train it again") from error
    exact = difference(expected, logits(model, rows))
    if place.dtype == "fp32" and exact.apart > _EXACT * exact.largest:
        raise _wrong(adapter, exact.apart, _EXACT * exact.largest, "in fp32, logits of the sum are apart by")
    if exact.share > _ROUNDED[place.dtype]:
        raise _wrong(adapter, exact.share, _ROUNDED[place.dtype], "the sum's logits are apart by a share of")
    model = model.to(torch_type(written))
    model.config.use_cache = True
    model.generation_config = GenerationConfig.from_pretrained(str(adapter), local_files_only=True)
    model.save_pretrained(str(target))
    del model
    for names, source in ((_OF_ADAPTER, adapter), (_OF_BASE, folder)):
        for name in names:
            if (source / name).is_file() and (names is _OF_ADAPTER or not (target / name).exists()):
                shutil.copyfile(source / name, target / name)
    fault = folder_fault(target)
    if fault is not None:
        raise MergeError(f"merged model of {adapter}", fault[0], "report it, with the versions in manifest.json")
    rounded = difference(expected, logits(load_model(target, place), rows))
    if rounded.share > _ROUNDED[written]:
        raise _wrong(adapter, rounded.share, _ROUNDED[written], f"as {written}, the logits are apart by a share of")
    return exact, rounded


def _wrong(adapter: Path, found: float, bound: float, what: str) -> MergeError:
    return MergeError(
        f"merged model of {adapter}",
        f"does not answer as the adapter does: {what} {found:.3g}, at most {bound:.3g} is rounding",
        "set dtype=bf16 or fp32; if both fail, report it with the versions in manifest.json. Nothing was written",
    )


def _rows(run: Run, tokenizer: Any) -> list[list[int]]:
    """Token ids to compare on: questions as the run's template puts them, each with the same text as its answer."""
    conversations = [[{"role": "user", "content": question}] for question in _QUESTIONS]
    texts = prompts(run_template(run), conversations)
    return [tokenizer(text + _TEXT, add_special_tokens=False)["input_ids"] for text in texts]


def logits(model: Any, rows: Sequence[list[int]]) -> list[Any]:
    """The model's logits for each row, (tokens × vocabulary) in float32 in main memory."""
    import torch

    model.eval()
    with torch.inference_mode():
        return [
            model(input_ids=torch.tensor([row], device=model.device), use_cache=False).logits[0].float().cpu()
            for row in rows
        ]


def difference(expected: Sequence[Any], found: Sequence[Any]) -> Difference:
    """How far two models' logits are from each other; a logit that is no number is infinitely far away."""
    import torch

    pairs = list(zip(expected, found, strict=True))
    finite = all(bool(torch.isfinite(b).all()) for _, b in pairs)
    squares = sum(float((a - b).double().square().sum()) for a, b in pairs)
    spread = sum(float((a - a.mean(-1, keepdim=True)).double().square().sum()) for a, _ in pairs)
    return Difference(
        apart=max(float((a - b).abs().max()) for a, b in pairs) if finite else float("inf"),
        largest=max(float(a.abs().max()) for a, _ in pairs),
        share=(squares / spread) ** 0.5 if finite else float("inf"),
        same=sum(int((a.argmax(-1) == b.argmax(-1)).sum()) for a, b in pairs),
        positions=sum(len(a) for a, _ in pairs),
    )


def check_lines(exact: Difference, rounded: Difference, rows: int, computed: str, written: str) -> str:
    """`check      summed in fp32, logits are at most 9.4e-05 apart (2.1e-03 allowed), …`, of what, and as written."""
    bound = f" ({_EXACT * exact.largest:.1e} allowed)" if computed == "fp32" else ""
    return (
        f"check      {rows} texts, {exact.positions} tokens, base with adapter beside merged model\n"
        f"           summed in {computed}: logits at most {exact.apart:.1e} apart{bound}, "
        f"greedy token the same at {exact.same}\n"
        f"           as written in {written}: at most {rounded.apart:.1e}, that is {rounded.share:.2%} of their spread "
        f"({_ROUNDED[written]:.2%} allowed), greedy token the same at {rounded.same}"
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
