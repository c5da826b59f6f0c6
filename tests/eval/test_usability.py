"""Usability: each check on replies that pass it and replies that do not."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.languages import main_script
from eval.repetition import repeats
from eval.usability import usability
from tests.conftest import ROOT
from tests.eval.replies import make_reply

CHECKS = {"not_empty", "ended", "no_leak", "no_loop", "language", "not_prompt"}


def failed(text: str, **row: Any) -> set[str]:
    """The checks that a reply does not pass."""
    scores = dict(usability(make_reply(text, **row)).scores)
    usable = scores.pop("usable")
    assert set(scores) == CHECKS
    assert usable == min(scores.values())
    return {name for name, score in scores.items() if not score}


def test_a_plain_reply_is_usable() -> None:
    assert failed("There are twelve apples.") == set()
    assert failed("12") == set()
    assert failed("👍") == set()
    assert failed("…") == set()


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\ufeff", "\u3000", "\x00", "\ufffd\ufffd", "<think>\nTwelve"])
def test_a_reply_of_nothing_to_see_is_empty(text: str) -> None:
    assert failed(text) == {"not_empty"}


def test_a_reply_that_was_cut_off_did_not_end() -> None:
    assert failed("There are twelve", ended=False) == {"ended"}


def test_reasoning_is_no_part_of_the_reply() -> None:
    assert failed("<think>\nOf 三 baskets…\n</think>\n\nTwelve.") == set()
    assert failed("Of three baskets…</think>Twelve.", prompt="<|im_start|>assistant\n<think>\n") == set()


@pytest.mark.parametrize(
    "text",
    [
        "Twelve.<|im_end|>",
        "Twelve.<|im_end|>\n<|im_start|>user\nAnd pears?",
        "<|im_start|>",
        "Twelve.<|eot_id|>",
        "Twelve.<|start_header_id|>user<|end_header_id|>",
        "Twelve.<end_of_turn>",
        "[INST] And pears? [/INST]",
        "Twelve.</s>",
        "Twelve.\n\n### Instruction:\nCount the pears.",
        "<tool_call>12",
    ],
)
def test_marks_of_templates_are_leaks(text: str) -> None:
    special = ("<|im_start|>", "</s>", "\n\n### Instruction:\n", "<tool_call>", "\n\n")
    assert "no_leak" in failed(text, special=special)


def test_what_the_conversation_is_about_is_no_leak() -> None:
    assert failed("It ends a turn: <|im_end|>.", asked="What does <|im_end|> stand for?") == set()
    assert failed("Write <|im_end|> then.", gold="<|im_end|> ends a turn.") == set()
    assert failed("a <| b |> c, 3 < 4, x[0], <b>bold</b>, array[INSTANCE], |end|") == set()


def test_tool_calls_are_no_leaks_where_there_are_tools() -> None:
    call = '<tool_call>\n{"name": "tide", "arguments": {"harbour": "Northport"}}\n</tool_call>'
    row: dict[str, Any] = {"asked": "北港什么时候涨潮？", "gold": None, "special": ("<tool_call>", "</tool_call>")}
    assert failed(call, tools=[{"name": "tide"}], **row) == set()
    assert "no_leak" in failed(call, **row)


LOOPS = [
    "The fox ran. " * 20,
    "I do not know. I do not know. " * 10,
    "1. Drink water.\n" + "".join(f"{n}. Sleep well and long.\n" for n in range(2, 20)),
    "It is warm. " + "And then he went to the market again, as he had always done before, to buy bread. " * 4,
    "他去市场买面包，" * 12,
    "哈" * 100,
    "😂" * 50,
    "👨‍👩‍👧‍👦" * 20,
    "a" * 200,
    "very " * 40,
    "x = x + 1\n" * 30,
    "0" * 1000,
    "1, " * 400,
    "=" * 1000,
    "A long sentence that is said again. Then another. " + "Yes. ".join(["A long sentence that is said again. "] * 8),
    "Twelve. " * 3 + "She paid for all of it, the coat, the boots and the hat, and left the shop without a word. " * 5,
    "[" + '{"name": "Ann", "age": 30}, ' * 20,
]
NO_LOOPS = [
    "Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, merrily, life is but a dream.",
    "la la la la la la la la la la",
    "哈哈哈哈哈哈哈哈，太好笑了！",
    "🎉🎉🎉🎉🎉🎉🎉🎉",
    "Nooooooooooooooooooooooo!",
    "| a | b | c | d | e | f | g | h |\n" + "|---" * 20 + "|\n" + "| 0 " * 20 + "|",
    "+" + "-" * 30 + "+" + "-" * 30 + "+\n" + "| name" + " " * 25 + "| price" + " " * 24 + "|\n" + "=" * 100,
    "\n".join(f"{n} × 7 = {7 * n}" for n in range(1, 31)),
    "\n".join(f"| item {n} | {n * 3} EUR | in stock |" for n in range(30)),
    "\n".join(f"{n} green bottles standing on the wall, and if one should fall," for n in range(30, 0, -1)),
    ", ".join(str(n) for n in range(300)),
    "0." + "142857" * 30,
    "1" + "0" * 100,
    "0, 0, 0, 0, 0, 0, 0, 0\n" * 8,
    "<tr>" + "<td></td>" * 10 + "</tr>",
    "    " * 200 + "return",
    "for x in rows:\n    print(x)\n    print(x)\n    print(x)\n",
    "{\n" + "\n".join(f'  "key{n}": null,' for n in range(50)) + "\n}",
    "The bells ring on,\nthe night is gone,\nring out, ring out!\n" * 3,
    "".join(
        f"{line}\nand the snow fell on the hill.\n" for line in ("A crow sat still,", "A fox went by,", "I lit a fire,")
    )
    * 2,
    "".join(f"第{n}天，他读了{n * 3}页书。\n" for n in range(1, 20)),
    "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。",
    "- Wash the apples.\n- Peel the apples.\n- Cut the apples.\n- Boil the apples.\n- Mash the apples.\n",
]


@pytest.mark.parametrize("text", LOOPS)
def test_circles_are_seen(text: str) -> None:
    assert repeats(text) is not None
    assert repeats("Well, let me think about it.\n" + text) is not None
    assert "no_loop" in failed(text, tags=["zh", "en"])


@pytest.mark.parametrize("text", NO_LOOPS)
def test_tables_songs_lists_code_and_numbers_are_no_circles(text: str) -> None:
    assert repeats(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "They were caught. " + "Caught! " * 8,
        "没有被捉住的小朋友有：被捉！被捉！被捉！被捉！被捉！被捉！被\ufffd",
        "石头的体积是" + "；" * 20,
        "1234567890" + "0" * 40,
        "The ferry leaves at noon on the day. " * 3,
    ],
)
def test_a_reply_that_was_cut_off_in_a_circle_ran_in_it(text: str) -> None:
    assert repeats(text, ended=False) is not None
    assert "no_loop" in failed(text, ended=False)
    assert repeats(text) is None
    assert repeats(text + " And so it went on.", ended=False) is None


@pytest.mark.parametrize("text", [NO_LOOPS[0], NO_LOOPS[2], *NO_LOOPS[7:11], *NO_LOOPS[17:]])
def test_a_reply_that_was_cut_off_elsewhere_ran_in_none(text: str) -> None:
    for end in range(0, len(text), 7):
        assert repeats(text[:end], ended=False) is None


def test_a_circle_that_was_asked_for_is_none() -> None:
    lines = "I must not run in the corridor.\n" * 20
    assert failed(lines, gold=lines) == set()
    assert failed(lines) == {"no_loop"}


@pytest.mark.parametrize("unit", ["They sat down by the river and talked. ", "我们坐在河边聊天。", "ab🙂 "])
def test_any_whole_text_over_and_over_is_a_circle(unit: str) -> None:
    found = repeats(unit * 60)
    assert found is not None
    assert "".join(unit.split()).startswith(found["unit"][:5])
    assert found["times"] >= 50


@given(st.text(max_size=40))
def test_what_is_no_circle_becomes_one_by_repeating_it(text: str) -> None:
    if sum(map(str.isalpha, text)) >= 2:
        assert repeats(f"{text}¶" * 200) is not None


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("There are twelve apples.", "LATIN"),
        ("一共有十二个苹果。", "CJK"),
        ("Ｔｗｅｌｖｅ ａｐｐｌｅｓ", "LATIN"),
        ("Двенадцать яблок", "CYRILLIC"),
        ("りんごが十二個あります", "JAPANESE"),
        ("사과가 열두 개 있습니다", "HANGUL"),
        ("اثنتا عشرة تفاحة", "ARABIC"),
        ("用 print 输出结果：`for x in rows: print(x)`，就可以了。", "CJK"),
        ("```python\nprint('hello')\n```\n这样就可以打印出来。", "CJK"),
        (r"答案是 $\frac{1}{2} \times \sqrt{2}$。", "CJK"),
        ("见 https://example.com/a/long/path 。", None),
        ("12", None),
        ("12 cm", None),
        ("个", None),
        ("👍👍👍", None),
        ("", None),
    ],
)
def test_the_script_of_most_letters_is_found(text: str, script: str | None) -> None:
    assert main_script(text) == script


CMATH = {"tags": ["math", "zh"], "asked": "三个篮子里一共有几个苹果？", "gold": "12"}
CHINESE_WANTED = "Say in Chinese: fresh and ready to eat."


@pytest.mark.parametrize(
    ("text", "row", "right"),
    [
        ("There are twelve apples.", {"tags": ["math", "en"]}, True),
        ("一共有十二个苹果。", {"tags": ["math", "en"]}, False),
        ("There are twelve apples.", {**CMATH}, False),
        ("一共有十二个苹果。", {**CMATH}, True),
        ("12", {**CMATH}, True),
        ("12 kg", {**CMATH}, True),
        (r"\frac{36}{3} = 12", {**CMATH}, True),
        (
            "Fresh and ready to eat.",
            {"tags": ["zh"], "asked": "译成英文：新鲜即食", "gold": "Fresh, ready to eat."},
            True,
        ),
        ("Fresh and ready to eat.", {"tags": ["en"], "asked": CHINESE_WANTED, "gold": "新鲜，可以马上吃。"}, True),
        ("Fresh and ready to eat.", {"tags": ["zh"], "asked": CHINESE_WANTED, "gold": "新鲜，可以马上吃。"}, False),
        ("Twelve apples, please!", {"tags": ["zh"], "asked": "What do you want?", "gold": "请给我十二个苹果🍎"}, True),
        ("新鲜即食，欢迎品尝。", {"asked": "介绍一下这个苹果吧", "gold": "12"}, True),
        ("Fresh and ready to eat.", {"asked": "介绍一下这个苹果吧", "gold": "12"}, False),
        ("Двенадцать яблок лежат там.", {"tags": ["en"]}, False),
        ("This 苹果 is an apple, and 梨 is a pear.", {"tags": ["en"]}, True),
        ("anything at all", {"asked": "12 + 3?", "gold": "15"}, True),
    ],
)
def test_the_language_asked_for_is_that_of_the_row(text: str, row: Mapping[str, Any], right: bool) -> None:
    assert ("language" not in failed(text, **row)) == right


ASKED = "How many apples are there in the three baskets, if each of them holds four?"


@pytest.mark.parametrize(
    ("text", "again"),
    [
        (ASKED, True),
        (ASKED.upper(), True),
        (f"{ASKED} {ASKED} {ASKED}", True),
        (f"{ASKED} {ASKED} {ASKED[:30]}", True),
        (f"> {ASKED}\n", True),
        (ASKED[:-8], True),
        (f"{ASKED} Twelve.", False),
        (f"{ASKED[:30]}… Twelve.", False),
        (ASKED[:20], False),
        ("Apples.", False),
        ("", False),
    ],
)
def test_the_prompt_again_is_no_reply(text: str, again: bool) -> None:
    assert ("not_prompt" in failed(text, asked=ASKED)) == again


def test_greetings_and_corrections_may_repeat_the_prompt() -> None:
    assert failed("Good morning!", asked="Good morning") == set()
    meta = {"instruction": "Mend the punctuation of the sentence.", "input": "the ferry leaves at noon doesnt it"}
    asked, mended = "\n\n".join(meta.values()), "The ferry leaves at noon, doesn't it?"
    assert failed(mended, asked=asked, meta=meta, gold=mended) == set()
    assert failed(meta["instruction"], asked=asked, meta=meta, gold=mended) == {"not_prompt"}
    assert failed(mended, asked=asked, meta=meta, gold="No.") == {"not_prompt"}


def test_notes_say_what_failed() -> None:
    notes = usability(make_reply("Да, двенадцать.<|im_end|>" * 20, tags=["en"])).notes
    assert notes["leaked"] == ["<|im_end|>"]
    assert notes["loop"]["times"] == 20
    assert notes["language"] == {"asked": ["LATIN"], "found": "CYRILLIC"}
    assert usability(make_reply("Twelve.")).notes == {}


def test_the_samples_own_replies_are_usable_without_being_held_for_gold() -> None:
    rows = [json.loads(line) for line in (ROOT / "data_pools/samples/law.jsonl").read_text("utf-8").splitlines()]
    for row in rows:
        assert failed(row["answer"], asked=row["question"], gold=None) == set()
    for line in (ROOT / "data_pools/samples/emoji.jsonl").read_text("utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        for language in ("zh", "en"):
            text = row.get(f"answer_{language}")
            if isinstance(text, str) and text.strip():
                asked = str(row.get("question"))
                assert failed(text, asked=asked, gold=None, tags=[language]) <= {"language"}, text


@pytest.mark.parametrize(
    "text",
    [
        "word " * 20_000,
        "词" * 100_000,
        "\ud800" * 1000,
        "<think>" * 10_000,
        "<|" * 50_000,
        "```" * 30_000,
        "\\a" * 50_000,
        "".join(random.Random(1).choices("abcdefgh ", k=100_000)),
        "".join(random.Random(2).choices("ab", k=100_000)),
        "1.\n" * 30_000,
        "😀" * 20_000,
        "https://" * 10_000,
    ],
)
def test_long_replies_take_little_time(text: str) -> None:
    began = time.perf_counter()
    failed(text, meta={"instruction": text[:1000], "input": ""})
    assert time.perf_counter() - began < 5


@given(st.text(max_size=200), st.text(max_size=50), st.text(max_size=50) | st.none())
def test_no_text_raises(text: str, asked: str, gold: str | None) -> None:
    failed(text, asked=asked, gold=gold, special=(asked[:3], text[:3]))
