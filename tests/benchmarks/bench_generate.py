"""Time replies in batches beside one prompt at a time, with the same model, prompts and cores.

    make bench-generate              (or: python tests/benchmarks/bench_generate.py --runs 1)

SmolLM2-135M and the validation rows of `mix=math_heavy` from the sample data, greedy, at most 64 tokens each: `replies`
as the evaluation calls it, and transformers' `generate` on one prompt after another; then the same with a LoRA adapter
beside the model (with weights drawn by chance). Prints generated tokens a second, the ratio, and which replies differ.
Needs the extra `train` and the model; 5 minutes a run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench_train import run

ROOT = Path(__file__).resolve().parents[2]
TOKENS, AT_ONCE = 64, 32
MODEL, TEMPLATE = "smollm2_135m", "smollm2"


def prompts(folder: Path, count: int) -> list[str]:
    """Rendered prompts of validation rows, the same number of each source."""
    from eval.rows import choose_rows, render_prompts
    from pipeline.manifest import open_bundle
    from pipeline.render.template import Template

    build = ["build", "mix=math_heavy", f"out={folder / 'bundle'}", f"paths.pools={folder / 'pools'}"]
    run([sys.executable, "-m", "pipeline", *build, "split.min_per_source=64", "split.valid_ratio=0.5"], ROOT)
    rows = choose_rows(open_bundle(str(folder / "bundle"), folder), -(-count // 4))
    text = (ROOT / "conf" / "template" / f"{TEMPLATE}.jinja").read_text(encoding="utf-8")
    return [prompt for prompt in render_prompts(rows, Template(TEMPLATE, text, {})) if prompt is not None][:count]


def load() -> tuple[Any, Any]:
    """The model with an adapter that changes its answers a little, in fp32 on the processor, and the tokenizer."""
    import torch
    import yaml
    from peft import LoraConfig, get_peft_model

    from train.device import choose, look
    from train.model import load_model, load_tokenizer
    from train.models import find_model, read_model
    from train.settings import Hardware

    settings = read_model({"model": yaml.safe_load((ROOT / "conf" / "model" / f"{MODEL}.yaml").read_text())}, [])
    folder = find_model(settings, print).folder
    device = choose(Hardware("cpu", "fp32", "none", "auto", "auto", False), look("cpu"))
    lora = LoraConfig(r=16, target_modules=list(settings.lora_targets), init_lora_weights=False)
    model = get_peft_model(load_model(folder, device), lora)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    return model.eval(), load_tokenizer(folder)


def together(model: Any, tokenizer: Any, texts: Sequence[str]) -> Mapping[int, list[str]]:
    from train.generate import end_tokens, replies

    found = replies(model, tokenizer, texts, TOKENS, end_tokens(model, tokenizer), AT_ONCE)
    return {at: [reply.text, str(reply.tokens)] for at, reply in found}


def alone(model: Any, tokenizer: Any, texts: Sequence[str]) -> Mapping[int, list[str]]:
    """As transformers' documentation does it."""
    import torch

    found: dict[int, list[str]] = {}
    for at, text in enumerate(texts):
        inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        with torch.inference_mode():
            out = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        new = out[0, inputs["input_ids"].shape[1] :]
        found[at] = [tokenizer.decode(new).removesuffix(tokenizer.eos_token), str(len(new))]
    return found


def measured(way: Callable[..., Mapping[int, list[str]]], *what: Any) -> tuple[Mapping[int, list[str]], float]:
    """The replies, and generated tokens a second."""
    began = time.perf_counter()
    found = way(*what)
    return found, sum(int(tokens) for _, tokens in found.values()) / (time.perf_counter() - began)


def compare(name: str, model: Any, tokenizer: Any, texts: Sequence[str], runs: int) -> None:
    pairs = [[measured(way, model, tokenizer, texts) for way in (together, alone)] for _ in range(runs)]
    (ours, _), (theirs, _) = pairs[0]
    batches, single = (statistics.median(run[side][1] for run in pairs) for side in (0, 1))
    unlike = [at for at in theirs if ours[at] != theirs[at]]
    same = f"{len(texts) - len(unlike)} of {len(texts)} replies identical"
    print(f"{name:<8} {batches:>8.1f} {single:>14.1f} {batches / single:>7.2f} ×  {same}", flush=True)
    for at in unlike:
        print(f"         {at}: {ours[at][0]!r}\n         {' ' * len(str(at))}  {theirs[at][0]!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        texts = prompts(Path(folder), asked.prompts)
        model, tokenizer = load()
    print(f"{len(texts)} prompts, at most {TOKENS} tokens each, median of {asked.runs} runs, tokens/s\n")
    print(f"{'model':<8} {f'{AT_ONCE} at once':>8} {'one at a time':>14}   ratio")
    with model.disable_adapter():
        compare("base", model, tokenizer, texts, asked.runs)
    compare("adapter", model, tokenizer, texts, asked.runs)


if __name__ == "__main__":
    main()
