"""Print rows of a bundle, a pool or the quarantine, or what became of one raw row.

Examples:
  python -m pipeline show
  python -m pipeline show bundle=math_heavy-1a2b3c4d rows=validation sources=cmath n=10
  python -m pipeline show id=cmath:17
  python -m pipeline show text=true
  python -m pipeline show tokenizer=Qwen/Qwen3-0.6B template=qwen3 n=1
  python -m pipeline show packed=true
  python -m pipeline show quarantine=true reason=empty_answer
  python -m pipeline show pool=alpaca tag=zh
  python -m pipeline show tag=tool format=json | jq .messages

Often used:
  n=N               the first N rows of training; rows=validation those of validation
  sources=NAME      only those of a source; tag=NAME only those with a tag
  id=SOURCE:ROW     one raw row, wherever it went: train, validation, quarantine, a copy of
                    another, not drawn; with what of it is trained on, and with its raw record
                    while the raw files are there
  text=true         the text that a model sees in place of the messages
  template=NAME     that text under another chat template; only the rows shown are rendered
  tokenizer=NAME    that text token by token; where the bundle has sequences of this tokenizer,
                    with what cutting them took away
  packed=true       the first N sequences, token by token, a line with its row above each document
  quarantine=true   the refused rows with reason, file and line; reason=NAME those of one reason
  pool=NAME         rows of the newest pool of a source instead of a bundle
  format=json       one object a line; with tokenizer= the input_ids, tokens and trained of a row

On a terminal what is trained on is green and the rest dim; every other token is underlined, and
special ones are inverse. Without colours (NO_COLOR, a pipe) what is trained on stands in
⟦brackets⟧, what is lost in ⟪others⟫, and ¦ between two tokens. Where several tokens share a
character, each shows its bytes (<0xE2>) and the last the character. Control characters of the
data are spelt out (\\x1b).
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from pipeline.cli.front import Job
from pipeline.cli.front.outlet import prints_rows

if TYPE_CHECKING:
    from pipeline.show.provenance import Found
    from pipeline.show.settings import Asked
    from pipeline.show.text import Pen
    from pipeline.show.tokens import Shown, View


def run(config: dict[str, Any], _job: Job) -> None:
    """Print what was asked for."""
    from pipeline.manifest import read_whole
    from pipeline.pool import open_pool
    from pipeline.settings import bundle_setting
    from pipeline.show.rows import refuse_both
    from pipeline.show.settings import read_asked

    asked = read_asked(config)
    prints_rows()
    if asked.pool is not None:
        refuse_both(config)
        lines = _lines(open_pool(asked.pool, asked.pools), asked)
    else:
        lines = read_whole(*bundle_setting(config, "bundle"), lambda bundle: _lines(bundle, asked))
    for line in lines:
        print(line)


def _lines(place: Any, asked: Asked) -> list[str]:
    """What is printed of a bundle or pool: all of it is read before any is printed."""
    from pipeline.show.rows import require_source

    known = list(place.manifest["sources"]) if asked.pool is None else [place.manifest["name"]]
    for name in asked.sources:
        require_source(f"sources={name}", name, known)
    if asked.id is not None:
        return _found(place, asked.id, asked)
    if asked.quarantine:
        return _refused(place, asked)
    return _packed(place, asked) if asked.packed else _rows(place, asked)


def _rows(place: Any, asked: Asked) -> list[str]:
    from pipeline.cli import root
    from pipeline.damage import whole_table
    from pipeline.folder import DATA
    from pipeline.show.rows import first_places, json_line, plain_row
    from pipeline.show.text import row_lines
    from pipeline.show.tokens import open_view, row_data

    split = "pool" if asked.pool is not None else asked.rows or "train"
    table = whole_table(place, DATA if split == "pool" else f"{split}/{DATA}")
    places = first_places(table, asked.n, asked.sources, asked.tag)
    rows = [plain_row(table, at) for at in places]
    opened = open_view(place, asked.template, asked.tokenizer, root()) if asked.viewing else nullcontext()
    with opened as view:
        found = view.rows(rows, split if asked.pool is None else None, places) if view is not None else None
    pen = _pen()
    lines = [] if asked.json else _heading(place, f"{split} · {len(rows):,} of {table.num_rows:,} rows", view)
    for row, shown in zip(rows, found or [None] * len(rows), strict=True):
        lines += [json_line(row_data(row, shown))] if asked.json else ["", *row_lines(row, shown, pen)]
    return lines


def _packed(place: Any, asked: Asked) -> list[str]:
    from pipeline.cli import root
    from pipeline.show.rows import json_line
    from pipeline.show.text import packed_lines
    from pipeline.show.tokens import open_view, packed_data
    from pipeline.tokens.written import built_with

    split = asked.rows or "train"
    with open_view(place, asked.template, asked.tokenizer or built_with(place), root()) as view:
        found = list(view.packed(split, asked.n))
    lines = [] if asked.json else _heading(place, f"{split} · {len(found):,} of {view.count(split):,} sequences", view)
    for packed in found:
        lines += [json_line(packed_data(packed))] if asked.json else ["", *packed_lines(packed, _pen())]
    return lines


def _refused(place: Any, asked: Asked) -> list[str]:
    from pipeline.damage import require_whole
    from pipeline.pool import read_quarantine
    from pipeline.show.rows import json_line, refused_rows
    from pipeline.show.text import DIM, refused_lines
    from pipeline.visible import visible

    require_whole(place, ["quarantine.jsonl"])
    refused = read_quarantine(place.folder)
    rows = refused_rows(refused, asked.n, asked.sources, asked.reason)
    heading = visible(f"{place.folder} · refused · {len(rows):,} of {len(refused):,} rows")
    lines = [] if asked.json else [_pen().paint(heading, DIM)]
    for row in rows:
        lines += [json_line(row)] if asked.json else ["", *refused_lines(row, _pen())]
    return lines


def _found(place: Any, id: str, asked: Asked) -> list[str]:
    from pipeline.cli import root
    from pipeline.pool import Pool
    from pipeline.show.provenance import find_in_bundle, find_in_pool
    from pipeline.show.rows import json_line
    from pipeline.show.text import DIM, found_lines, indented, refused_lines
    from pipeline.show.tokens import row_data
    from pipeline.visible import visible

    found = find_in_pool(place, id) if isinstance(place, Pool) else find_in_bundle(place, asked.pools, id, root())
    view, shown = _found_view(place, found, asked)
    if asked.json:
        values = {name: value for name, value in vars(found).items() if value is not None}
        return [json_line(values | ({"row": row_data(found.row, shown)} if found.row is not None else {}))]
    lines = [*_heading(place, "", view), visible(found.note)]
    if found.row is not None:
        lines += found_lines(found.row, found.epochs, shown, _pen())
    if found.refused is not None:
        lines += refused_lines(found.refused, _pen())
    raw_note = visible(found.raw_note)
    lines.append(_pen().paint(f"raw: {raw_note}" if found.raw is not None else raw_note, DIM))
    for name, value in (found.raw or {}).items():
        lines += indented(f"{name}: {value}", 2)
    return lines


def _found_view(place: Any, found: Found, asked: Asked) -> tuple[View | None, Shown | None]:
    """The row that was found as it is trained on; None where the bundle has no texts and none are asked for."""
    from pipeline.cli import root
    from pipeline.folder import DATA
    from pipeline.show.rows import places_of, plain_row
    from pipeline.show.tokens import open_view
    from pipeline.store import open_table

    split = found.place if found.place in ("train", "validation") else None
    if found.row is None or not (asked.viewing or (split is not None and "template" in place.manifest)):
        return None, None
    with open_view(place, asked.template, asked.tokenizer, root()) as view:
        if split is None:
            return view, view.rows([found.row], None, [])[0]
        table = open_table(place.folder / split / DATA)
        at = places_of(table, found.row["key"])[:1]
        return view, view.rows([plain_row(table, at[0])], split, at)[0]


def _heading(place: Any, what: str, view: View | None) -> list[str]:
    from pipeline.show.text import DIM
    from pipeline.visible import visible

    pen = _pen()
    facts = [str(place.folder), what, *([view.template, view.tokenizer or ""] if view is not None else [])]
    line = pen.paint(visible(" · ".join(fact for fact in facts if fact)), DIM)
    return [line] if view is None else [line, pen.legend(view.tokenizer is not None, view.sequences is not None)]


def _pen() -> Pen:
    from pipeline.show.text import Pen

    return Pen(sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")
