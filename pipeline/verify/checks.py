"""Proof that a written bundle keeps the rules of DESIGN section 4, from its files alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.bundle import JSONL
from pipeline.entries import BundleManifest
from pipeline.errors import SchemaError, StoreError
from pipeline.manifest import Bundle
from pipeline.mix.checks import starved, uneven_use, wrong_quotas
from pipeline.pool import DUPLICATES, read_duplicates, read_quarantine
from pipeline.verify.files import wrong_files
from pipeline.verify.manifest import wrong_manifest, wrong_numbers
from pipeline.verify.reread import Reread, reread
from pipeline.verify.spans import wrong_spans
from pipeline.verify.tokens import wrong_tokens

FILES = "every file has the bytes that the manifest says, and no other file is there"


@dataclass(frozen=True)
class Check:
    """One promise: its name, what it says, and what was found against it (nothing: it holds)."""

    name: str
    promise: str
    faults: list[str]


def verify(bundle: Bundle) -> Iterator[Check]:
    """Check a bundle promise by promise. Stops after the files if they are not as they were written."""
    manifest = bundle.manifest
    yield (files := files_check(bundle.folder))
    if files.faults:
        return
    splits: dict[str, Reread] = {}
    faults: list[str] = []
    for name in ("train", "validation"):
        try:
            splits[name] = reread(bundle.folder, name)
        except (SchemaError, StoreError) as error:
            faults.append(str(error))
    yield Check("schema", "both splits have the columns of a bundle", faults)
    if faults:
        return
    yield from _rows(manifest, splits)
    yield from _mix(bundle, splits["train"].frame, splits["validation"].frame)
    if "template" in manifest:
        yield Check(
            "spans",
            "targets are ranges of the text, in order and apart; repeats of a row have the same",
            [fault for name in splits for fault in wrong_spans(bundle.folder, name)],
        )
    if "tokens" in manifest or (bundle.folder / "tokens").exists():
        yield Check(
            "tokens",
            "sequences have the rows, tokens and labels that their manifest says",
            wrong_tokens(bundle.folder, manifest, {name: split.frame["source"] for name, split in splits.items()}),
        )


def _rows(manifest: dict[str, Any], splits: Mapping[str, Reread]) -> Iterator[Check]:
    """What the rows of each split must be by themselves."""
    yield Check(
        "rows",
        "both splits have as many rows as the manifest says",
        _unequal({name: len(split.frame) for name, split in splits.items()}, manifest["rows"]),
    )
    yield Check(
        "digest",
        "the content digests are those of the rows in their order",
        _unequal({name: split.digest for name, split in splits.items()}, manifest["digest"]),
    )
    yield Check(
        "keys",
        "each row's keys are the hashes of its messages and tools",
        [fault for split in splits.values() for fault in split.wrong_keys],
    )
    yield Check(
        "normalized",
        "text is clean and roles are in order",
        [fault for split in splits.values() for fault in split.wrong_rows],
    )
    yield Check(
        "jsonl",
        "JSONL holds the same rows in the same order as Arrow",
        [
            f"{JSONL[name]} differs from {name}/"
            for name, split in splits.items()
            if split.jsonl != manifest["files"][JSONL[name]]["xxh3_128"]
        ],
    )


def _mix(bundle: Bundle, train: pl.DataFrame, validation: pl.DataFrame) -> Iterator[Check]:
    """What the splits must be to each other, to the sources and to the weights."""
    manifest = bundle.manifest
    yield Check("no_leakage", "no prompt stands on both sides", _leaks(train, validation))
    yield Check("validation_once", "no validation row is repeated, neither there nor in train", _repeats(validation))
    yield Check(
        "repeats",
        "the repeats of a row are numbered 0, 1, 2 …, and even out within a source",
        uneven_use(train, manifest),
    )
    yield Check(
        "sums", "raw rows = quarantined + duplicates + unique; unique = validation + available", _sums(manifest)
    )
    yield Check("quarantine", "quarantine.jsonl lists exactly the rows counted as quarantined", _quarantine(bundle))
    if (bundle.folder / DUPLICATES).is_file():
        yield Check(
            "duplicates",
            "duplicates.jsonl lists exactly the near copies and conflicts that are counted",
            _duplicates(bundle),
        )
    yield Check("left", "no row that is quarantined, a near copy or a conflict stands in train", _left(bundle, train))
    yield Check("quotas", "each source has its quota, exact by largest remainder", wrong_quotas(train, manifest))
    yield Check("prefixes", "every stretch from the start holds the mix", starved(train, manifest))


def files_check(folder: Path) -> Check:
    """The files of a bundle, its manifest among them."""
    manifest, faults = wrong_manifest(folder, BundleManifest)
    if manifest:
        faults += [*wrong_files(folder, manifest["files"], besides=["tokens"]), *wrong_numbers(manifest)]
    return Check("files", FILES, faults)


def _unequal(found: dict[str, Any], said: dict[str, Any]) -> list[str]:
    return [
        f"{name}: found {found[name]}, the manifest says {said.get(name)}"
        for name in found
        if found[name] != said.get(name)
    ]


def _leaks(train: pl.DataFrame, validation: pl.DataFrame) -> list[str]:
    both = train.join(validation.select("prompt_key").unique(), on="prompt_key", how="semi")
    return [f"{row}: its prompt is in validation too" for row in both["id"].unique().sort()]


def _repeats(validation: pl.DataFrame) -> list[str]:
    twice = validation.filter(pl.col("key").is_duplicated() | (pl.col("epoch") != 0))
    return [f"{row} stands in validation more than once" for row in twice["id"].unique().sort()]


def _sums(manifest: dict[str, Any]) -> list[str]:
    faults: list[str] = []
    for name, entry in manifest["sources"].items():
        gone = sum(entry["quarantined"].values()) + sum(entry["duplicates"].values())
        if entry["raw_rows"] != gone + entry["unique"]:
            faults.append(f"{name}: {entry['raw_rows']:,} raw rows, but {gone:,} gone and {entry['unique']:,} unique")
        if entry["unique"] != entry["validation"] + entry["available"]:
            faults.append(
                f"{name}: {entry['unique']:,} unique, but {entry['validation']:,} validation and "
                f"{entry['available']:,} available"
            )
    return faults


def _quarantine(bundle: Bundle) -> list[str]:
    return _miscounted(
        read_quarantine(bundle.folder).select("source", pl.col("reason").alias("kind")), _said(bundle, "quarantined")
    )


def _duplicates(bundle: Bundle) -> list[str]:
    listed = read_duplicates(bundle.folder).select(
        pl.col("id").str.replace(r":\d+$", "").alias("source"), pl.col("copy").alias("kind")
    )
    said = {
        (name, kind): count
        for (name, kind), count in _said(bundle, "duplicates").items()
        if kind in ("near", "conflict") and count
    }
    return _miscounted(listed, said)


def _said(bundle: Bundle, what: str) -> dict[tuple[str, str], int]:
    entries = bundle.manifest["sources"]
    return {(name, kind): count for name, entry in entries.items() for kind, count in entry[what].items()}


def _miscounted(listed: pl.DataFrame, said: Mapping[tuple[str, str], int]) -> list[str]:
    """In: `source` and `kind` of the rows that are listed."""
    found = {(source, kind): count for source, kind, count in listed.group_by("source", "kind").len().iter_rows()}
    return [
        f"{name}, {kind}: {found.get((name, kind), 0):,} listed, {said.get((name, kind), 0):,} counted"
        for name, kind in sorted(found.keys() | said.keys())
        if found.get((name, kind)) != said.get((name, kind))
    ]


def _left(bundle: Bundle, train: pl.DataFrame) -> list[str]:
    refused = read_quarantine(bundle.folder).select(pl.format("{}:{}", "source", "row").alias("id"))
    gone = pl.concat([refused, read_duplicates(bundle.folder).select("id")])
    return [f"{row} stands in train" for row in train.join(gone, on="id", how="semi")["id"].unique().sort()]
