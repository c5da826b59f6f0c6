"""A finding as the YAML of a source: settings, with what speaks for them as comments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.sniff.quoting import one_line, scalar
from pipeline.sniff.sniff import Finding, counted

_COLUMNS = 20  # listed
_FILES = 20


def source_yaml(finding: Finding, hints: Sequence[str]) -> str:
    """The YAML file of the source; `hints` end it, a comment each."""
    ends = [f"# {one_line(hint, 2000)}" for hint in hints]
    return "\n".join([*_reasons(finding), *_settings(finding), *ends]) + "\n"


def _reasons(finding: Finding) -> Iterator[str]:
    shape = finding.kind.shape
    needed = ", ".join(map(one_line, finding.needed))
    yield f"# {shape}: rows with {needed}, as sniff found them"
    refused = finding.records - finding.kept
    rest = f"; {refused:,} {'does' if refused == 1 else 'do'} not: {counted(finding.refused)}" if refused else ""
    part = "" if finding.whole else "the first "
    yield f"# {finding.kept:,} of {part}{finding.records:,} rows fit{rest}"
    yield "# columns, with an example:"
    for column in finding.columns[:_COLUMNS]:
        yield f"#   {one_line(column.name)} ({column.kind}): {one_line(column.example)}"
    if len(finding.columns) > _COLUMNS:
        yield f"#   and {len(finding.columns) - _COLUMNS:,} more"
    if len(finding.files) > 1 or finding.others:
        names = [one_line(name) for name in finding.files[:_FILES]]
        more = f" and {len(finding.files) - _FILES:,} more" if len(finding.files) > _FILES else ""
        yield f"# of this kind: {', '.join(names)}{more}"
    for file, reason in list(finding.others.items())[:_FILES]:
        yield f"# not of this kind: {one_line(file)} ({one_line(reason, 200)})"
    if len(finding.others) > _FILES:
        yield f"# not of this kind: {len(finding.others) - _FILES:,} more"
    if finding.mixed:
        yield "# the path means those of another kind, too: take them out, or sniff each file alone"
    if finding.unread:
        yield f"# not looked at: {finding.unread:,} more files"


def _settings(finding: Finding) -> Iterator[str]:
    kind = finding.kind
    yield f"shape: {kind.shape}"
    yield f"tags: [{', '.join(map(scalar, finding.tags))}]"
    if kind.columns:
        yield "columns:"
        yield from (f"  {role}: {scalar(name)}" for role, name in kind.columns.items())
    for key in ("format", "delimiter", "encoding"):
        if (value := getattr(kind, key)) is not None:
            yield f"{key}: {scalar(value)}"
    yield f"path: {scalar(finding.path)}"
    yield "licence: null            # not said in the data: set it to what its authors say"
