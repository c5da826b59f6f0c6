"""Calculations with plain numbers: 8 - 2, (17 + 5) * 3, -4.5, 3/4 - 1/8."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from eval.numerals import Number, Reading, find_numbers

_BETWEEN = re.compile(r"[\s)]*[-+*/][\s(]*")
_OPENED, _CLOSED = re.compile(r"[\s(]*$"), re.compile(r"[\s)]*")
_MINUS = re.compile(r"(?:(?<![A-Za-z0-9_)\]}%.])-|负|\b(?:minus|negative) )$", re.IGNORECASE)
_MOST = 100  # numbers in one calculation
_DIGITS = 1000  # of its result
_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Term:
    """A number with its sign, or a calculation, from `start` to `end` of a text, and what it may be worth."""

    start: int
    end: int
    readings: tuple[Reading, ...]


def find_terms(text: str) -> list[Term]:
    """The numbers and calculations in a text as `plain_text` makes it; those that come to nothing are left out."""
    chains: list[list[Number]] = []
    for number in find_numbers(text):
        if chains and _BETWEEN.fullmatch(text, chains[-1][-1].end, number.start):
            chains[-1].append(number)
        else:
            chains.append([number])
    return [term for chain in chains if (term := _term(text, chain)) is not None]


def _term(text: str, chain: Sequence[Number]) -> Term | None:
    first, last = chain[0], chain[-1]
    opened = _OPENED.search(text, max(0, first.start - _MOST), first.start)
    start = opened.start() if opened and len(chain) > 1 else first.start
    sign = _MINUS.search(text, max(0, first.start - 10), first.start)
    if len(chain) == 1:
        readings = tuple(Reading(-r.value, r.decimals) for r in first.readings) if sign else first.readings
        return Term(sign.start() if sign else start, first.end, readings)
    closed = _CLOSED.match(text, last.end)
    end = closed.end() if closed else last.end
    value = _calculate(text, start, end, chain, sign is not None)
    return None if value is None else Term(start, end, (Reading(value, None),))


def _calculate(text: str, start: int, end: int, chain: Sequence[Number], negative: bool) -> Fraction | None:
    if len(chain) > _MOST:
        return None
    edges = [start, *(edge for number in chain for edge in (number.start, number.end)), end]
    gaps = ["".join(text[a:b].split()) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    opened, closed = ("".join(gaps).count(mark) for mark in "()")
    gaps[0] = gaps[0][max(0, opened - closed) :] + "-" * negative
    gaps[-1] = gaps[-1][: len(gaps[-1]) - max(0, closed - opened)]
    names = [f"n{k}" for k in range(len(chain))]
    written = "".join(part for pair in zip(gaps, [*names, ""], strict=True) for part in pair)
    try:
        return _worth(ast.parse(written, mode="eval").body, [number.readings[0].value for number in chain])
    except (SyntaxError, ZeroDivisionError, OverflowError):
        return None


def _worth(node: ast.expr, values: Sequence[Fraction]) -> Fraction:
    if isinstance(node, ast.Name):
        return values[int(node.id[1:])]
    if isinstance(node, ast.UnaryOp):
        return -_worth(node.operand, values)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        value = _OPERATORS[type(node.op)](_worth(node.left, values), _worth(node.right, values))
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > 4 * _DIGITS:
            raise OverflowError
        return value
    raise SyntaxError
