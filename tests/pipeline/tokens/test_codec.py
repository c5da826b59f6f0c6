"""The two ways to ids, and when only one of them is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.tokens.codec import Codec
from pipeline.tokens.fast import Differs
from pipeline.tokens.tokenizer import open_tokenizer

Find = Callable[..., Codec]
BYTE_LEVEL = ("bytes", "bytes, offsets trimmed", "bytes, composed", "bytes missing", "qwen3")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@pytest.mark.parametrize("name", BYTE_LEVEL)
def test_byte_level_tokenizers_are_read_by_gigatoken(name: str, codec: Find) -> None:
    pytest.importorskip("gigatoken")
    assert codec(name).fast is not None
    assert codec(name, "tokenizers").fast is None


@pytest.mark.parametrize("name", BYTE_LEVEL)
@given(st.lists(texts, min_size=1, max_size=5))
@settings(max_examples=15, suppress_health_check=list(HealthCheck))
def test_ids_known_to_the_vocabulary_are_the_references(name: str, codec: Find, some: list[str]) -> None:
    own = codec(name)
    if own.fast is None:
        pytest.skip("gigatoken is not installed")
    for text in some:
        ids = own.fast.ids(text.encode())
        if len(ids) and ids.max() >= own.file.size:
            continue  # left to the reference
        assert ids.tolist() == codec(name, "tokenizers").slow.encode(text, add_special_tokens=False).ids


def test_without_gigatokens_process_the_reference_is_to_be_asked(tokenizer: Callable[[str], Any]) -> None:
    pytest.importorskip("gigatoken")
    with Codec(tokenizer("bytes")) as own:
        fast = own.fast
        assert fast is not None
        assert len(fast.ids(b"Hello world"))
        process = fast._child._process  # pyright: ignore[reportPrivateUsage]
        assert process is not None
        process.kill()
        with pytest.raises(Differs):
            fast.ids(b"Hello world")


@pytest.mark.parametrize("kind", ["WordLevel", "WordPiece", "Unigram"])
def test_other_kinds_of_tokenizers_are_left_to_the_reference_or_agree(kind: str, tmp_path: Any, codec: Find) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[UNK]", "a", "b", "Hello", "##s"]
    model = {
        "WordLevel": lambda: models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="[UNK]"),  # noqa: S106
        "WordPiece": lambda: models.WordPiece({word: k for k, word in enumerate(words)}, unk_token="[UNK]"),  # noqa: S106
        "Unigram": lambda: models.Unigram([(word, -float(k)) for k, word in enumerate(words)], unk_id=0),
    }[kind]()
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<|im_end|>"])
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_str())
    own = codec(open_tokenizer(str(tmp_path)))
    assert own.file.size == tokenizer.get_vocab_size()
    assert own.fast is None
    [(ids, trained)] = own.with_spans(["Hello a<|im_end|>"], [[(6, 7)]])
    assert ids.tolist() == tokenizer.encode("Hello a<|im_end|>").ids
    assert trained.tolist() == [False, True, False]


@pytest.mark.parametrize("what", ["truncation", "padding"])
def test_a_tokenizer_that_cuts_and_pads_does_neither_here(what: str, tokenizer: Any, codec: Find) -> None:
    """Published files often say `max_length: 512`."""
    settings = {
        "truncation": {"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 24}, "direction": "Right", "pad_to_multiple_of": None}
        | {"pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>"},
    }
    own = codec(tokenizer("bytes", lambda data: data.update({what: settings[what]})), "tokenizers")
    plain = codec("bytes", "tokenizers")
    text = "Hello <|im_end|> world, how are you? " + "1 " * 40
    assert own.with_spans([text], [[]])[0][0].tolist() == plain.slow.encode(text, add_special_tokens=False).ids
    found, right = (one.with_literals(text, [], [(6, 16)]) for one in (own, plain))
    assert right is not None
    assert found is None or found[0].tolist() == right[0].tolist()


def test_special_tokens_stand_by_length(codec: Find) -> None:
    special = codec("bytes").file.special
    assert list(special) == ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert codec("bytes").file.special_texts.findall("a<|im_end|><|im_") == ["<|im_end|>"]


@pytest.mark.parametrize(
    "data", ["{", "[]", "{}", '{"model": {}}', '{"model": {"type": "BPE", "vocab": {"a": 0}}}', "x" * 99]
)
def test_what_is_no_tokenizer_is_refused(data: str, tmp_path: Any, codec: Find) -> None:
    (tmp_path / "tokenizer.json").write_text(data)
    for backend in ("auto", "tokenizers"):
        with pytest.raises(ConfigError) as found:
            used(codec(open_tokenizer(str(tmp_path)), backend))
        assert len(str(found.value).splitlines()) == 2


def used(codec: Codec) -> tuple[Any, ...]:
    return codec.fast, codec.file.special, codec.slow


def test_a_tokenizer_that_is_not_there_is_named(tmp_path: Any) -> None:
    for name in (str(tmp_path), f"{tmp_path}/nowhere.json"):
        with pytest.raises(ConfigError) as found:
            open_tokenizer(name)
        assert name in str(found.value)


def test_the_tokenizers_own_template_knows_its_special_tokens(tmp_path: Any, tokenizer: Any) -> None:
    (tmp_path / "tokenizer.json").write_bytes(tokenizer("bytes").data)
    with pytest.raises(ConfigError, match="has no chat template"):
        open_tokenizer(str(tmp_path)).template({})
    config = '{"eos_token": {"content": "<|im_end|>"}, "bos_token": "<s>", "pad_token": null, "chat_template": "A"}'
    (tmp_path / "tokenizer_config.json").write_text(config)
    own = open_tokenizer(str(tmp_path)).template({"bos_token": "<t>", "x": 1})
    assert own.text == "A"
    assert own.variables == {"eos_token": "<|im_end|>", "bos_token": "<t>", "x": 1}
    (tmp_path / "chat_template.jinja").write_text("B")
    assert open_tokenizer(str(tmp_path)).template({}).text == "B"
    several = '{"chat_template": [{"name": "tool_use", "template": "C"}, {"name": "default", "template": "D"}]}'
    (tmp_path / "chat_template.jinja").unlink()
    (tmp_path / "tokenizer_config.json").write_text(several)
    assert open_tokenizer(str(tmp_path)).template({}).text == "D"
