"""One notation for what people and models write in many: LaTeX, full-width characters, typographic signs."""

from __future__ import annotations

import re
import unicodedata

_FRACTION = re.compile(r"(?P<before>\d?)\\frac\s*(?:\{(?P<a>[^{}]*)\}\s*\{(?P<b>[^{}]*)\}|(?P<c>\d)\s*(?P<d>\d))")
_SUPERSCRIPT = re.compile("[⁰¹²³⁴-⁹⁺⁻]+")
_VULGAR = re.compile("[¼-¾⅐-⅞↉]")
_CHANGES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"[\u2460-\u24FF\u2776-\u2793]", " "),  # numbers in circles, which number items
        (r"(?<=[０-９])，(?=[０-９]{3}(?![０-９]))", ","),
        ("，", ", "),  # of a list, not of thousands
        (r"(?<=\d)(?:[\u00A0\u2009\u202F'’]|\{,\}|\\[,!:;])(?=\d{3}(?!\d))", ""),  # thousands
        (r"[−–﹣－‐‑]", "-"),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|mbox|operatorname|bf|rm)\s*\{([^{}]*)\}", r" \1 "),
        (r"\\(?:times|cdot|ast)(?![A-Za-z])|[×·∙⋅✕✖]", "*"),
        (r"(?<=\d)\s?[xX]\s?(?=\d)", "*"),
        (r"\\div(?![A-Za-z])|[÷]", "/"),
        (r"(?<=[\d)])\s?\*\*\s?(?=[\d({])", "^"),
        (r"\\left(?![A-Za-z])|\\right(?![A-Za-z])|\\displaystyle|\\[()\[\],!:; ]|\*\*|__|`", " "),
        (r"\\([%$#&_])", r"\1"),
        (r"\\degree|\^\s?\{?\\circ\}?|°", " "),
        (r"(?:\b(?:US|HK|NT|A|C))?\$|[€£¥]", ""),
    )
]


def plain_text(text: str) -> str:
    """The text with numbers, operators and signs in plain characters.

    Full-width digits are digits, ½ and \\\\frac{1}{2} are 1/2 (3½ is 3 1/2), cm² is cm^2, every minus is -, × and
    \\\\times are *, ÷ is /; separators of thousands but for the comma are gone, so are signs of money, and what LaTeX
    and Markdown put around a text.
    """
    text = _SUPERSCRIPT.sub(lambda digits: "^" + digits[0], text)
    text = _VULGAR.sub(lambda sign: f" {unicodedata.normalize('NFKC', sign[0]).replace('⁄', '/')}", text)
    for pattern, replacement in _CHANGES[:4]:
        text = pattern.sub(replacement, text)
    text = unicodedata.normalize("NFKC", text)
    for pattern, replacement in _CHANGES[4:]:
        text = pattern.sub(replacement, text)
    return _FRACTION.sub(_fraction, text)


def _fraction(match: re.Match[str]) -> str:
    above, below = (
        part.strip() for part in ((match["a"], match["b"]) if match["c"] is None else (match["c"], match["d"]))
    )
    if above.isdigit() and below.isdigit():
        return f"{match['before']}{' ' if match['before'] else ''}{above}/{below}"
    if re.fullmatch(r"[\d\s.,+*/()-]+", above + below):
        return f"{match['before']}{'*' if match['before'] else ''}(({above})/({below}))"
    return match[0]
