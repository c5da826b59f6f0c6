"""From a path to what lies there: each file looked at, and those that are alike put together."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import PoolmixError, SourceError
from pipeline.sniff.content import Content, look
from pipeline.sniff.fit import Fit, best_fit
from pipeline.sniff.refusals import by_hand, listed, unknown
from pipeline.sniff.sample import Column, Sample, take_sample
from pipeline.sources.files import RawFile, find_files, format_of
from pipeline.sources.shapes import SHAPES

# A folder may hold thousands of parts of one data set.
MAX_FILES = 100
_LEAST = 0.5  # of the records must fit


@dataclass(frozen=True)
class Kind:
    """All that a source's YAML says about how to read a file: `columns` by role where they have not the shape's
    usual names; None where the file's ending says it already."""

    shape: str
    columns: Mapping[str, str]
    format: str | None
    delimiter: str | None
    encoding: str | None


@dataclass(frozen=True)
class Finding:
    """What lies at a path. `records`, `kept` and `refused` count over the files of this kind, which `files` names;
    `others` has every other file with the reason why it is none of them. `mixed`: some of those would be read at
    `path`, too. `needed` are the columns without which there is no row. `whole`: all records were looked at."""

    kind: Kind
    path: str
    tags: Sequence[str]
    columns: Sequence[Column]
    needed: Sequence[str]
    files: Sequence[str]
    others: Mapping[str, str]
    mixed: bool
    unread: int
    records: int
    kept: int
    refused: Mapping[str, int]
    whole: bool


@dataclass(frozen=True)
class _Looked:
    file: RawFile
    kind: Kind
    sample: Sample
    fit: Fit


def sniff(path: str, records: int, max_chars: int) -> Finding:
    """Say what the file, folder or glob at `path` holds, by at most `records` records of each file.

    Raises: SourceError if there is nothing to read, or nothing whose shape is known.
    """
    files = _files(path)
    looked: list[_Looked] = []
    faults: dict[str, PoolmixError] = {}
    for file in files[:MAX_FILES]:
        try:
            looked.append(_looked(file, records, max_chars))
        except SourceError as fault:
            faults[file.name] = fault
    if not looked:
        first = next(iter(faults.values()))
        where = path if len(files) == 1 else f"{path}, {next(iter(faults))}"
        raise SourceError(where, first.what, first.fix)
    groups: list[list[_Looked]] = []
    for one in looked:
        group = next((group for group in groups if all(_alike(one.kind, other.kind) for other in group)), None)
        group.append(one) if group else groups.append([one])
    most = max(groups, key=lambda group: (len(group), sum(one.fit.records for one in group)))
    others = {one.file.name: _differs(one.kind, most[0].kind) for group in groups if group is not most for one in group}
    others |= {name: fault.what for name, fault in faults.items()}
    others |= dict.fromkeys(_ignored(path), "not a data file by its ending")
    return _finding(path, files, most, dict(sorted(others.items())))


def _files(path: str) -> list[RawFile]:
    try:
        return find_files("sniff", path, "json")  # any format: the content decides
    except SourceError as error:
        raise SourceError(path, error.what, "give path= a file, a glob or a folder with data files") from None


def _ignored(path: str) -> list[str]:
    """The other files of a folder, hidden ones left out."""
    place = Path(path).expanduser()
    if not place.is_dir():
        return []
    files = [file for file in place.iterdir() if file.is_file() and not file.name.startswith(".")]
    return [file.name for file in files if format_of(file)[0] is None]


def _looked(file: RawFile, records: int, max_chars: int) -> _Looked:
    """Raises: SourceError if the file cannot be read or has no known shape."""
    content = look(file)
    sample = take_sample(file, content, records)
    fit = best_fit(sample, max_chars)
    if fit is None:
        raise unknown(file, sample, content)
    if fit.share < _LEAST:
        what = f"only {fit.kept:,} of {fit.records:,} rows fit {fit.guess.shape}: {counted(fit.refused)}"
        raise SourceError(file.name, f"{what}; {listed(sample)}", by_hand(file, sample, content))
    return _Looked(file, _kind(file, content, fit), sample, fit)


def counted(reasons: Mapping[str, int]) -> str:
    """`empty_answer 2, wrong_type 1`."""
    return ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())


def _kind(file: RawFile, content: Content, fit: Fit) -> Kind:
    usual = SHAPES[fit.guess.shape].columns
    return Kind(
        shape=fit.guess.shape,
        columns={role: column for role, column in fit.guess.columns.items() if usual.get(role) != column},
        format=content.format if content.format != format_of(file.path)[0] else None,
        delimiter=content.delimiter if content.delimiter != file.delimiter else None,
        encoding=content.encoding,
    )


def _alike(a: Kind, b: Kind) -> bool:
    """Whether one YAML can describe both: some files may lack columns that others have."""
    shared = a.columns.keys() & b.columns.keys()
    return replace(a, columns=b.columns) == b and all(a.columns[role] == b.columns[role] for role in shared)


def _differs(kind: Kind, from_: Kind) -> str:
    if kind.shape != from_.shape:
        return f"shape {kind.shape}"
    if replace(kind, columns=from_.columns) == from_:
        return f"shape {kind.shape} with other columns: {', '.join(kind.columns.values())}"
    how = [kind.format, kind.delimiter and f"delimiter {kind.delimiter}", kind.encoding]
    return ", ".join(filter(None, how)) or "as its ending says"


def _finding(path: str, files: Sequence[RawFile], most: Sequence[_Looked], others: Mapping[str, str]) -> Finding:
    refused, guess = Counter[str](), most[0].fit.guess
    kind = replace(most[0].kind, columns={role: name for one in most for role, name in one.kind.columns.items()})
    columns: dict[str, Column] = {}
    for one in most:
        refused.update(one.fit.refused)
        columns |= {name: column for name, column in one.sample.columns.items() if name not in columns}
    tags = [tag for tag in most[0].fit.tags if all(tag in one.fit.tags for one in most)]
    alike = {one.file.path for one in most}
    narrowed = _narrowed(path, files, alike)
    return Finding(
        kind=kind,
        path=narrowed,
        tags=tags,
        columns=list(columns.values()),
        needed=[guess.columns[role] for role in guess.needs],
        files=[one.file.name for one in most],
        others=others,
        mixed=narrowed == path and len(alike) < len(files[:MAX_FILES]),
        unread=len(files[MAX_FILES:]),
        records=sum(one.fit.records for one in most),
        kept=sum(one.fit.kept for one in most),
        refused=dict(sorted(refused.items())),
        whole=all(one.sample.whole for one in most) and len(files) <= MAX_FILES,
    )


def _narrowed(path: str, files: Sequence[RawFile], alike: set[Path]) -> str:
    """The path; of a folder with other files one that means exactly those that are alike, if there is such a one."""
    if len(alike) == len(files[:MAX_FILES]) or not Path(path).expanduser().is_dir():
        return path
    if len(alike) == 1:
        return str(Path(path) / next(iter(alike)).name)
    for ending in sorted({"".join(file.suffixes) for file in alike}):
        if {file.path for file in files if file.path.name.endswith(ending)} == alike:
            return str(Path(glob.escape(path)) / f"*{glob.escape(ending)}")
    return path
