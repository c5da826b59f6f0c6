"""A bundle of a few sample rows, and tiny models of real architectures, for whole trainings in seconds."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # tiny matrices are multiplied by one thread faster than by several

ROOT = Path(__file__).resolve().parents[2]
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
SHAPE: dict[str, Any] = {
    "vocab_size": 400,
    "hidden_size": 64,  # bitsandbytes packs 64 weights at a time
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "initializer_range": 0.1,
    "max_position_embeddings": 1024,
    "bos_token_id": None,
    "eos_token_id": 399,
    "pad_token_id": 398,
}
CONFIGS = {
    "qwen3": ("Qwen3Config", {}),
    "llama": ("LlamaConfig", {}),
    "gemma3": (
        "Gemma3TextConfig",
        {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]},
    ),
}
Model = Callable[[str], Path]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """tiny_model("qwen3") → a folder with a model of that architecture, random weights, and a tokenizer."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp("models") / f"tiny-{name}"
            kind, more = CONFIGS[name]
            torch.manual_seed(0)
            model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, kind)(**(SHAPE | more)))
            model.save_pretrained(str(folder))
            write_tokenizer(folder)
            made[name] = folder
        return made[name]

    return make


def write_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer of 400 tokens, those of ChatML among them."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SHAPE["vocab_size"] - len(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    samples = (ROOT / "data_pools" / "samples").glob("*.jsonl")
    tokenizer.train_from_iterator((path.read_text("utf-8") for path in sorted(samples)), trainer)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "pad_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of 24 rows of two sources, and its validation rows."""
    from pipeline.__main__ import PROGRAM
    from pipeline.cli.front import main

    folder = tmp_path_factory.mktemp("data")
    settings = [f"paths.pools={folder / 'pools'}", f"out={folder / 'bundle'}", "template=chatml"]
    weights = ["mix=custom", "+mix.weights.cmath=1", "+mix.weights.emoji=1", "mix.total_rows=24"]
    assert main(PROGRAM, ["build", *settings, *weights, "split.min_validation=12", "split.min_per_source=6"]) == 0
    return folder / "bundle"


@pytest.fixture
def train(tmp_path: Path, tiny_model: Model, bundle: Path) -> Callable[..., int]:
    """train("llama", "train.max_steps=3", …) → the exit status; the run is at tmp_path / "run"."""
    pytest.importorskip("trl")
    from pipeline.cli.front import main
    from train.__main__ import PROGRAM

    def run(model: str, *overrides: str, out: str = "run") -> int:
        return main(
            PROGRAM,
            [
                "sft",
                f"bundle={bundle}",
                f"model.path={tiny_model(model)}",
                "template=chatml",
                "tokens.max_length=256",
                "train.gradient_accumulation_steps=2",
                "train.eval_rows=6",
                "dtype=fp32",
                f"out={tmp_path / out}",
                f"paths.pools={bundle.parent / 'pools'}",
                f"paths.runs={tmp_path / 'runs'}",
                *overrides,
            ],
        )

    return run
