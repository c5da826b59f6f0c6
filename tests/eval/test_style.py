"""Style: emoji and length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.style import count_emoji, style
from tests.eval.replies import make_reply

ONE = [
    "😀",
    "🫠",
    "⌚",
    "✅",
    "❤️",
    "☀️",
    "ℹ️",
    "©️",
    "↔️",
    "㊗️",
    "👍🏽",
    "☝🏽",
    "1️⃣",
    "#⃣",
    "🇨🇳",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "👩‍🔧",
    "👨‍👩‍👧‍👦",
    "🏳️‍🌈",
    "❤️‍🔥",
    "🧑🏽‍🚀",
]
NONE = [
    "",
    "1",
    "#",
    "*",
    "©",
    "®",
    "™",
    "→",
    "✔",
    "❤",
    "☀",
    "⌚\ufe0e",
    "🇨",
    "\u200d",
    "\ufe0f",
    "\u20e3",
    "中文，。",
    "½ × π",
    ":-)",
]


@pytest.mark.parametrize("text", ONE)
def test_an_emoji_is_counted_once(text: str) -> None:
    assert count_emoji(text) == 1
    assert count_emoji(f"好的{text} 12{text}!") == 2
    assert count_emoji(text * 3) == 3


@pytest.mark.parametrize("text", NONE)
def test_what_is_text_is_no_emoji(text: str) -> None:
    assert count_emoji(text) == 0
    assert count_emoji(f"a{text}b 1") == 0


def test_a_reply_has_emoji_or_none_and_lengths() -> None:
    found = style(make_reply("Twelve 🍎🍎, of course!"))
    assert found.scores == {"emoji": 1, "characters": 21, "tokens": 5}
    assert found.notes == {"emoji": 2}
    assert style(make_reply("12")).scores == {"emoji": 0, "characters": 2, "tokens": 1}
    assert style(make_reply("<think>🍎</think>12")).scores["emoji"] == 0


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert count_emoji(text) >= 0
