"""An expression becomes one Polars expression: parsed as Python's grammar has it, never run as Python.

Beside the names of `columns`: texts, numbers, True and False, lists of them; `< <= > >=` between numbers, `==` and
`!=` between equals, `in` and `not in` (a list, or one text in another), `and or not`, `+ - * /` on numbers, and the
functions len, lower, startswith and endswith. A comparison with a null or a division by zero does not hold.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import add, mul, sub

import polars as pl

from pipeline.errors import ConfigError, known_names
from pipeline.filters.columns import NAMES

# Longer than people write; beyond it parsing and planning could take all of the stack.
_MOST_CHARS = 2000
_MOST_PARTS = 200


@dataclass(frozen=True)
class Filter:
    """`text` as written, the `names` it speaks of, and `keep`, true for the rows that stay."""

    text: str
    names: frozenset[str]
    keep: pl.Expr


@dataclass(frozen=True)
class _Part:
    """A part of the expression: its kind, and its value for each row. A list written out has `items` in its place."""

    kind: str
    value: pl.Expr
    items: Sequence[str | float | bool] = ()


class _Unusable(Exception):
    """A part that is not allowed where it stands."""

    def __init__(self, node: ast.expr, what: str) -> None:
        super().__init__(what)
        self.node, self.what = node, what


def read_filter(text: str) -> Filter:
    """Raises: ConfigError that says what cannot be used, and at which character (counted from 1)."""
    line = " ".join(text.split("\n")).strip()
    if len(line) > _MOST_CHARS:
        raise _error("", f"{len(line):,} characters, at most {_MOST_CHARS:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(line, mode="eval").body
    except SyntaxError as error:
        raise _error(f", character {error.offset or 1}", f"cannot be read ({error.msg})") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise _error("", f"cannot be read ({error or 'too deep'})") from error
    parts = [node for node in ast.walk(tree) if isinstance(node, ast.expr)]
    if len(parts) > _MOST_PARTS:
        raise _error("", f"{len(parts):,} names, values and operators, at most {_MOST_PARTS:,}")
    try:
        keep = _of_kind(tree, "truth", "a filter must be true or false for a row")
    except _Unusable as error:
        # The parser counts bytes.
        place = len(line.encode()[: error.node.col_offset].decode(errors="ignore")) + 1
        raise _error(f", character {place}", error.what) from error
    names = frozenset(node.id for node in parts if isinstance(node, ast.Name) and node.id in NAMES)
    return Filter(text, names, keep.value)


def _error(place: str, what: str) -> ConfigError:
    return ConfigError(
        f"filter{place}", what, "write it as \"len_answer < 2000 and 'zh' in tags\"; build --help has all names"
    )


def _part(node: ast.expr) -> _Part:
    if (read := _READERS.get(type(node))) is None:
        raise _Unusable(node, f"{type(node).__name__} is not for filters (and, or, not, in, < == …, + - * /)")
    return read(node)


def _of_kind(node: ast.expr, kind: str, why: str) -> _Part:
    part = _part(node)
    if part.kind != kind:
        raise _Unusable(node, f"{why}, this is a {part.kind}")
    return part


def _constant(node: ast.Constant) -> _Part:
    value = node.value
    if isinstance(value, bool):
        return _Part("truth", pl.lit(value))
    if isinstance(value, str):
        return _Part("text", pl.lit(value))
    if isinstance(value, int | float) and math.isfinite(value) and abs(value) <= 2**53:
        return _Part("number", pl.lit(float(value)))
    raise _Unusable(node, f"{str(value)[:20]} is no text, no number up to 2^53, and neither True nor False")


def _name(node: ast.Name) -> _Part:
    if node.id not in NAMES:
        function = f"{node.id} is a function: {node.id}(…)" if node.id in _FUNCTIONS else ""
        raise _Unusable(node, function or f"no name {node.id} ({known_names(node.id, NAMES)})")
    kind = NAMES[node.id]
    value = pl.col(node.id)
    return _Part(kind, value.cast(pl.Float64) if kind == "number" else value)


def _list(node: ast.List | ast.Tuple) -> _Part:
    parts = [_part(item) for item in node.elts]
    kinds = {part.kind for part in parts}
    if len(kinds) != 1 or not kinds <= {"text", "number"} or not all(_is_written(item) for item in node.elts):
        raise _Unusable(node, "a list must have texts only, or numbers only")
    items = [ast.literal_eval(item) for item in node.elts]
    return _Part(f"list of {kinds.pop()}s", pl.lit(None), items)


def _is_written(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant)
    return isinstance(node, ast.Constant)


def _logic(node: ast.BoolOp) -> _Part:
    word = "and" if isinstance(node.op, ast.And) else "or"
    values = [_of_kind(value, "truth", f"`{word}` joins conditions").value for value in node.values]
    return _Part("truth", pl.all_horizontal(values) if word == "and" else pl.any_horizontal(values))


def _unary(node: ast.UnaryOp) -> _Part:
    if isinstance(node.op, ast.Not):
        return _Part("truth", ~_of_kind(node.operand, "truth", "`not` stands before a condition").value)
    if isinstance(node.op, ast.USub | ast.UAdd):
        value = _of_kind(node.operand, "number", "a sign stands before a number").value
        return _Part("number", -value if isinstance(node.op, ast.USub) else value)
    raise _Unusable(node, "~ is not for filters (write not)")


def _arithmetic(node: ast.BinOp) -> _Part:
    left, right = (_of_kind(side, "number", "+ - * / are for numbers").value for side in (node.left, node.right))
    if isinstance(node.op, ast.Div):
        return _Part("number", pl.when(right != 0).then(left / right))
    if (apply := _ARITHMETIC.get(type(node.op))) is None:
        raise _Unusable(node, "no such operator (+ - * / are there)")
    return _Part("number", apply(left, right))


def _compare(node: ast.Compare) -> _Part:
    sides = [node.left, *node.comparators]
    parts = [_part(side) for side in sides]
    links = [_link(sides[k + 1], operator, parts[k], parts[k + 1]) for k, operator in enumerate(node.ops)]
    return _Part("truth", pl.all_horizontal(links) if len(links) > 1 else links[0])


def _link(node: ast.expr, operator: ast.cmpop, left: _Part, right: _Part) -> pl.Expr:
    """One comparison, never null; `node` is its right side."""
    if isinstance(operator, ast.In | ast.NotIn):
        found = _membership(node, left, right).fill_null(False)
        return found if isinstance(operator, ast.In) else ~found
    if isinstance(operator, ast.Is | ast.IsNot):
        raise _Unusable(node, "`is` is not for filters (write == or !=)")
    if isinstance(operator, ast.Eq | ast.NotEq):
        if left.kind != right.kind or left.kind.startswith("list"):
            raise _Unusable(node, f"a {left.kind} and a {right.kind} are never equal")
        equal = (_without_nan(left) == _without_nan(right)).fill_null(False)
        return equal if isinstance(operator, ast.Eq) else ~equal
    if {left.kind, right.kind} != {"number"}:
        raise _Unusable(node, f"< and > compare numbers, not a {left.kind} and a {right.kind}")
    return _ORDER[type(operator)](_without_nan(left), _without_nan(right)).fill_null(False)


def _without_nan(part: _Part) -> pl.Expr:
    return part.value.fill_nan(None) if part.kind == "number" else part.value


def _membership(node: ast.expr, left: _Part, right: _Part) -> pl.Expr:
    if left.kind == right.kind == "text":
        return right.value.str.contains(left.value, literal=True)
    if right.kind != f"list of {left.kind}s":
        raise _Unusable(node, f"a {left.kind} is never in a {right.kind}")
    if right.items:
        return left.value.is_in([float(item) if left.kind == "number" else item for item in right.items])
    return right.value.list.contains(left.value)


def _call(node: ast.Call) -> _Part:
    name = node.func.id if isinstance(node.func, ast.Name) else "this"
    if name not in _FUNCTIONS:
        raise _Unusable(node, f"{name} is no function of filters ({known_names(name, _FUNCTIONS)})")
    kinds, kind, apply = _FUNCTIONS[name]
    if node.keywords or len(node.args) != len(kinds):
        raise _Unusable(node, f"{name} takes {len(kinds)} {'value' if len(kinds) == 1 else 'values'}")
    values = [_part(argument) for argument in node.args]
    for argument, value, allowed in zip(node.args, values, kinds, strict=True):
        if value.kind not in allowed or value.items:
            raise _Unusable(argument, f"{name} takes a {' or a '.join(allowed)}, this is a {value.kind}")
    return _Part(kind, apply(*values))


def _len(part: _Part) -> pl.Expr:
    return (part.value.str.len_chars() if part.kind == "text" else part.value.list.len()).cast(pl.Float64)


_FUNCTIONS: dict[str, tuple[Sequence[Sequence[str]], str, Callable[..., pl.Expr]]] = {
    "len": ([["text", "list of texts"]], "number", _len),
    "lower": ([["text"]], "text", lambda text: text.value.str.to_lowercase()),
    "startswith": ([["text"], ["text"]], "truth", lambda a, b: a.value.str.starts_with(b.value).fill_null(False)),
    "endswith": ([["text"], ["text"]], "truth", lambda a, b: a.value.str.ends_with(b.value).fill_null(False)),
}
_ARITHMETIC: dict[type[ast.operator], Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    ast.Add: add,
    ast.Sub: sub,
    ast.Mult: mul,
}
_ORDER: dict[type[ast.cmpop], Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}
_READERS: dict[type[ast.expr], Callable[..., _Part]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.List: _list,
    ast.Tuple: _list,
    ast.BoolOp: _logic,
    ast.UnaryOp: _unary,
    ast.BinOp: _arithmetic,
    ast.Compare: _compare,
    ast.Call: _call,
}
