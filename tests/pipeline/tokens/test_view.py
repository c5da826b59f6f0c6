"""Tokens as text: nothing of the text is lost, and no character is printed in halves."""

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from pipeline.tokens.codec import Codec
from pipeline.tokens.encode import IGNORED
from pipeline.tokens.tokenizer import open_tokenizer
from pipeline.tokens.view import Spelling

TEXTS = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("a 苹果👩‍🔧️\u0301\n\x1b")), max_size=60
)


def without_bytes(text: str) -> str:
    return re.sub("<0x[0-9A-F]{2}>", "", text)


@pytest.fixture(scope="session")
def tiny(tiny_tokenizer: Path) -> Codec:
    return Codec(open_tokenizer(str(tiny_tokenizer)))


@pytest.fixture(scope="session")
def qwen(shared: Path) -> Codec:
    return Codec(open_tokenizer(str(shared / "qwen3_tokenizer")))


def spelt(codec: Codec, text: str, end: int | None = None) -> list[str]:
    ids = codec.slow.encode(text, add_special_tokens=False).ids[:end]
    return Spelling(codec).tokens(ids, ids).texts


@given(text=TEXTS.filter(lambda text: "<0x" not in text))
def test_the_tokens_of_a_text_are_the_text(tiny: Codec, text: str) -> None:
    assert without_bytes("".join(spelt(tiny, text))) == text


@given(text=TEXTS.filter(lambda text: "<0x" not in text))
@settings(max_examples=50)
def test_the_tokens_of_a_text_are_the_text_as_qwen_normalizes_it(qwen: Codec, text: str) -> None:
    assert without_bytes("".join(spelt(qwen, text))) == unicodedata.normalize("NFC", text)


def test_a_shared_character_stands_with_the_last_of_its_tokens(tiny: Codec) -> None:
    texts = spelt(tiny, "é")
    assert texts == ["<0xC3>", "<0xA9>é"]
    assert spelt(tiny, "é", end=1) == ["<0xC3>"]


@given(text=TEXTS.filter(lambda text: "<0x" not in text), end=st.integers(0, 60))
def test_half_a_character_is_never_printed(tiny: Codec, text: str, end: int) -> None:
    assert text.startswith(without_bytes("".join(spelt(tiny, text, end))))


def test_special_tokens_are_told_from_the_same_text(tiny: Codec) -> None:
    token = tiny.file.special["<|im_end|>"]
    plain = Tokenizer.from_buffer(tiny.file.data)
    plain.encode_special_tokens = True
    ids = [*plain.encode("<|im_end|>", add_special_tokens=False).ids, token]
    tokens = Spelling(tiny).tokens(ids, [IGNORED] * (len(ids) - 1) + [token])
    assert tokens.texts[-1] == "".join(tokens.texts[:-1]) == "<|im_end|>"
    assert tokens.special == tokens.trained == [False] * (len(ids) - 1) + [True]


@given(
    labels=st.lists(st.sampled_from([IGNORED, 7]), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=6, unique=True),
)
def test_what_is_outside_of_all_pieces_is_lost_and_no_piece_begins_trained(
    tiny: Codec, labels: list[int], cuts: list[int]
) -> None:
    borders = sorted(cut for cut in cuts if cut <= len(labels))
    pieces = [(start, end - start) for start, end in zip(borders[::2], borders[1::2], strict=False)]
    tokens = Spelling(tiny).tokens([7] * len(labels), labels).kept(pieces)
    inside = {at for start, length in pieces for at in range(start, start + length)}
    first = {start for start, _ in pieces}
    assert tokens.lost == [at not in inside for at in range(len(labels))]
    assert tokens.trained == [label != IGNORED and at in inside - first for at, label in enumerate(labels)]


def test_a_vocabulary_with_byte_fallback_is_read_too(tmp_path: Path) -> None:
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)} | {"\u2581": 256, "a": 257}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    codec = Codec(open_tokenizer(str(tmp_path / "tokenizer.json")))
    assert spelt(codec, "a\u2581é") == ["a", " ", "<0xC3>", "<0xA9>é"]
    assert Spelling(codec).tokens([999], [IGNORED]).texts == ["<no token 999>"]
