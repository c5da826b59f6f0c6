"""Rows laid out for a terminal or a file: what is trained on stands out, by colour or by brackets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report import columns_wide
from pipeline.show.tokens import Packed, Shown
from pipeline.tokens.view import Tokens
from pipeline.visible import code, visible

BOLD, DIM = "1", "2"
_ROLES = {"system": "35", "user": "36", "assistant": "32", "tool": "33"}
_TRAINED, _CONTEXT, _LOST, _SPECIAL, _ODD = "1;32", "2", "9;31", ";7", ";4"
_BRACKETS = {_TRAINED: ("⟦", "⟧"), _CONTEXT: ("", ""), _LOST: ("⟪", "⟫")}
_BORDER = "¦"


@dataclass(frozen=True)
class Pen:
    """Writes in colours, or without."""

    coloured: bool

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour of the terminal (SGR)."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self.coloured and text else text

    def legend(self, tokens: bool, sequences: bool) -> str:
        """What the marks mean in the text of rows, in their tokens, and where there are sequences to be lost from."""
        if not self.coloured:
            lost = " ⟪not in the sequences⟫" if sequences else ""
            return f"⟦trained on⟧ context{lost}{' a¦b: border of tokens' if tokens else ''}"
        names = [("trained on", _TRAINED), ("context", _CONTEXT)]
        names += [("not in the sequences", _LOST)] if sequences else []
        names += [("special", _CONTEXT + _SPECIAL), ("special, trained on", _TRAINED + _SPECIAL)] if tokens else []
        names += [("one token", _CONTEXT), ("the next", _CONTEXT + _ODD)] if tokens else []
        return " ".join(self.paint(name, colour) for name, colour in names)


def row_lines(row: Mapping[str, Any], shown: Shown | None, pen: Pen, epochs: Sequence[int] = ()) -> Iterator[str]:
    """One row: what is known of it, then what was said; or its text or tokens, where these are `shown`."""
    facts = [f"source {row['source']}", f"tags {', '.join(row['tags']) or 'none'}"]
    facts += [f"epoch {', '.join(map(str, epochs or [row['epoch']]))}"] if "epoch" in row else []
    facts += [f"answer {row['answer']}"] if "answer" in row and shown is None else []
    facts += token_facts(shown) if shown is not None else []
    yield f"{pen.paint(visible(row['id']), BOLD)}  {visible(' · '.join(facts))}"
    yield from shown_lines(shown, pen) if shown is not None else message_lines(row, pen)


def found_lines(row: Mapping[str, Any], epochs: Sequence[int], shown: Shown | None, pen: Pen) -> Iterator[str]:
    """One row with its messages, and where it is `shown` then with its text or tokens."""
    yield from row_lines(row, None, pen, epochs)
    if shown is not None:
        yield f"  {' · '.join(['as a model sees it', *token_facts(shown)])}"
        yield from shown_lines(shown, pen)


def message_lines(row: Mapping[str, Any], pen: Pen) -> Iterator[str]:
    """The messages of a row, and what else it has."""
    for name in ("tools", "meta"):
        if name in row:
            yield from indented(f"{name}: {json.dumps(row[name], ensure_ascii=False)}", 2)
    for message in row["messages"]:
        more = [f"{name} {message[name]}" for name in ("name", "tool_call_id", "weight") if name in message]
        yield "  " + pen.paint(visible(" · ".join([message["role"], *more])), _ROLES.get(message["role"], BOLD))
        if "reasoning_content" in message:
            yield from indented(f"(reasoning) {message['reasoning_content']}", 4)
        if message.get("content"):
            yield from indented(message["content"], 4)
        if "tool_calls" in message:
            yield from indented(f"(calls) {json.dumps(message['tool_calls'], ensure_ascii=False)}", 4)


def refused_lines(row: Mapping[str, Any], pen: Pen) -> Iterator[str]:
    """One line of the quarantine."""
    line = f", line {row['line']:,}" if row["line"] is not None else ""
    where = f"{row['file']}{line}" if row["file"] is not None else ""
    heading = pen.paint(visible(f"{row['source']}:{row['row']}"), BOLD)
    yield f"{heading}  {visible(' · '.join(part for part in (row['reason'], where) if part))}"
    if row["detail"]:
        yield f"  {visible(row['detail'])}"
    yield f"  {visible(row['text'] or '')}"


def indented(text: str, spaces: int) -> Iterator[str]:
    """The lines of a text, harmless."""
    for line in visible(text, keep="\n\t").split("\n"):
        yield (" " * spaces + line).rstrip()


def token_facts(shown: Shown) -> list[str]:
    """How many tokens a row has, and what became of them."""
    facts: list[str] = []
    if shown.tokens is not None:
        facts += [f"tokens {len(shown.tokens.ids):,}", f"target tokens {sum(shown.tokens.trained):,}"]
        facts += [f"lost {lost:,}"] if (lost := sum(shown.tokens.lost)) else []
    if shown.pieces is not None:
        numbers = ", ".join(f"{piece.sequence:,}" for piece in shown.pieces)
        facts.append(f"sequence {numbers}" if numbers else "in no sequence")
    return facts


def shown_lines(shown: Shown, pen: Pen) -> Iterator[str]:
    """A row's tokens, else its text, what is trained on marked; and what is missing."""
    if shown.why:
        yield f"    {visible(shown.why)}"
    if shown.tokens is not None:
        yield from token_lines(shown.tokens, pen)
    elif shown.text is not None:
        yield from text_lines(shown.text, shown.targets, pen)


def packed_lines(packed: Packed, pen: Pen) -> Iterator[str]:
    """A sequence: its documents one after the other, each below a line that says which row it is."""
    tokens = sum(len(document.ids) for _, _, document in packed.documents)
    trained = sum(sum(document.trained) for _, _, document in packed.documents)
    facts = [f"documents {len(packed.documents):,}", f"tokens {tokens:,} of {packed.size:,}"]
    yield f"{pen.paint(f'sequence {packed.number:,}', BOLD)}  {' · '.join([*facts, f'target tokens {trained:,}'])}"
    at = 0
    for row, start, document in packed.documents:
        end = at + len(document.ids)
        facts = [f"epoch {row['epoch']}", f"tokens {at:,} to {end - 1:,}", f"target tokens {sum(document.trained):,}"]
        facts += [f"from token {start:,} of the row on"] if start else []
        yield f"  {pen.paint(visible(row['id']), BOLD)}  {' · '.join(facts)}"
        yield from token_lines(document, pen)
        at = end


def text_lines(text: str, targets: Sequence[tuple[int, int]], pen: Pen) -> Iterator[str]:
    """A text with its targets marked, line by line."""
    marked, at = "", 0
    for start, end in [*targets, (len(text), len(text))]:
        marked += _run(text[at:start], _CONTEXT, pen) + _run(text[start:end], _TRAINED, pen)
        at = end
    for line in marked.removesuffix("\n").split("\n"):
        yield f"    {line}" if line else ""


def _run(text: str, state: str, pen: Pen) -> str:
    opening, closing = _BRACKETS[state]
    shown = visible(text, keep="\n\t")
    if pen.coloured:
        return "\n".join(pen.paint(line, state) for line in shown.split("\n"))
    return f"{opening}{shown}{closing}" if text else ""


def token_lines(tokens: Tokens, pen: Pen) -> Iterator[str]:
    """Tokens with their borders and what is trained on, a new line after each that holds a line break."""
    line, before = "", _CONTEXT
    broken = False
    for k, text in enumerate(tokens.texts):
        state = _LOST if tokens.lost[k] else _TRAINED if tokens.trained[k] else _CONTEXT
        changed = state != before
        line += _BRACKETS[before][1] if changed and not pen.coloured else ""
        if broken:
            yield f"    {line}"
            line = ""
        if pen.coloured:
            line += pen.paint(_spelt(text), state + (_ODD if k % 2 else "") + (_SPECIAL if tokens.special[k] else ""))
        else:
            line += (_BRACKETS[state][0] if changed else _BORDER if line else "") + _spelt(text)
        before, broken = state, "\n" in text
    yield f"    {line}{'' if pen.coloured else _BRACKETS[before][1]}"


def _spelt(text: str) -> str:
    """A token's text, harmless, and spelt out where nothing would be seen of it (a joiner, an accent)."""
    return visible(text) if columns_wide(text) else "".join(code(sign) for sign in text)
