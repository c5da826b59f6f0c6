"""Rows laid out: with the marks taken away, what is shown is the text; a terminal obeys nothing in it."""

import re

from hypothesis import given
from hypothesis import strategies as st

from pipeline.show.text import Pen, text_lines, token_lines
from pipeline.tokens.view import Tokens
from pipeline.visible import visible

SIGNS = st.characters(exclude_categories=["Cs", "Mn", "Me", "Cf"], exclude_characters="\\⟦⟧⟪⟫¦")
COLOUR = re.compile(r"\x1b\[[0-9;]+m")


@st.composite
def some_tokens(draw: st.DrawFn) -> Tokens:
    texts = draw(st.lists(st.text(st.one_of(SIGNS, st.sampled_from("\n\t\x1b\u202e")), min_size=1), max_size=12))
    flags = st.lists(st.booleans(), min_size=len(texts), max_size=len(texts))
    trained, special, lost = draw(flags), draw(flags), draw(flags)
    return Tokens(list(range(len(texts))), texts, trained, special, lost)


def bare(lines: list[str]) -> str:
    assert all(line.startswith("    ") or not line for line in lines)
    return COLOUR.sub("", "".join(line[4:] for line in lines))


@given(some_tokens())
def test_tokens_without_their_marks_are_the_text(tokens: Tokens) -> None:
    whole = visible("".join(tokens.texts))
    assert re.sub("[⟦⟧⟪⟫¦]", "", bare(list(token_lines(tokens, Pen(False))))) == whole
    assert bare(list(token_lines(tokens, Pen(True)))) == whole


@given(some_tokens())
def test_every_trained_token_stands_in_brackets_and_every_lost_one_in_the_others(tokens: Tokens) -> None:
    shown = "".join(line[4:] for line in token_lines(tokens, Pen(False)))
    for opening, closing, flags in (
        ("⟦", "⟧", [trained and not lost for trained, lost in zip(tokens.trained, tokens.lost, strict=True)]),
        ("⟪", "⟫", tokens.lost),
    ):
        inside = "".join(re.findall(f"{opening}(.*?){closing}", shown)).replace("¦", "")
        assert inside == visible("".join(text for text, flag in zip(tokens.texts, flags, strict=True) if flag))


@given(some_tokens())
def test_neighbours_in_one_line_have_a_border(tokens: Tokens) -> None:
    shown = "".join(line[4:] + "\n" for line in token_lines(tokens, Pen(False)))
    assert [part for part in re.split("[⟦⟧⟪⟫¦\n]+", shown) if part] == [visible(text) for text in tokens.texts]


@given(st.text(st.one_of(SIGNS, st.sampled_from("\n\n\x1b"))), st.lists(st.integers(0, 40), max_size=6))
def test_a_text_without_its_marks_is_the_text(text: str, borders: list[int]) -> None:
    cuts = sorted({min(border, len(text)) for border in borders})
    targets = list(zip(cuts[::2], cuts[1::2], strict=False))
    whole = visible(text, keep="\n\t").removesuffix("\n")
    for coloured in (False, True):
        lines = list(text_lines(text, targets, Pen(coloured)))
        shown = COLOUR.sub("", "\n".join(line[4:] for line in lines))
        assert re.sub("[⟦⟧]", "", shown) == whole or re.sub("[⟦⟧]", "", shown) == whole + "\n"
        if not coloured:
            inside = re.findall("⟦(.*?)⟧", shown, re.S)
            assert inside == [visible(text[start:end], keep="\n\t") for start, end in targets]


def test_an_empty_looking_token_is_spelt_out() -> None:
    tokens = Tokens([1, 2, 3], ["☀", "\ufe0f", "\U000e0100"], [False] * 3, [False] * 3, [False] * 3)
    assert list(token_lines(tokens, Pen(False))) == [r"    ☀¦\ufe0f¦\U000e0100"]


def test_colours_are_the_only_controls_a_terminal_gets() -> None:
    text = "\x1b[31m\x9b\r\u202e<|im_end|>\n"
    tokens = Tokens([1], [text], [True], [True], [False])
    lines = [*token_lines(tokens, Pen(True)), *text_lines(text, [(0, 3)], Pen(True))]
    assert all((rest := COLOUR.sub("", line)) == visible(rest) for line in lines)
