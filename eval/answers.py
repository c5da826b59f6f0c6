"""Whether the final answer of a reply is the row's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from eval.arithmetic import Term, find_terms
from eval.judge import JUDGE, UndecidedError
from eval.notation import plain_text
from eval.numerals import Reading
from eval.places import Place, behind_equals, places
from eval.reply import Reply, Verdicts

_EXPRESSION = 300  # characters of the longest one that math-verify is asked about
_SHOWN = 200
# What makes more of a number than a number: roots, π, functions, unknowns, powers of brackets.
_MORE_AFTER = re.compile(
    r"\s*(?:[*^]\s*)?(?:√|π|pi\b|\\(?:sqrt|pi|frac|log|ln|sin|cos|tan)|[xyznk]\b)|\s*[})]+\s*\^|\s*\}\s*\{"
)
_MORE_BEFORE = re.compile(r"(?:√|\\sqrt(?:\[\d\])?\{?|\\(?:log|ln|sin|cos|tan)|[πxyz]\s*[*+/^-]|\}\s*\{)[\s({]*$")
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|(\d+(?:\.\d+)?|[A-Za-z]))")
_SYMBOLS = re.compile(r"[√π^]|\\[a-z]")
_MATH = re.compile(rf"{_SYMBOLS.pattern}|\d")
_EXPRESSIONS = re.compile(r"(?:[\d.,+*/^(){}\[\]√π<>=\s-]|\\[A-Za-z]+|(?<![A-Za-z])[A-Za-z](?![A-Za-z]))+")


def answer(reply: Reply) -> Verdicts | None:
    r"""`correct`, 0 or 1, of a row with an `answer`: the reply's final number or expression equals it.

    The final answer stands, in this order, (1) in the last \\boxed{…}, (2) behind the last ####, (3) behind the last
    "answer is", "result:", 答案是, 结果为 and the like, to the end of the sentence: the first number or calculation, or
    the first behind the last "=" in it; behind 答： the last one of the sentence; (4) the last number or calculation of
    the reply, numbers of list items left out. (2) to (4) count only where there is a number. Reasoning before the
    reply does not count, nor what stands before its last 4,000 characters.

    Numbers are read in the notations of `plain_text` and `find_numbers`; units do not count, and calculations are
    carried out (8 - 2 is 6). Both are compared as fractions, see `equals`. Where roots, π, functions or unknowns are
    involved, math-verify decides; an answer that is no number (B, Tuesday, 2:3) may also be the same text.

    Notes: `rule`, `found` (the place), `extracted` (the number in it), `by` (number, text or math-verify).
    """
    gold = (reply.row.get("answer") or "").strip()
    if not gold:
        return None
    notes: dict[str, Any] = {"gold": gold[:_SHOWN]}
    if _same_text(gold, reply.content):
        correct = True
        notes |= {"rule": "whole", "found": reply.content[:_SHOWN], "by": "text"}
    else:
        number = plain_number(gold)
        correct = _decide(gold, reply.content, notes) if number is None else _compare(number, gold, reply, notes)
    return Verdicts({"correct": float(correct)}, notes)


def plain_number(text: str) -> tuple[Reading, ...] | None:
    """What a text that is one number may mean, with a unit or without; None if it is none, or more than that."""
    plain = re.sub(r"^\s*-\s+", "-", plain_text(text))
    terms = find_terms(plain)
    if len(terms) != 1 or _is_more(plain, terms[0]):
        return None
    around = plain[: terms[0].start] + " " + plain[terms[0].end :]
    return None if _MATH.search(re.sub(r"\^\s?[23]", "", around)) else terms[0].readings


def equals(found: Sequence[Reading], gold: Sequence[Reading]) -> bool:
    """Whether two numbers are the same: exactly, or one is the other rounded.

    Only what goes beyond three decimals is rounded (0.2571428, 1/3): to two decimals or more, below 0.1 to two
    significant digits or more, which is how MAWPS' answers are written for training; zeros at the end may be missing
    in the reply. 25% equals 0.25 and 25, 3.5万 equals 35000 and 3.5, but of two such numbers the exact meanings count.
    """
    if len(found) > 1 and len(gold) > 1:
        found, gold = found[:1], gold[:1]
    return any(_equal(one, other) for one in found for other in gold)


def _equal(found: Reading, gold: Reading) -> bool:
    if found.value == gold.value:
        return True
    least = _least_decimals(gold.value)
    if found.decimals is not None and _is_rounded(gold.value, found.value, max(least, found.decimals)):
        return True
    return gold.decimals is not None and gold.decimals >= least and _is_rounded(found.value, gold.value, gold.decimals)


def _is_rounded(precise: Fraction, rounded: Fraction, decimals: int) -> bool:
    long = (1000 * precise).denominator > 1
    return long and abs(precise - rounded) <= Fraction(1, 2 * 10**decimals) + abs(precise) / 10**14  # of a float


def _least_decimals(value: Fraction) -> int:
    return next((n for n in range(2, 20) if abs(value) * 10**n >= 10), 2)


def _compare(number: Sequence[Reading], gold: str, reply: Reply, notes: dict[str, Any]) -> bool:
    for place in places(reply.content):
        found = {"rule": place.rule, "found": place.text.strip()[-_SHOWN:]}
        if place.rule == "boxed":
            notes |= found
            return _compare_whole(number, gold, place.text, notes)
        terms = find_terms(place.text)
        if not terms:
            continue
        term = terms[0] if place.first else terms[-1]
        notes |= {**found, "extracted": place.text[term.start : term.end][:_SHOWN], "by": "number"}
        if _is_more(place.text, term):
            return _by_math(gold, _expression_at(place.text, term.start), notes)
        return equals(term.readings, number)
    return False


def _compare_whole(number: Sequence[Reading], gold: str, text: str, notes: dict[str, Any]) -> bool:
    readings = plain_number(text)
    if readings is None and _SYMBOLS.search(text):
        return _by_math(gold, text, notes)
    notes |= {"extracted": text.strip()[:_SHOWN], "by": "number"}
    return readings is not None and equals(readings, number)


def _decide(gold: str, text: str, notes: dict[str, Any]) -> bool:
    """The same for an answer that is no number."""
    found = list(places(text))
    for place in [place for place in found if place.rule == found[0].rule]:
        notes |= {"rule": place.rule, "found": place.text.strip()[-_SHOWN:], "by": "text"}
        if _same_text(gold, place.text) or _at_edge(gold, place):
            return True
    if not _MATH.search(gold):
        return False
    place = found[0]
    parts = [part for part in _EXPRESSIONS.finditer(place.text) if _MATH.search(part[0])]
    if place.rule == "boxed" or not parts:
        return _by_math(gold, place.text, notes)
    return _by_math(gold, behind_equals(parts[0 if place.first else -1][0]), notes)


def _by_math(gold: str, expression: str, notes: dict[str, Any]) -> bool:
    notes |= {"extracted": expression.strip()[:_SHOWN], "by": "math-verify"}
    if not _MATH.search(expression):
        return False
    if max(len(gold), len(expression)) > _EXPRESSION:
        notes["undecided"] = f"an expression of more than {_EXPRESSION} characters"
        return False
    try:
        found = JUDGE.ask("same", gold=_latex(gold), found=_latex(expression))
    except UndecidedError as error:
        notes["undecided"] = str(error)
        return False
    notes["read"] = found["read"]
    return found["equal"]


def _is_more(text: str, term: Term) -> bool:
    before = text[max(0, term.start - 20) : term.start]
    return bool(_MORE_AFTER.match(text, term.end) or _MORE_BEFORE.search(before))


def _expression_at(text: str, place: int) -> str:
    return next((behind_equals(part[0]) for part in _EXPRESSIONS.finditer(text) if part.end() > place), "")


def _latex(text: str) -> str:
    text = _ROOT.sub(lambda root: rf"\sqrt{{{root[1] or root[2]}}}", plain_text(text))
    return re.sub(r"π|(?<![A-Za-z\\])pi\b", r"\\pi ", text).replace("*", r" \cdot ").replace("%", r"\%").strip()


def _same_text(gold: str, text: str) -> bool:
    return (_bare(gold) or gold) == (_bare(text) or text)


def _at_edge(gold: str, place: Place) -> bool:
    """Whether the place begins or ends with these words, as it counts its first or its last."""
    words, text = re.escape(_bare(gold)), _bare(place.text)
    return bool(words and re.search(rf"^{words}(?!\w)" if place.first else rf"(?<!\w){words}$", text))


def _bare(text: str) -> str:
    """Words in lower case without the marks around them."""
    words = " ".join(plain_text(text).casefold().split())
    return words.lstrip(" \"'“‘([*").rstrip(" \"'”’)]*.,;!?。")
