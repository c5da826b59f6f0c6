"""What a packed row must be given so that no document in it sees another, with transformers and TRL as installed.

Documents are recognised by `position_ids` that begin anew, and only where a call has neither `attention_mask` nor a
cache. Whatever is wrong is not an error: the row is read as one text.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.pack import position_ids

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = [
    # its names since transformers 5.23 are others; these hold for all of 5
    pytest.mark.filterwarnings("ignore:.*Use `activation_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning"),
    pytest.mark.filterwarnings("ignore:_compile flag on create_block_mask:DeprecationWarning"),
]

VOCAB = 128
LENGTHS = [13, 30, 1, 21, 40]
TOLERANCE = 1e-4  # fp32; a leak shows as a difference above 1
LEAK = 1e-3

# Weights ten times as large as usual: attention in an untrained model is otherwise nearly uniform and leaks are small.
SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
LAYERS = ["sliding_attention", "full_attention"]
MODELS = {
    "qwen3": lambda: transformers.Qwen3Config(**SHAPE),
    "llama": lambda: transformers.LlamaConfig(**SHAPE),
    "gemma3": lambda: transformers.Gemma3TextConfig(**SHAPE, sliding_window=8, layer_types=LAYERS),
}
on_cpu = pytest.mark.parametrize("attention", ["eager", "sdpa", "flex_attention"])
with_gradients_on_cpu = pytest.mark.parametrize("attention", ["eager", "sdpa"])
every_model = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(autouse=True)
def uncompiled() -> Iterator[None]:
    """flex_attention would be compiled, which takes most of a minute; the mask is the same without."""
    with torch.compiler.set_stance("force_eager"):
        yield


def model_of(name: str, attention: str) -> Any:
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(MODELS[name](), attn_implementation=attention).eval()


def documents(lengths: list[int], seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(1, VOCAB, (length,), generator=generator) for length in lengths]


def labels_of(document: torch.Tensor) -> torch.Tensor:
    """Every token is a target but the first: in a packed row the document before would be asked to predict it."""
    return torch.cat([torch.tensor([-100]), document[1:]])


def packed(texts: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        "input_ids": torch.cat(texts)[None],
        "labels": torch.cat([labels_of(text) for text in texts])[None],
        "position_ids": torch.from_numpy(position_ids(np.array([len(text) for text in texts])))[None],
    }


def alone(model: Any, texts: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of each document by itself, end to end, and the mean loss of all targets."""
    targets = sum(len(text) - 1 for text in texts)
    outputs = [
        model(input_ids=text[None], labels=labels_of(text)[None], use_cache=False, num_items_in_batch=targets)
        for text in texts
    ]
    return torch.cat([output.logits[0] for output in outputs]), sum(output.loss for output in outputs)


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one - other).abs().max().item()


@on_cpu
@every_model
@torch.no_grad()
def test_packed_documents_get_the_logits_and_the_loss_they_get_alone(name: str, attention: str) -> None:
    model, texts = model_of(name, attention), documents(LENGTHS)
    logits, loss = alone(model, texts)
    together = model(**packed(texts), use_cache=False)
    assert difference(together.logits[0], logits) <= TOLERANCE
    assert difference(together.loss, loss) <= TOLERANCE


@on_cpu
@every_model
@torch.no_grad()
def test_rows_of_a_batch_are_each_packed_for_themselves(name: str, attention: str) -> None:
    model, rows = model_of(name, attention), [documents([13, 30, 1]), documents([21, 16], seed=1)]
    parts = [packed(row) for row in rows]
    # padding is at position 0, so each token of it is a document of its own
    batch = {
        key: torch.nn.utils.rnn.pad_sequence([part[key][0] for part in parts], True, -100 if key == "labels" else 0)
        for key in parts[0]
    }
    together = model(**batch, use_cache=False)
    for number, row in enumerate(rows):
        length = sum(map(len, row))
        assert difference(together.logits[number, :length], alone(model, row)[0]) <= TOLERANCE
    assert difference(together.loss, alone(model, rows[0] + rows[1])[1]) <= TOLERANCE


@pytest.mark.skipif(not torch.cuda.is_available(), reason="flash_attention_2 needs a CUDA device")
@every_model
@torch.no_grad()
def test_packed_documents_get_the_logits_they_get_alone_in_flash_attention(name: str) -> None:
    pytest.importorskip("flash_attn")
    model = model_of(name, "flash_attention_2").to("cuda", torch.bfloat16)
    texts = [text.cuda() for text in documents(LENGTHS)]
    logits = torch.cat([model(input_ids=text[None], use_cache=False).logits[0] for text in texts])
    row = packed([text.cpu() for text in texts])
    together = model(row["input_ids"].cuda(), position_ids=row["position_ids"].cuda(), use_cache=False)
    # bf16 has three digits
    assert difference(together.logits[0], logits) <= 0.02 * logits.abs().max().item()


LEAKS = {
    "the default use_cache=True": {},
    "an attention_mask of ones": {"use_cache": False, "attention_mask": torch.ones(1, sum(LENGTHS), dtype=torch.long)},
    "positions that go on": {"use_cache": False, "position_ids": torch.arange(sum(LENGTHS))[None]},
}


@pytest.mark.parametrize("cause", LEAKS)
@on_cpu
@every_model
@torch.no_grad()
def test_documents_see_each_other_without_a_word(name: str, attention: str, cause: str) -> None:
    model, texts = model_of(name, attention), documents(LENGTHS)
    together = model(**packed(texts) | LEAKS[cause]).logits[0]
    logits, _ = alone(model, texts)
    first = LENGTHS[0]
    assert difference(together[:first], logits[:first]) <= TOLERANCE
    assert difference(together[first:], logits[first:]) > LEAK


@torch.no_grad()
def test_a_first_token_among_the_targets_is_predicted_from_the_document_before() -> None:
    model, texts = model_of("llama", "sdpa"), documents(LENGTHS)
    row = packed(texts)
    careless = model(**row | {"labels": row["input_ids"]}, use_cache=False, num_items_in_batch=1).loss
    careful = model(**row, use_cache=False, num_items_in_batch=1).loss
    assert careless - careful > len(texts) - 1


def gradients(model: Any, loss: torch.Tensor) -> torch.Tensor:
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])


@with_gradients_on_cpu
@every_model
def test_gradients_with_checkpointing_are_those_of_single_documents(name: str, attention: str) -> None:
    model, texts = model_of(name, attention), documents(LENGTHS)
    expected_logits, expected_loss = alone(model, texts)
    expected = gradients(model, expected_loss)
    model.train()
    model.gradient_checkpointing_enable()
    together = model(**packed(texts), use_cache=False)
    assert difference(together.logits[0], expected_logits) <= TOLERANCE
    assert difference(together.loss, expected_loss) <= TOLERANCE
    assert difference(gradients(model, together.loss), expected) <= TOLERANCE


@with_gradients_on_cpu
@every_model
def test_checkpointing_turns_the_cache_off_in_training_and_only_there(name: str, attention: str) -> None:
    model, texts = model_of(name, attention), documents(LENGTHS)
    expected, _ = alone(model, texts)
    model.gradient_checkpointing_enable()
    assert difference(model.train()(**packed(texts)).logits[0], expected) <= TOLERANCE
    assert difference(model.eval()(**packed(texts)).logits[0], expected) > LEAK
    model.gradient_checkpointing_disable()
    assert difference(model.train()(**packed(texts)).logits[0], expected) > LEAK


ROWS = [documents([13, 30, 1]), documents([21, 20, 3], seed=1)]


def feature(texts: list[torch.Tensor]) -> dict[str, list[int]]:
    """One packed row as a data set for TRL has it. Its labels leave the masking of first tokens to the collator."""
    ids = torch.cat(texts).tolist()
    return {"input_ids": ids, "labels": ids, "seq_lengths": [len(text) for text in texts]}


def collator(**settings: Any) -> Any:
    pytest.importorskip("trl")
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    return DataCollatorForLanguageModeling(pad_token_id=0, **settings)


def test_trl_lays_packed_rows_end_to_end_as_we_do() -> None:
    batch = collator(padding_free=True)([feature(row) for row in ROWS])
    expected = packed(ROWS[0] + ROWS[1])
    assert "attention_mask" not in batch
    for key, values in expected.items():
        assert torch.equal(batch[key], values), key
    assert batch["cu_seq_lens_q"].tolist() == [0, 13, 43, 44, 65, 85, 88]
    assert batch["max_length_q"] == 30


def test_trl_keeps_the_labels_it_is_given() -> None:
    row = feature(ROWS[0])
    row["labels"] = [-100 if place % 3 else token for place, token in enumerate(row["labels"])]
    batch = collator(padding_free=True)([row])
    starts = batch["position_ids"][0] == 0
    assert (batch["labels"][0][starts] == -100).all()
    assert torch.equal(batch["labels"][0][~starts], torch.tensor(row["labels"])[~starts])


@pytest.mark.parametrize("multiple", [None, 32])
@on_cpu
@every_model
@torch.no_grad()
def test_what_trl_collates_gives_the_logits_and_the_loss_of_single_documents(
    name: str, attention: str, multiple: int | None
) -> None:
    model, texts = model_of(name, attention), ROWS[0] + ROWS[1]
    batch = collator(padding_free=True, pad_to_multiple_of=multiple)([feature(row) for row in ROWS])
    together = model(**batch, use_cache=False)
    logits, loss = alone(model, texts)
    assert difference(together.logits[0, : len(logits)], logits) <= TOLERANCE
    assert difference(together.loss, loss) <= TOLERANCE


@torch.no_grad()
def test_trl_with_padding_gives_a_mask_that_hides_the_documents() -> None:
    model = model_of("llama", "sdpa")
    batch = collator(padding_free=False, return_position_ids=True)([feature(row) for row in ROWS])
    together = model(**batch, use_cache=False).logits[0]
    assert difference(together, alone(model, ROWS[0])[0]) > LEAK


def train_a_step(folder: Path, **settings: Any) -> float:
    """The loss that TRL's trainer reports of one step over both rows."""
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.models.WordLevel({str(number): number for number in range(VOCAB)}, unk_token="0")  # noqa: S106
    trainer = trl.SFTTrainer(
        model_of("llama", "sdpa"),
        trl.SFTConfig(
            output_dir=str(folder),
            max_steps=1,
            per_device_train_batch_size=2,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            **settings,
        ),
        train_dataset=datasets.Dataset.from_list([feature(row) for row in ROWS]),
        processing_class=transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizers.Tokenizer(words),
            pad_token="0",  # noqa: S106
            eos_token="1",  # noqa: S106
        ),
    )
    trainer.train()
    return trainer.state.log_history[0]["loss"]


@pytest.fixture(scope="module")
def expected_loss() -> float:
    with torch.no_grad():
        return alone(model_of("llama", "sdpa"), ROWS[0] + ROWS[1])[1].item()


@pytest.mark.parametrize("checkpointing", [True, False])
def test_trl_trains_on_packed_rows_as_on_single_documents(
    tmp_path: Path, expected_loss: float, checkpointing: bool
) -> None:
    loss = train_a_step(tmp_path, padding_free=True, max_length=None, gradient_checkpointing=checkpointing)
    assert abs(loss - expected_loss) <= TOLERANCE


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"padding_free": False, "max_length": None}, id="padding"),
        pytest.param({"packing": True, "max_length": 44}, id="packing what is packed"),
    ],
)
def test_trl_forgets_the_documents_with_other_settings(
    tmp_path: Path, expected_loss: float, settings: dict[str, Any]
) -> None:
    assert abs(train_a_step(tmp_path, **settings) - expected_loss) > LEAK
