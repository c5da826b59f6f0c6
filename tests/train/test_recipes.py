"""Every recipe of conf/experiment composes, and runs to its end on a tiny model of its own architecture."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

os.environ["HF_HUB_OFFLINE"] = "1"

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ROOT / "conf" / "experiment"
RECIPES = sorted(path.stem for path in EXPERIMENTS.glob("*.yaml"))
SAMPLES = ROOT / "data_pools" / "samples"
# What ends turns and texts under the templates of the recipes' models.
SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
    *("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)
VOCABULARY = 512
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,  # bitsandbytes packs blocks of 64 weights
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "initializer_range": 0.1,
    "bos_token_id": None,
    "pad_token_id": None,
}
# Architecture → its configuration, the token that ends a turn, and what is different from SHAPE.
ARCHITECTURES: dict[str, tuple[str, str, Mapping[str, Any]]] = {
    "gemma3": ("Gemma3TextConfig", "<end_of_turn>", {"sliding_window": 32}),
    "llama": ("LlamaConfig", "<|eot_id|>", {}),
    "qwen2": ("Qwen2Config", "<|im_end|>", {}),
    "qwen3": ("Qwen3Config", "<|im_end|>", {}),
}
# Recipe → the architecture of its model, and settings that it is known for.
KNOWN_FOR: dict[str, tuple[str, Mapping[str, Any]]] = {
    "domain_qa_7b": ("qwen2", {"template.name": "alpaca", "quant": "nf4", "model.name": "qwen2_5_7b"}),
    "gemma3_qlora": (
        "gemma3",
        {
            "quant": "nf4",
            "dtype": "bf16",
            "lora.r": 16,
            "lora.alpha": 32,
            "lora.targets": None,
            "train.optim": "paged_adamw_8bit",
            "train.lr_scheduler_type": "cosine",
            "train.gradient_checkpointing": True,
        },
    ),
    "gemma_lora_e2e": ("gemma3", {"merge": True}),
    "qwen3_4b_16gb": (
        "qwen3",
        {
            "quant": "nf4",
            "dtype": "bf16",
            "lora.r": 16,
            "lora.alpha": 32,
            "lora.dropout": 0.05,
            "seed": 42,
            "tokens.max_length": 1024,
            "tokens.pack": True,
            "train.gradient_checkpointing": True,
            "train.per_device_train_batch_size": 1,
            "train.gradient_accumulation_steps": 16,
            "train.learning_rate": 2e-4,
            "train.warmup_ratio": 0.03,
            "train.optim": "paged_adamw_8bit",
        },
    ),
    "qwen_legal_cpu": (
        "qwen2",
        {"quant": "none", "device": "cpu", "train.optim": "adamw_torch", "lora.r": 8, "lora.alpha": 32},
    ),
}
WITHOUT_VALIDATION = {"gemma_lora_e2e"}  # of two rows none can be spared
Tiny = Callable[[str], Path]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Generator[None]:
    """Tiny matrices are multiplied by one thread faster than by several."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """tiny("qwen3") → a folder with a model of that architecture, random weights, and a tokenizer."""
    transformers = pytest.importorskip("transformers")
    import torch

    folder = tmp_path_factory.mktemp("models")

    def make(name: str) -> Path:
        place = folder / f"tiny_{name}"
        if not place.is_dir():
            kind, end, more = ARCHITECTURES[name]
            write_tokenizer(place, end)
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(place))
            torch.manual_seed(0)
            settings = SHAPE | {"eos_token_id": tokenizer.eos_token_id} | more
            model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, kind)(**settings))
            model.save_pretrained(str(place))
        return place

    return make


def write_tokenizer(folder: Path, end: str) -> None:
    """A byte-level tokenizer with the special tokens of the project's templates."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    size = VOCABULARY - len(SPECIAL)
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator([(SAMPLES / "library.jsonl").read_text("utf-8")], trainer)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in SPECIAL])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token=SPECIAL[0]).save_pretrained(folder)


def composed(capsys: pytest.CaptureFixture[str], *overrides: str) -> dict[str, Any]:
    """What `python -m train sft …` would run with."""
    from pipeline.cli.front import main
    from train.__main__ import PROGRAM

    capsys.readouterr()
    assert main(PROGRAM, ["sft", *overrides, "--cfg", "job", "--resolve"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


def setting(config: Mapping[str, Any], path: str) -> Any:
    """`lora.r` of a configuration."""
    node: Any = config
    for part in path.split("."):
        node = node[part]
    return node


@pytest.fixture
def run(tmp_path: Path, tiny: Tiny) -> Callable[..., Path]:
    """run("qwen_legal_cpu", "llama", "seed=1") → the folder of a run of two steps, which is done."""
    pytest.importorskip("trl")
    from pipeline.cli.front import main
    from train.__main__ import PROGRAM

    def call(recipe: str, architecture: str, *overrides: str) -> Path:
        short = ["train.max_steps=2", "train.eval_rows=4", "answer_tokens=4", f"out={tmp_path / 'run'}"]
        places = [f"paths.{name}={tmp_path / name}" for name in ("pools", "bundles", "runs")]
        command = ["sft", f"experiment={recipe}", f"model.path={tiny(architecture)}", *short, *places, *overrides]
        assert main(PROGRAM, command) == 0
        return tmp_path / "run"

    return call


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_says_its_command_and_composes(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    from train.settings import read_train

    text = (EXPERIMENTS / f"{recipe}.yaml").read_text("utf-8")
    assert f"\n#   python -m train sft experiment={recipe}" in text
    assert len(text.splitlines()) < 45
    config = composed(capsys, f"experiment={recipe}")
    read_train(config)
    assert config["train"]["name"] == recipe
    for path, value in KNOWN_FOR[recipe][1].items():
        assert setting(config, path) == value, path


def test_one_setting_changes_a_recipes_model(capsys: pytest.CaptureFixture[str]) -> None:
    config = composed(capsys, "experiment=gemma3_qlora", "model=llama3_2_1b", "train.epochs=1")
    assert (config["model"]["name"], config["train"]["epochs"], config["quant"]) == ("llama3_2_1b", 1, "nf4")
    assert "template=llama3" in config["build"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_runs_to_its_end(recipe: str, run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    architecture, settings = KNOWN_FOR[recipe]
    settings = {**settings, "train.gradient_accumulation_steps": 2}
    folder = run(recipe, architecture, "train.gradient_accumulation_steps=2")
    said = capsys.readouterr().out
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert manifest["state"] == "done"
    assert (manifest["model"]["trainable"], manifest["results"]["step"]) == (trainable(settings), 2)
    assert f"{manifest['model']['trainable']:,} of " in said
    assert "on disk" in said
    for path, value in settings.items():
        assert setting(manifest["config"], path) == value, path
    wanted = settings.get("quant", "none" if manifest["device"]["kind"] == "cpu" else "nf4")
    assert manifest["device"]["quant"] == wanted
    assert_trained(folder / f"tiny_{architecture}_lora_adapter")
    records = read_lines(folder / "metrics.jsonl")
    assert [record["step"] for record in records if "loss" in record] == [1, 2]
    sources = set(manifest["bundle"]["weights"]) - WITHOUT_VALIDATION
    measured = {name.removeprefix("eval_loss_") for record in records for name in record if "eval_loss_" in name}
    assert measured == (set() if recipe in WITHOUT_VALIDATION else sources)
    assert ("eval_loss" in records[0]) == (recipe not in WITHOUT_VALIDATION)
    answers = read_lines(folder / "answers.jsonl")
    assert [answer["question"] for answer in answers] == manifest["config"]["questions"]
    assert all(isinstance(answer[side], str) for answer in answers for side in ("before", "after"))
    merged = folder / f"tiny_{architecture}_lora_merged"
    assert (merged / "model.safetensors").is_file() == manifest["config"]["merge"]


def trainable(settings: Mapping[str, Any]) -> int:
    """Weights of an adapter on all projections of attention and MLP of a tiny model."""
    hidden, inner, keys, heads = SHAPE["hidden_size"], SHAPE["intermediate_size"], 32, 64
    shapes = [(hidden, heads), (hidden, keys), (hidden, keys), (heads, hidden)]
    shapes += [(hidden, inner), (hidden, inner), (inner, hidden)]
    rank = settings.get("lora.r", 16 if "quant" in settings else 8)
    return SHAPE["num_hidden_layers"] * rank * sum(a + b for a, b in shapes)


def assert_trained(adapter: Path) -> None:
    """An adapter's second matrices begin as zeros: gradients reached each of them that is another now."""
    from safetensors.torch import load_file

    weights = load_file(str(adapter / "adapter_model.safetensors"))
    second = {name: weight for name, weight in weights.items() if "lora_B" in name}
    assert len(second) == 14
    assert all(weight.abs().max() > 0 and weight.isfinite().all() for weight in second.values())
    assert (adapter / "tokenizer.json").is_file()


def test_rows_of_ones_own_take_the_place_of_a_recipes(
    run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On another architecture, too: the recipe stays as it is."""
    file = tmp_path / "my rows, all.jsonl"
    file.write_text("".join(json.dumps({"question": f"{n} + 1?", "answer": str(n + 1)}) + "\n" for n in range(20)))
    folder = run("qwen_legal_cpu", "llama", "model=llama3_2_1b", f"rows={file}", "questions=[]")
    assert "20 → 20" in capsys.readouterr().out
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert (manifest["state"], manifest["template"]["name"]) == ("done", "llama3")
    assert not (folder / "answers.jsonl").exists()


def test_rows_that_nothing_would_read_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.cli.front import main
    from train.__main__ import PROGRAM

    assert main(PROGRAM, ["sft", "rows=my.jsonl"]) == 2
    assert "rows=my.jsonl: `build` is empty" in capsys.readouterr().err


def test_four_bits_take_a_fraction_of_the_memory(tiny: Tiny) -> None:
    """On a processor as well: bitsandbytes has kernels for it."""
    pytest.importorskip("bitsandbytes")
    from train.device import choose, look
    from train.model import load_model, weights
    from train.settings import Hardware

    sizes: dict[str, dict[str, int]] = {}
    for quant in ("none", "nf4"):
        device = choose(Hardware("cpu", "bf16", quant, "auto", "auto", None), look("cpu"))
        sizes[quant] = weights(load_model(tiny("qwen3"), device))
    assert sizes["nf4"]["parameters"] == sizes["none"]["parameters"]
    whole = 2 * VOCABULARY * SHAPE["hidden_size"] * 2  # bytes of the embedding and the output, which stay in bf16
    assert sizes["nf4"]["bytes"] - whole < 0.3 * (sizes["none"]["bytes"] - whole)


@pytest.mark.parametrize(
    ("name", "keys", "least"),
    [("library", {"instruction", "input", "output"}, 100), ("law", {"question", "answer"}, 24)],
)
def test_the_rows_of_the_recipes_are_whole(name: str, keys: set[str], least: int) -> None:
    rows = read_lines(SAMPLES / f"{name}.jsonl")
    assert len(rows) >= least
    assert all(set(row) == keys for row in rows)
    assert len({json.dumps(row) for row in rows}) == len(rows)
    assert all(row[key].strip() for row in rows for key in keys - {"input"})
