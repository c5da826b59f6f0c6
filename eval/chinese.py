"""Chinese numerals and what they are worth."""

from __future__ import annotations

from fractions import Fraction

DIGITS = dict(zip("零一二三四五六七八九〇壹贰叁肆伍陆柒捌玖两", [*range(10), *range(10), 2], strict=True))
UNITS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
MYRIAD, MYRIADS = "万", {"万": 10**4, "亿": 10**8}
POINT = "点"


def chinese_value(text: str) -> Fraction:
    """三百二十一 → 321, 二〇二四 → 2024, 三点一四 → 3.14, 十二 → 12, 两万零三 → 20003, and as one says it 一百五 → 150.

    Raises: ValueError if it is no numeral: 三四百, 点五.
    """
    whole, _, decimals = text.partition(POINT)
    fraction = Fraction(_digits("0" + "0" * (not decimals) + decimals), 10 ** len(decimals))
    if all(character in DIGITS for character in whole):
        return _digits(whole) + fraction
    total = section = digit = 0
    for character in whole:
        if character in DIGITS:
            if digit:
                raise ValueError(f"{text!r}: two digits in one place")
            digit = DIGITS[character]
        elif character in UNITS:
            section, digit = section + (digit or 1) * UNITS[character], 0
        elif character == MYRIAD:
            total, section, digit = total + (section + digit) * MYRIADS[character], 0, 0
        else:
            total, section, digit = (total + section + digit) * MYRIADS[character], 0, 0
    unit = UNITS.get(whole[-2:-1], 0) or MYRIADS.get(whole[-2:-1], 0)  # of 一百五, but not of 十五 and 一百零五
    return total + section + digit * max(1, unit // 10) + fraction


def _digits(text: str) -> int:
    return int("".join(str(DIGITS.get(character, character)) for character in text))
