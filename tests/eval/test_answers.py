"""Final answers: where a reply has one, what it is, and whether it is the row's."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import judge
from eval.answers import answer, plain_number
from eval.chinese import DIGITS, chinese_value
from eval.notation import plain_text
from tests.eval.replies import make_reply

LONG = "9" * 5000
RIGHT = [
    ("6", "6"),
    ("6", "6."),
    ("6", "6.00"),
    ("6", "**6**"),
    ("6", "$6$"),
    ("6", "$$6$$"),
    ("6", r"\(6\)"),
    ("6", "x = 6"),
    ("6", "６"),
    ("6", "8 - 2 = 6"),
    ("6", "8 - 2"),
    ("6", "8 − 2 ＝ ６"),
    ("56", "(17 + 5) * 3 - 10"),
    ("56", r"(17 + 5) \times 3 - 10"),
    ("56", "(17+5)×3-10=56"),
    ("6", "It costs 6 dollars."),
    ("6", "Of 8 eggs 2 are broken, which leaves 6."),
    ("6", "The answer is 6."),
    ("6", "The answer is 6. To check: 6 + 2 = 8, as it should."),
    ("6", "The answer to the second question is 6 eggs of 8."),
    ("6", "**Answer:** 6 eggs in 2 boxes"),
    ("6", "Final answer: \\(6\\)"),
    ("6", "The answer is 8 - 2 = 6 eggs"),
    ("6", "The result is\n\n6"),
    ("45", "The answer is 45 pages in 3 days."),
    ("45", "答案是45页，一共用了3天。"),
    ("45", "答：小刚3天一共看了45页。"),
    ("45", "计算结果为：45页"),
    ("45", "#### 45"),
    ("45", "15 * 3 = 45, so\n#### 45\n"),
    ("45", "#### Step 2: multiply\n15 * 3 = 45"),
    ("45", "#### 2. Multiply\n15 * 3 = 45"),
    ("6", r"So there are $\boxed{6}$ eggs; 6 + 2 is 8."),
    ("6", r"\boxed{4} was wrong, so \boxed{6}"),
    ("6", r"\boxed{x = 6}"),
    ("6", r"\boxed{6\text{ eggs}}"),
    ("6", r"\boxed{\text{6}}"),
    ("6", "1. Two of eight are broken.\n2. That leaves 6.\n3. Done!"),
    ("6", "① Eight less two\n② makes 6\n"),
    ("1200", "1,200"),
    ("1200", "1，200".translate(str.maketrans("0123456789", "０１２３４５６７８９"))),
    ("1200", "1\u202f200"),
    ("1200", "1{,}200"),
    ("1200", "1.2e3"),
    ("1200", "1.2 × 10^3"),
    ("1200", "1.2×10³"),
    ("1200", "一千二百"),
    ("1200", "一千二"),
    ("1000000", "10^6"),
    ("1234567.5", "1,234,567.5"),
    ("-3", "-3"),
    ("-3", "−3 °C"),
    ("-3", "(-3)"),
    ("-3", r"\boxed{- 3}"),
    ("-3", "the answer is minus 3"),
    ("-3", "负三"),
    ("-3", "零下的意思是负3度"),
    ("12.5", "$12.50"),
    ("12.5", "US$12.50"),
    ("12.5", "￥12.5"),
    ("12.5", "12.5元"),
    ("50", "50 cm²"),
    ("50", "50 cm^2"),
    ("50", r"50\text{ cm}^2"),
    ("50", "50平方厘米"),
    ("5", "5千克"),
    ("0.5", ".5"),
    ("1/2", "0.5"),
    ("1/2", "½"),
    ("1/2", r"\frac{1}{2}"),
    ("1/2", r"\dfrac12"),
    ("1/2", "二分之一"),
    ("1/2", "2分之1"),
    ("1/2", "一半"),
    ("1/2", "半个"),
    ("1/2", "50%"),
    ("2/4", "1/2"),
    ("-3/4", r"-\frac{3}{4}"),
    ("7/2", "3 1/2"),
    ("7/2", "3½"),
    ("7/2", r"3\frac{1}{2}"),
    ("7/2", "3又1/2"),
    ("7/2", "3又2分之1"),
    ("7/2", "三又二分之一"),
    ("7/2", "三个半"),
    ("1.5", "一个半小时"),
    ("40%", "40%"),
    ("40%", "40 percent"),
    ("40%", r"40\%"),
    ("40%", "４０％"),
    ("40%", "百分之四十"),
    ("40%", "0.4"),
    ("40%", "40"),
    ("0.4", "40%"),
    ("35000", "3.5万"),
    ("35000", "三万五千"),
    ("35000", "三万五"),
    ("3.5", "3.5万元"),
    ("321", "一共有三百二十一个，不多也不少"),
    ("2", "两个"),
    ("10", "十分钟"),
    ("2024", "二〇二四年"),
    ("3.14", "三点一四"),
    ("150", "一百五"),
    ("105", "一百零五"),
    ("20003", "两万零三"),
    ("350000000", "三亿五千万"),
    ("12", "拾贰元"),
    ("0.2571428571428572", "0.26"),
    ("0.2571428571428572", "0.2571"),
    ("0.2571428571428572", "1.8 / 7"),
    ("0.2571428571428572", "1.8 / 7 = 0.26"),
    ("14.444444444444445", "14.44"),
    ("14.444444444444445", "130/9"),
    ("14.444444444444445", "14 4/9"),
    ("0.1034567", "0.1"),
    ("0.00123456", "0.0012"),
    ("0.33", "1/3"),
    ("250/3", "83.33"),
    ("['180']", "180"),
    (LONG, LONG),
    ("B", "B"),
    ("B", "(B)"),
    ("B", "The answer is B."),
    ("B", "The answer is (B), because 3 is odd."),
    ("Tuesday", "tuesday"),
    ("Tuesday", "That must be Tuesday!"),
    ("2:3", "2 : 3".replace(" ", "")),
    ("2:3", "答案是2:3"),
]
WRONG = [
    ("6", ""),
    ("6", "7"),
    ("6", "-6"),
    ("6", "60"),
    ("6", "0.6"),
    ("6", "6.4"),
    ("6", "16"),
    ("6", "6/7"),
    ("6", "8 - 6"),
    ("2", "8 - 2"),
    ("6", "no number at all"),
    ("6", "cm6"),
    ("6", "H6"),
    ("6", "6" * 2000),
    ("6", "The answer is 7, not 6."),
    ("6", r"\boxed{7} and 6"),
    ("6", r"\boxed{}"),
    ("6", r"\boxed{6, 7}"),
    ("6", "6 eggs for 2 people"),
    ("321", "三百一十二"),
    ("1", "一共不多，一样多"),
    ("1", "万一"),
    ("40%", "4000%"),
    ("40%", "4%"),
    ("0.125", "0.13"),
    ("206.72", "206.7"),
    ("0.2571428571428572", "0.25"),
    ("0.2571428571428572", "0.3"),
    ("0.00123456", "0.00"),
    ("2", "2.0034"),
    ("10", "10.4"),
    ("1000000000000", "1000000000001"),
    ("50", "50^2"),
    ("1", "Infinity"),
    ("1", "NaN"),
    ("B", "A"),
    ("B", "Because I say so"),
    ("2:3", "3:2"),
    (LONG, LONG[1:]),
    ("3", "1/0"),
    ("3", "3e999999999"),
    ("3", "2^999999999"),
    ("3", "3" + "0" * 5000),
]
# (gold, reply, whether they are the same): what only math-verify can tell
MATH = [
    (r"2\sqrt{3}", r"\boxed{2\sqrt{3}}", 1),
    (r"2\sqrt{3}", r"The answer is $\sqrt{12}$.", 1),
    ("2√3", "It is 2√3 cm", 1),
    ("2√3", r"\boxed{\sqrt{12}}", 1),
    (r"2\sqrt{3}", r"\boxed{2}", 0),
    ("2", r"The answer is 2\sqrt{3}", 0),
    ("6", r"\sqrt{36}", 1),
    ("6", "√36 = 6", 1),
    (r"\frac{\sqrt{2}}{2}", r"\boxed{\frac{1}{\sqrt{2}}}", 1),
    (r"3\pi", "3π", 1),
    ("3", "3π", 0),
    ("x^2+2x+1", "(x+1)^2", 1),
    ("x^2+2x+1", "(x-1)^2", 0),
    ("(1,2)", r"\boxed{(1, 2)}", 1),
    (r"\{1,2\}", r"\boxed{\{2,1\}}", 1),
    ("6", r"\boxed{" + "(" * 200 + "}", 0),
]


def verdict(gold: str, text: str) -> float:
    """1 where the reply has the answer."""
    found = answer(make_reply(text, answer=gold))
    assert found is not None
    return found.scores["correct"]


@pytest.mark.parametrize(("gold", "text"), RIGHT)
def test_the_answer_is_found_and_is_right(gold: str, text: str) -> None:
    assert verdict(gold, text) == 1


@pytest.mark.parametrize(("gold", "text"), WRONG)
def test_another_answer_is_wrong(gold: str, text: str) -> None:
    assert verdict(gold, text) == 0


@pytest.mark.parametrize(("gold", "text", "same"), MATH)
def test_expressions_are_compared_by_math_verify(gold: str, text: str, same: int) -> None:
    pytest.importorskip("math_verify")
    assert verdict(gold, text) == same


def test_notes_say_what_was_compared() -> None:
    found = answer(make_reply("The answer is 8 - 2 = 7 eggs.", answer="6"))
    assert found is not None
    assert found.notes == {
        "gold": "6",
        "rule": "marked",
        "found": "7 eggs",
        "extracted": "7",
        "by": "number",
    }


@pytest.mark.parametrize("gold", [None, "", "  "])
def test_rows_without_an_answer_are_not_measured(gold: str | None) -> None:
    assert answer(make_reply("6", answer=gold)) is None


def test_reasoning_before_the_reply_is_no_answer() -> None:
    assert verdict("6", "<think>8 - 2 = 6</think>\n\nI do not know.") == 0
    assert verdict("6", "<think>7? No.</think>\n\n6") == 1
    assert verdict("6", "<think>8 - 2 = 6") == 0


def test_a_tower_of_powers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("math_verify")
    monkeypatch.setattr(judge, "_SECONDS", 2.0)
    began = time.perf_counter()
    found = answer(make_reply(r"\boxed{9^{9^{9}}}", answer="9"))
    assert found is not None
    assert found.scores == {"correct": 0.0}
    assert "undecided" in found.notes
    assert verdict(r"\sqrt{2}", r"\boxed{\sqrt{2}}") == 1  # the next question finds a process
    assert time.perf_counter() - began < 30


@pytest.mark.parametrize(
    "text",
    [
        "7 " * 50_000,
        "7" * 100_000,
        "7," * 50_000,
        "1,234" * 20_000,
        "(" * 100_000,
        "1+" * 50_000 + "1",
        "(1+" * 30_000 + "1" + ")" * 30_000,
        "8 - " + "(" * 50_000 + "2",
        "一" * 100_000,
        "三又" * 30_000,
        "一个半" * 30_000,
        "1 " + " " * 100_000 + "/2",
        "\\frac{" * 20_000,
        "\\boxed{" * 15_000,
        "{" * 100_000,
        "answer is " * 10_000,
        "answer to " * 10_000,
        "#### " * 20_000,
        "\n" * 100_000,
        "=" * 100_000,
        "^" * 100_000,
        "½" * 100_000,
        "x^" * 50_000,
        "\\sqrt" * 20_000,
        "9**" * 30_000,
        "\ud800" * 100_000,
    ],
)
def test_long_dirty_replies_take_no_time(text: str) -> None:
    for gold in ("6", "Tuesday"):
        began = time.perf_counter()
        verdict(gold, text)
        assert time.perf_counter() - began < 3


NUMBERS = st.one_of(
    st.integers(1 - 10**12, 10**12 - 1).map(Fraction),
    st.decimals(-(10**6), 10**6, places=2).map(Fraction),
    st.fractions(-1000, 1000, max_denominator=99),
)


def chinese(number: int) -> str:
    """As it is read out, below 10^12."""
    digits, units = "零一二三四五六七八九", ["", "十", "百", "千"]

    def below_myriad(n: int) -> str:
        told = "".join(
            digits[int(digit)] + (units[place] if digit != "0" else "")
            for place, digit in zip(range(len(str(n)) - 1, -1, -1), str(n), strict=True)
        )
        while "零零" in told:
            told = told.replace("零零", "零")
        return told.rstrip("零")

    if not number:
        return "零"
    parts = [(number // 10**8, "亿"), (number // 10**4 % 10**4, "万"), (number % 10**4, "")]
    told = ""
    for value, unit in parts:
        if value:
            gap = "零" if told and value < 1000 else ""
            told += gap + below_myriad(value) + unit
        elif told and not told.endswith("零"):
            told += "零"
    return told.rstrip("零").removeprefix("零")


def decimal(value: Fraction) -> str | None:
    """The number as a decimal of at most 12 places, None if it is none."""
    text = f"{value.numerator * 10**12 // value.denominator / 10**12:.12f}" if value < 10**3 else None
    exact = [f"{value.numerator * 10**n // value.denominator}" for n in range(3) if (value * 10**n).denominator == 1]
    if not exact:
        return text if text is not None and Fraction(text) == value else None
    n = next(n for n in range(3) if (value * 10**n).denominator == 1)
    sign, digits = ("-" if value < 0 else ""), exact[0].lstrip("-").rjust(n + 1, "0")
    return f"{sign}{digits[:-n]}.{digits[-n:]}" if n else f"{sign}{digits}"


def notations(value: Fraction) -> list[str]:
    """The number in the ways that are read."""
    sign, size = "-" if value < 0 else "", abs(value)
    whole, part = divmod(size.numerator, size.denominator)
    found = [f"{value.numerator}/{value.denominator}", rf"{sign}\frac{{{size.numerator}}}{{{size.denominator}}}"]
    found.append(f"{'负' if value < 0 else ''}{chinese(size.denominator)}分之{chinese(size.numerator)}")
    if whole and part:
        found += [f"{sign}{whole} {part}/{size.denominator}", rf"{sign}{whole}\frac{{{part}}}{{{size.denominator}}}"]
        found.append(f"{'负' if value < 0 else ''}{chinese(whole)}又{chinese(size.denominator)}分之{chinese(part)}")
    plain = decimal(value)
    if plain is not None:
        grouped = f"{int(plain.split('.')[0].lstrip('-')):,}" + plain[len(plain.split(".")[0]) :]
        found += [plain, f"{sign}{grouped}", plain.replace("-", "−"), f"{sign}${grouped}"]
        found.append(plain.translate(str.maketrans("0123456789.-", "０１２３４５６７８９．－")))
        found.append(f"{value * 100}%" if (value * 100).denominator == 1 else plain)
    if value.denominator == 1:
        found += [("负" if value < 0 else "") + chinese(int(size)), f"{value}.0", f"{value}e0"]
    return found


AROUND = ["{}", "The answer is {}.", "Three and four more make {} apples.", "答案是{}元。", r"\boxed{{{}}}", "#### {}"]


@given(NUMBERS, st.data())
def test_a_number_is_itself_in_every_notation(value: Fraction, data: st.DataObject) -> None:
    written = data.draw(st.sampled_from(notations(value)))
    gold = data.draw(st.sampled_from([text for text in [decimal(value), str(value)] if text]))
    around = data.draw(st.sampled_from(AROUND))
    assert verdict(gold, around.format(written)) == 1, (gold, written)


@given(NUMBERS, NUMBERS, st.data())
def test_a_number_is_no_other_in_any_notation(value: Fraction, other: Fraction, data: st.DataObject) -> None:
    # a percentage may be meant without its sign, and fractions may be rounded to two places
    if abs(value - other) <= Fraction(1, 100) or value == 100 * other or other == 100 * value:
        return
    written = data.draw(st.sampled_from(notations(value)))
    around = data.draw(st.sampled_from(AROUND))
    assert verdict(str(other), around.format(written)) == 0, (other, written)


@given(st.integers(0, 10**12 - 1))
def test_chinese_numerals_are_read_as_they_are_said(number: int) -> None:
    assert chinese_value(chinese(number)) == number


@given(st.text(alphabet=[*DIGITS, *"十百千万亿点"], min_size=1, max_size=30))
def test_no_chinese_numeral_raises_anything_but_value_errors(text: str) -> None:
    try:
        assert chinese_value(text) >= 0
    except ValueError:
        return


DIRTY = st.text(
    st.sampled_from("0123456789.,%/+-*^()[]{}=$\\ \n#√π½²，。：负半个一二十百万分之又点答案是xe!") | st.characters(),
    max_size=80,
)
PIECES = [
    "\\boxed{",
    "\\frac{",
    "}{",
    "}",
    "#### ",
    "answer is ",
    "答：",
    "1,000",
    "百分之",
    "3又",
    "**",
    "\\text{",
    "e99",
]


@settings(max_examples=300)  # math-verify has to be started
@given(
    st.lists(DIRTY | st.sampled_from(PIECES), max_size=8).map("".join), st.sampled_from(["6", "1/2", "40%", "B", "x"])
)
def test_no_reply_raises(text: str, gold: str) -> None:
    assert verdict(gold, text) in (0, 1)


@given(DIRTY)
def test_no_gold_answer_raises(gold: str) -> None:
    plain_number(gold)
    assert plain_text(plain_text(gold)) is not None
