"""What is said of a file whose shape is not known, and how its columns can be named by hand."""

from __future__ import annotations

import re
from itertools import islice

from pipeline.errors import SourceError
from pipeline.sniff.content import Content
from pipeline.sniff.quoting import one_line
from pipeline.sniff.sample import Sample
from pipeline.sources.files import RawFile

_SHOWN = 20  # columns
_TRIED = 1000  # columns
_TWO_COLUMNS = "bring it into rows with a column for the question and one for the answer"


# Columns (in lower case) that tell what a file is though no shape reads it; what that is, and what to do.
_TOLD = {
    frozenset({"message_id", "parent_id", "text"}): (
        "one message a row, whose conversations lie across rows",
        'write each tree of replies as one row, {"prompt": {"text": …, "role": …, "replies": […]}}',
    ),
    frozenset({"chosen", "rejected"}): (
        "answers chosen and rejected without a prompt",
        "write what both begin with into a column `prompt`, and what is left into `chosen` and `rejected`",
    ),
}


def unknown(file: RawFile, sample: Sample, content: Content) -> SourceError:
    """The error for a sample that no rule knows."""
    for columns, (told, fix) in _TOLD.items():
        if columns <= sample.named.keys():
            return SourceError(file.name, f"{told}; {listed(sample)}", fix)
    texts = _text_columns(sample)
    if len(sample.columns) == 1 and texts:
        what = f"plain text: only a column '{one_line(texts[0])}', so there is no question and no answer in it"
        return SourceError(file.name, what, _TWO_COLUMNS)
    return SourceError(file.name, f"no known shape; {listed(sample)}", by_hand(file, sample, content))


def listed(sample: Sample) -> str:
    """`columns: a (text), b (number)`."""
    shown = [f"{one_line(column.name)} ({column.kind})" for column in list(sample.columns.values())[:_SHOWN]]
    more = f" and {len(sample.columns) - _SHOWN:,} more" if len(sample.columns) > _SHOWN else ""
    return f"columns: {', '.join(shown) or 'none'}{more}"


def by_hand(file: RawFile, sample: Sample, content: Content) -> str:
    """How to name the columns oneself, with the two of the longest texts as an example."""
    texts = _text_columns(sample)
    if len(texts) < 2:
        return _TWO_COLUMNS
    user, assistant, path = (_typed(text, "NAME") for text in (*texts, str(file.path)))
    read = f"encoding: {content.encoding}, " if content.encoding else ""
    source = f"{{path: {path}, {read}shape: columns, columns: {{user: {user}, assistant: {assistant}}}}}"
    return f"name the columns: build mix=custom +mix.weights.mine=1 '+sources.mine={source}'"


def _typed(text: str, otherwise: str) -> str:
    """The text as it can stand within an override in single quotes, or what stands for it."""
    if re.fullmatch(r"[A-Za-z_./][\w./-]{0,199}", text, re.ASCII):
        return text
    return f'"{text}"' if text.isprintable() and len(text) < 200 and not re.search(r"['\"\\$]", text) else otherwise


def _text_columns(sample: Sample) -> list[str]:
    """The two columns with the longest texts, in the order in which they stand."""
    lengths = {
        name: sum(len(value) for value in values) / len(values)
        for name, column in islice(sample.columns.items(), _TRIED)
        if column.kind == "text" and (values := [str(value) for value in sample.values(name)])
    }
    longest = sorted(lengths, key=lambda name: -lengths[name])[:2]
    return [name for name in lengths if name in longest]
