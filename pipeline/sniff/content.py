"""How a raw file is to be read, told from its first bytes: format, delimiter, encoding."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from itertools import islice

from pipeline.errors import SourceError
from pipeline.sources.block import HEAD_BYTES
from pipeline.sources.encodings import seems_to_be
from pipeline.sources.files import FORMATS, RawFile, format_of

_BINARY_FORMATS = {b"PAR1": "parquet", b"ARROW1": "arrow", b"\xff\xff\xff\xff": "arrow"}
# First bytes → what such a file is, and what to do with it.
_FOREIGN = {
    b"\x1f\x8b": ("gzip data under another name", "rename it, so that it ends with .gz"),
    b"\x28\xb5\x2f\xfd": ("zstd data under another name", "rename it, so that it ends with .zst"),
    b"PK\x03\x04": ("a zip archive or an Excel workbook", "unpack it, or save the sheet as CSV (UTF-8)"),
    b"BZh": ("bzip2 data", "unpack it"),
    b"\xfd7zXZ": ("xz data", "unpack it"),
    b"%PDF": ("a PDF document", "this reads tables and JSON only"),
    b"SQLite format 3": ("an SQLite database", "export the table as CSV or JSON lines"),
}
_JSON = re.compile(r"\s*(\{|\[\s*(\{|\]|$))")
_DELIMITERS = ",;\t|"
_ROWS = 200  # looked at to find a delimiter
_STEADY = 0.9  # share of rows that have as many cells as the first one


@dataclass(frozen=True)
class Content:
    """How to read a file. `delimiter` is None where it is no CSV or has one column, `encoding` None for UTF-8."""

    format: str
    delimiter: str | None = None
    encoding: str | None = None


def look(file: RawFile) -> Content:
    """What the file's first block says; the ending decides only where that says nothing.

    Raises: SourceError if the file is empty, binary, or text without columns.
    """
    head = _head(file)
    if not head:
        raise SourceError(file.name, "the file is empty", "give a file with rows")
    for start, (what, fix) in _FOREIGN.items():
        if head.startswith(start):
            raise SourceError(file.name, f"the file is {what}", fix)
    for start, binary in _BINARY_FORMATS.items():
        if head.startswith(start):
            return Content(binary)
    encoding = seems_to_be(head)
    text = decoded(head, encoding)
    if "\0" in text:
        raise SourceError(file.name, "the file is binary, of no format known here", f"give one of {' '.join(FORMATS)}")
    known = format_of(file.path)[0]
    if _JSON.match(text):
        return Content("json", encoding=encoding)
    delimiter, rows = find_delimiter(text, whole=len(head) < HEAD_BYTES)
    if known == "csv" or (delimiter and rows > 1 and not re.search(r"^\s*\{", text, re.MULTILINE)):
        return Content("csv", delimiter, encoding)
    if known == "json":
        return Content("json", encoding=encoding)
    what = "plain text: neither JSON nor a table with a delimiter, so there is no question and no answer in it"
    raise SourceError(file.name, what, "bring it into rows: a CSV with a column for each, or one JSON object a line")


def find_delimiter(text: str, whole: bool) -> tuple[str | None, int]:
    """The one of `,` `;` tab `|` that gives a steady number of cells above 1, and the rows it was tried on.

    None where there is none. Unless the text is `whole`, its last row does not count.
    """
    best: tuple[float, int, int] = (0.0, 0, 0)
    found: str | None = None
    for delimiter in _DELIMITERS:
        try:
            rows = list(islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), _ROWS))
        except csv.Error:
            continue
        rows = [row for row in (rows if whole or len(rows) == _ROWS else rows[:-1]) if row]
        width = len(rows[0]) if rows else 0
        steady = sum(len(row) == width for row in rows) / len(rows) if rows else 0.0
        if width > 1 and steady >= _STEADY and (steady, width, len(rows)) > best:
            best, found = (steady, width, len(rows)), delimiter
    return found, best[2]


def decoded(data: bytes, encoding: str | None) -> str:
    """The text of a file's beginning, which may break off within a character; bad bytes become U+FFFD."""
    text = codecs.getincrementaldecoder(encoding or "utf-8")("replace").decode(data)
    return text.removeprefix("\ufeff")


def _head(file: RawFile) -> bytes:
    try:
        with file.open() as stream:
            return stream.read(HEAD_BYTES)
    except OSError as error:
        raise SourceError(file.name, f"cannot be read ({error})", "mend or replace the file") from error
