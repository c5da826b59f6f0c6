"""Which templates can be outlined: those through which every text can be followed.

Whatever is not known here to leave a text alone, or to be noticed by a slot, rules an outline out. That costs time,
never a wrong text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import nodes

# The fields of `meta` that an outline has slots for.
META = ("instruction", "input")
# They capture output, so that what is written there cannot be told from a text any more, or write it elsewhere.
_CAPTURING = (nodes.Concat, nodes.AssignBlock, nodes.Macro, nodes.FilterBlock, nodes.Block)
_FILTERS = {"trim", "tojson", "default", "d", "length", "count", "list", "first", "last", "selectattr", "rejectattr"}
_TESTS = {"defined", "undefined", "none", "string", "mapping", "number", "boolean", "true", "false"}
_EQUAL = {"equalto", "eq", "=="}
_METHODS = {"strip", "lstrip", "rstrip", "startswith", "endswith", "split", "get", "items"}
_FUNCTIONS = {"raise_exception", "namespace", "range"}


def generation_blocks(tree: nodes.Template) -> list[nodes.CallBlock]:
    """The `{% generation %}` blocks of a template."""
    return [block for block in tree.find_all(nodes.CallBlock) if isinstance(block.call.node, nodes.ExtensionAttribute)]


def can_be_followed(tree: nodes.Template) -> bool:
    """Whether an outline of a conversation under this template says what the template does with its texts."""
    if any(True for _ in tree.find_all(_CAPTURING)) or not _meta_by_field(tree):
        return False
    return all(rule(node) for kind, rule in _RULES.items() for node in tree.find_all(kind))


def _meta_by_field(tree: nodes.Template) -> bool:
    """Whether `meta` is only asked for the fields of META, and for its kind."""
    fields = [node for node in tree.find_all(nodes.Getattr) if _is_meta(node.node) and node.attr in META]
    tests = [node for node in tree.find_all(nodes.Test) if _is_meta(node.node)]
    return len(fields) + len(tests) == sum(1 for node in tree.find_all(nodes.Name) if _is_meta(node))


def _is_meta(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == "meta"


def _constant(values: list[nodes.Expr]) -> bool:
    return all(isinstance(value, nodes.Const) for value in values)


def _plain_filter(node: nodes.Filter) -> bool:
    if node.name in ("selectattr", "rejectattr"):
        return all(isinstance(value, nodes.Const) and value.value in _TESTS | _EQUAL for value in node.args[1:2])
    return node.name in _FILTERS and (node.name != "trim" or _constant(node.args))


def _plain_call(node: nodes.Call) -> bool:
    """A function that knows no text, or a method that a slot notices, asked with constants alone."""
    called = node.node
    if isinstance(called, nodes.ExtensionAttribute):
        return True
    if isinstance(called, nodes.Name):
        return called.name in _FUNCTIONS
    method = isinstance(called, nodes.Getattr) and called.attr in _METHODS and not isinstance(called.node, nodes.Const)
    return method and not node.kwargs and _constant(node.args)


def _plain_comparison(node: nodes.Compare) -> bool:
    """`in` asks a slot only where it stands on the right, or where a list compares it with each of its members."""
    contains = [operand.expr for operand in node.ops if operand.op in ("in", "notin")]
    return isinstance(node.expr, nodes.Const) or all(isinstance(right, nodes.List | nodes.Tuple) for right in contains)


_RULES: dict[type[nodes.Node], Callable[[Any], bool]] = {
    nodes.Filter: _plain_filter,
    nodes.Test: lambda node: node.name in _TESTS | _EQUAL,
    nodes.Call: _plain_call,
    nodes.CallBlock: lambda node: isinstance(node.call.node, nodes.ExtensionAttribute),
    nodes.Compare: _plain_comparison,
    nodes.Mod: lambda node: isinstance(node.right, nodes.Const),  # of numbers: what is formatted stands on the right
    nodes.For: lambda node: not node.recursive,
}
