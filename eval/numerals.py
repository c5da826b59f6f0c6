"""Numbers as people write them, found in a text: 1,234.5 · 3 1/2 · 25% · 10^6 · 三百二十一 · 四分之三."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from eval.chinese import DIGITS, MYRIADS, POINT, UNITS, chinese_value

_LONGEST = 1000  # characters of a number, digits of a power
_EXPONENT = 400

_A = r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![A-Za-z_.])\.\d+)"
_D, _U = "".join(DIGITS), "".join([*UNITS, *MYRIADS])
_C = rf"(?:[{_D}十拾][{_D}{_U}]*(?:{POINT}[{_D}]+)?)"
_N = rf"(?:{_A}|{_C})"
# What is counted, so that the one character before it is a number; that of 一共, 一样 and 两者 is none.
_COUNTED = (
    "个只本元角米千克吨升天年月日时小秒人名位张条支块件箱包袋盒瓶杯棵朵头匹辆架座层页道题次遍倍度岁斤两公里平立厘毫根"
    "双副组排堆车筐篮碗种艘句段首"
)
_ALONE = re.compile(rf"[{_COUNTED}]|分[钟米]|[^\w]|$")
_TIMES = {"十万": 10**5, "百万": 10**6, "千万": 10**7, "万亿": 10**12, **MYRIADS}
_FORMS = {
    "mixed_spoken": rf"({_N})又({_N})分之({_N})",
    "mixed": r"(\d+)(?: {1,2}|\s?又\s?)(\d+)\s?/\s?(\d+)(?![\d.])",
    "share": rf"({_N}|[百千万])分之({_N})",
    "halves": rf"({_N})[{_COUNTED}]{{1,2}}半(?![圆径数])",
    "scientific": rf"({_A})[eE]([+-]?\d+)(?![.A-Za-z])",
    "power": rf"({_A})\s?\^\s?(?:(-?\d+)|\{{\s?(-?\d+)\s?\}})",
    "percent": rf"({_A})\s?(?:%|per ?cent\b)",
    "large": rf"({_A})\s?({'|'.join(_TIMES)})",
    "plain": rf"({_A})",
    "chinese": rf"({_C})",
    "half": rf"一?半(?=[^\w\s]|[{_COUNTED}]|\s|$)",
}
# Not within words (H2O), in exponents of units (cm^2), or behind the point of another number.
_FREE = r"(?<![A-Za-z_\d^])(?<!\d\.)(?<!\^[{-])(?<!\^\{-)"
_NUMBER = re.compile(_FREE + "(?:" + "|".join(f"(?P<{name}>{form})" for name, form in _FORMS.items()) + ")")


@dataclass(frozen=True)
class Reading:
    """What a number may mean: its value, and with how many decimals it is written (None: not as a decimal)."""

    value: Fraction
    decimals: int | None


@dataclass(frozen=True)
class Number:
    """A number in a text, from `start` to `end`; `readings` are what it may mean, the exact one first.

    A percentage may mean hundredths, or just what is written where one asks for per cent; a number before 万 or 亿
    likewise. `weak`: one Chinese character, or several digits of such, which are part of words as often as not.
    """

    start: int
    end: int
    readings: tuple[Reading, ...]
    weak: bool = False


def find_numbers(text: str) -> list[Number]:
    """The numbers in a text as `plain_text` makes it, without signs; weak ones only if there are no others.

    Those that cannot be read are left out: of more than a thousand digits, or divided by zero.
    """
    found = [number for match in _NUMBER.finditer(text) if (number := _number(match)) is not None]
    return [number for number in found if not number.weak] or found


def _number(match: re.Match[str]) -> Number | None:
    kind = match.lastgroup or ""
    weak = kind == "half" or (kind == "chinese" and not any(unit in match[0] for unit in (*UNITS, *MYRIADS, POINT)))
    if match.end() - match.start() > _LONGEST or (kind == "chinese" and len(match[0]) == 1 and _is_word(match)):
        return None
    parts = [part for part in match.groups() if part is not None][1:]
    try:
        return Number(match.start(), match.end(), _READERS[kind](*parts), weak or match[0] == "十")
    except (ArithmeticError, ValueError):
        return None


def _is_word(match: re.Match[str]) -> bool:
    """Whether a single Chinese digit is part of a word: 一样, 万一, 十分."""
    return match.string[max(0, match.start() - 1) : match.start()] in MYRIADS or not _ALONE.match(
        match.string, match.end()
    )


def _value(text: str) -> Fraction:
    return chinese_value(text) if text[0] in _D + _U else Fraction(text.replace(",", ""))


def _decimals(text: str) -> int:
    return len(re.split(f"[.{POINT}]", text)[1]) if "." in text or POINT in text else 0


def _plain(text: str) -> tuple[Reading, ...]:
    return (Reading(_value(text), _decimals(text)),)


def _mixed(whole: str, above: str, below: str) -> tuple[Reading, ...]:
    return (Reading(_value(whole) + _value(above) / _value(below), None),)


def _share(below: str, above: str) -> tuple[Reading, ...]:
    return _percent(above) if below == "百" else (Reading(_value(above) / _value(below), None),)


def _percent(text: str) -> tuple[Reading, ...]:
    value, decimals = _value(text), _decimals(text)
    return Reading(value / 100, decimals + 2), Reading(value, decimals)


def _scientific(text: str, exponent: str) -> tuple[Reading, ...]:
    shift = int(exponent[:6])
    if abs(shift) > _EXPONENT:
        raise ValueError(f"10^{shift}")
    return (Reading(_value(text) * Fraction(10) ** shift, max(0, _decimals(text) - shift)),)


def _power(text: str, exponent: str) -> tuple[Reading, ...]:
    if len(text) * abs(int(exponent[:6])) > _LONGEST:
        raise ValueError(f"{text}^{exponent}")
    return (Reading(_value(text) ** int(exponent), None),)


def _large(text: str, unit: str) -> tuple[Reading, ...]:
    return Reading(_value(text) * _TIMES[unit], 0), *_plain(text)


_READERS: dict[str, Callable[..., tuple[Reading, ...]]] = {
    "mixed_spoken": lambda whole, below, above: _mixed(whole, above, below),
    "mixed": _mixed,
    "share": _share,
    "halves": lambda count: (Reading(_value(count) + Fraction(1, 2), 1),),
    "scientific": _scientific,
    "power": _power,
    "percent": _percent,
    "large": _large,
    "plain": _plain,
    "chinese": _plain,
    "half": lambda: (Reading(Fraction(1, 2), 1),),
}
