"""The parts of a training: attention, loss, steps, what is chosen and estimated, and what checkpoints hold."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.conftest import CONFIGS, SHAPE

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from pipeline.errors import ConfigError  # noqa: E402
from pipeline.pack import position_ids  # noqa: E402
from train.attention import _short_mask  # noqa: E402
from train.checkpoint import load_state, random_state, restore_random_state, save_state  # noqa: E402
from train.data import Documents  # noqa: E402
from train.device import Device, Machine, choose  # noqa: E402
from train.loss import add_target_losses  # noqa: E402
from train.memory import estimate, is_shortage  # noqa: E402
from train.model import add_adapter, load_model, outline, weights, without_casts  # noqa: E402
from train.settings import Hardware, Lora, Schedule  # noqa: E402
from train.steps import every, plan_steps  # noqa: E402
from train.validation import losses, validation_loss  # noqa: E402

Model = Callable[[str], Path]
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LENGTHS = np.array([13, 30, 1, 21, 40])
ASKED = Hardware("auto", "auto", "auto", "auto", "auto", None)
LORA = Lora(4, 8, 0.0, None)


def device(quant: str = "none", attention: str = "documents", dtype: str = "fp32") -> Device:
    return Device("cpu", "CPU", 8 << 30, dtype, quant, attention, "adamw_torch", False, ())


def inputs(seed: int = 0) -> dict[str, Any]:
    """Documents end to end, about half of their tokens targets, never the first of one."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 390, (1, int(LENGTHS.sum())), generator=generator)
    labels = torch.where(torch.rand(ids.shape, generator=generator) < 0.5, ids, -100)
    places = torch.from_numpy(position_ids(LENGTHS))[None]
    labels[places == 0] = -100
    bounds = torch.from_numpy(np.append(0, np.cumsum(LENGTHS)).astype(np.int32))
    most = {"max_length_q": int(LENGTHS.max()), "max_length_k": int(LENGTHS.max())}
    return {
        "input_ids": ids,
        "labels": labels,
        "position_ids": places,
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "use_cache": False,
        **most,
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_attention_by_documents_is_that_of_the_mask(
    name: str, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits and gradients; Gemma's sliding window is shorter than some documents, and some are no short ones."""
    monkeypatch.setattr("train.attention.SHORT_DOCUMENT", 24)
    _short_mask.cache_clear()
    found: list[tuple[Any, Any]] = []
    for attention in ("documents", "eager"):
        model = load_model(tiny_model(name), device(attention=attention))
        given_ = inputs()
        labels = given_.pop("labels")
        logits = model(**given_).logits
        torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=-100).backward()
        found.append((logits.detach(), model.get_input_embeddings().weight.grad))
    _short_mask.cache_clear()
    for mine, other in zip(*found, strict=True):
        assert torch.allclose(mine, other, atol=1e-5)
    assert not torch.allclose(found[0][0], found[0][0].roll(1, 1), atol=1e-2)


@pytest.mark.parametrize("name", CONFIGS)
def test_documents_in_one_sequence_are_as_each_alone(name: str, tiny_model: Model) -> None:
    model = load_model(tiny_model(name), device()).eval()
    add_target_losses(model)
    whole = inputs()
    with torch.no_grad():
        together = model(**whole, target_losses=True)
        alone = []
        for begin, end in zip(np.append(0, np.cumsum(LENGTHS)), np.cumsum(LENGTHS), strict=False):
            part = {name: whole[name][:, begin:end] for name in ("input_ids", "labels")}
            alone.append(model(**part, use_cache=False, target_losses=True))
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_loss_of_targets_is_the_models_own(name: str, tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(tiny_model(name), device())
    own = model(**inputs()).loss
    (expected,) = torch.autograd.grad(own, model.get_input_embeddings().weight)
    add_target_losses(model)
    for at_once in (1 << 26, 10 * SHAPE["vocab_size"]):  # at once, and in parts that are computed again
        monkeypatch.setattr("train.loss._AT_ONCE", at_once)
        found = model(**inputs(), target_losses=True)
        assert torch.allclose(found.mean(), own, atol=1e-6)
        (gradient,) = torch.autograd.grad(found.mean(), model.get_input_embeddings().weight)
        assert torch.allclose(gradient, expected, atol=1e-6)


def test_validation_is_summed_by_source_however_it_is_packed(tiny_model: Model) -> None:
    model = load_model(tiny_model("llama"), device())
    add_target_losses(model)
    whole = inputs()
    ids, labels = (whole[name][0].numpy() for name in ("input_ids", "labels"))
    source = np.array([0, 1, 0, 1, 1])
    documents = Documents(ids, labels, np.append(0, np.cumsum(LENGTHS)), source, np.arange(len(LENGTHS)), ["a", "b"])
    sums = [
        validation_loss(model, documents, documents.packed(length), torch.device("cpu"), torch.no_grad)
        for length in (40, 1000)
    ]
    assert np.allclose(sums[0], sums[1], atol=1e-4)
    counts = [(labels[documents.bounds[k] : documents.bounds[k + 1]] != -100).sum() for k in range(5)]
    assert sums[0][:, 1].tolist() == [counts[0] + counts[2], counts[1] + counts[3] + counts[4]]
    own = model(**whole).loss.item()
    assert losses(sums[1], documents.sources)["eval_loss"] == pytest.approx(own, abs=1e-5)


def test_four_bit_weights_give_the_same_gradients_after_a_validation(tiny_model: Model) -> None:
    """bitsandbytes packs them for inference where the processor can, and then gives none."""
    pytest.importorskip("bitsandbytes")
    model = add_adapter(load_model(tiny_model("qwen3"), device("nf4")), LORA, TARGETS, 0)
    for parameter in model.parameters():  # else the first half of the adapter has no gradient at the start
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))

    def gradients() -> list[Any]:
        model.train()
        model.zero_grad()
        model(**inputs()).loss.backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.requires_grad]

    before = gradients()
    model.eval()
    with torch.inference_mode():
        model(**inputs())
    after = gradients()
    assert all(gradient.abs().sum() > 0 for gradient in before)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(before, after, strict=True))


def test_what_peft_casts_back_and_forth_changes_nothing(tiny_model: Model) -> None:
    found: list[list[Any]] = []
    half = device(dtype="bf16")
    model = add_adapter(load_model(tiny_model("llama"), half), LORA, TARGETS, 0)
    for context in (nullcontext(), without_casts(model, half)):
        model.zero_grad()
        with context, torch.autocast("cpu", torch.bfloat16):
            model(**inputs()).loss.backward()
        found.append([parameter.grad.clone() for parameter in model.parameters() if parameter.requires_grad])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_weights_are_counted_before_the_model_is_loaded(tiny_model: Model) -> None:
    folder = tiny_model("qwen3")
    shape, counts = outline(folder, LORA, TARGETS)
    for quant in ("none", "nf4"):
        model = add_adapter(load_model(folder, device(quant)), LORA, TARGETS, 0)
        assert {name: weights(model)[name] for name in counts} == counts
    assert shape["layers"] == SHAPE["num_hidden_layers"]
    assert shape["vocabulary"] == SHAPE["vocab_size"]


def schedule(**more: Any) -> Schedule:
    usual: dict[str, Any] = {
        "epochs": 1,
        "max_steps": None,
        "max_target_tokens": None,
        "batch": 1,
        "accumulate": 4,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "logging_steps": 1,
        "eval_steps": 0.1,
        "eval_rows": None,
        "save_steps": 0.5,
        "save_total_limit": 2,
        "early_stopping": None,
        "report_to": "none",
    }
    return Schedule(**(usual | more))


@given(
    targets=st.lists(st.integers(0, 50), min_size=1, max_size=40),
    epochs=st.sampled_from([0.5, 1, 2.3]),
    batch=st.integers(1, 3),
    accumulate=st.integers(1, 5),
    devices=st.integers(1, 2),
    most=st.none() | st.integers(1, 200),
)
@settings(max_examples=200)
def test_steps_see_every_sequence_and_end_at_the_limit(
    targets: list[int], epochs: float, batch: int, accumulate: int, devices: int, most: int | None
) -> None:
    counts = np.array(targets, np.int64)
    told = schedule(epochs=epochs, batch=batch, accumulate=accumulate, max_target_tokens=most)
    steps = plan_steps(counts + 1, counts, told, devices)
    assert steps.target_tokens[-1] == counts[steps.order].sum() - steps.surplus
    assert steps.tokens[-1] == (counts + 1)[steps.order].sum()
    assert len(steps.tokens) == steps.total + 1
    assert np.array_equal(steps.order, np.arange(len(steps.order)) % len(counts))
    assert len(steps.order) <= steps.total * steps.sequences
    if most is not None and counts[np.arange(int(np.ceil(len(counts) * epochs))) % len(counts)].sum() > most:
        assert steps.target_tokens[-1] <= most or not steps.total
        assert not steps.surplus or steps.target_tokens[-1] == most
    else:
        assert len(steps.order) + steps.left_over == int(np.ceil(len(counts) * epochs))
    assert steps.left_over < batch * devices


def test_a_share_of_all_steps_is_so_many() -> None:
    assert every(0.25, 100) == {25, 50, 75, 100}
    assert every(30, 100) == {30, 60, 90, 100}
    assert every(0.1, 3) == {1, 2, 3}


CARD = Machine(True, False, "card", 16 << 30, True, True, True)
OLD_CARD = Machine(True, False, "old card", 8 << 30, False, True, False)
BARE_CARD = Machine(True, False, "card", 8 << 30, True, False, False)
CPU = Machine(False, False, "CPU", 16 << 30, False, True, False)
BF16_CPU = Machine(False, False, "CPU", 16 << 30, True, True, False)


@pytest.mark.parametrize(
    ("asked", "machine", "expected"),
    [
        ({}, CARD, ("cuda", "bf16", "nf4", "flash_attention_2", "paged_adamw_8bit")),
        ({}, OLD_CARD, ("cuda", "fp16", "nf4", "documents", "paged_adamw_8bit")),
        ({}, BARE_CARD, ("cuda", "bf16", "none", "documents", "adamw_torch_fused")),
        ({}, CPU, ("cpu", "fp32", "none", "documents", "adamw_torch")),
        ({}, BF16_CPU, ("cpu", "bf16", "none", "documents", "adamw_torch")),
        ({"quant": "nf4"}, CPU, ("cpu", "fp32", "nf4", "documents", "adamw_torch")),
    ],
)  # fmt: skip
def test_what_is_used_follows_from_what_there_is(
    asked: dict[str, str], machine: Machine, expected: tuple[str, ...]
) -> None:
    found = choose(Hardware(**(ASKED.__dict__ | asked)), machine)
    assert (found.kind, found.dtype, found.quant, found.attention, found.optim) == expected
    assert not found.notes


@pytest.mark.parametrize(
    ("asked", "value"),
    [("attention", "flash_attention_2"), ("optim", "paged_adamw_8bit"), ("dtype", "fp16")],
)
def test_what_is_not_there_is_named_with_the_next_best(asked: str, value: str) -> None:
    found = choose(Hardware(**(ASKED.__dict__ | {asked: value})), CPU)
    (note,) = found.notes
    assert note.startswith(f"{asked}={value}")
    assert getattr(found, asked) in note


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="device=cuda"):
        choose(Hardware(**(ASKED.__dict__ | {"device": "cuda"})), CPU)


def test_more_of_anything_takes_more_memory() -> None:
    shape = {
        "layers": 4,
        "hidden": 64,
        "intermediate": 128,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 16,
        "vocabulary": 999,
    }
    counts = {"parameters": 10_000_000, "trainable": 100_000}

    def total(
        dtype: str = "bf16", quant: str = "none", tokens: int = 1024, checkpointing: bool = False, **more: int
    ) -> float:
        return estimate(shape | more, counts, device(quant, dtype=dtype), tokens, checkpointing).total

    assert total("fp32") > total() > total(quant="nf4")
    assert total(tokens=2048) > total() > total(checkpointing=True)
    assert total(layers=8) > total()


def test_a_shortage_of_memory_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as found:
        torch.empty(1 << 60)
    assert is_shortage(found.value)
    assert is_shortage(MemoryError())
    assert not is_shortage(ValueError("no"))


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {
        0: {"step": torch.tensor(3.0), "moments": [torch.arange(5, dtype=torch.uint8), torch.zeros(2, 3).bfloat16()]},
        "groups": ({"rate": 0.1, "betas": (0.9, 0.999), "on": True, "none": None},),
        "random": random_state(),
    }
    save_state(tmp_path, "state", state)
    found = load_state(tmp_path, "state")
    assert str(found) == str(state)
    numbers = random.random(), np.random.rand(), torch.rand(1)
    restore_random_state(found["random"])
    assert (random.random(), np.random.rand(), torch.rand(1)) == numbers
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    with pytest.raises(TypeError, match="object"):
        save_state(tmp_path, "other", {"a": object()})
