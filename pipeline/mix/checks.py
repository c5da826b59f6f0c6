"""Proof from a bundle's rows and manifest that the mix is what was asked for: quotas, even use, order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from pipeline.mix.plan import Stretch, relative_weights, requested, stretches
from pipeline.mix.quotas import by_stage

Entries = Mapping[str, dict[str, Any]]

# Places are compared as floating-point numbers; this part of them is left to rounding.
_ROUNDING = 1e-12


def uneven_use(train: pl.DataFrame, manifest: Mapping[str, Any]) -> list[str]:
    """The uses of a row are numbered from 0 and differ by at most one within a source, unless drawn with replacement.

    In: `id`, `source`, `key`, `epoch` of the training rows.
    """
    uses = train.group_by("id", "source").agg(
        pl.len().alias("uses"),
        pl.col("epoch").n_unique().alias("epochs"),
        pl.col("epoch").max().alias("last"),
        pl.col("key").n_unique().alias("keys"),
    )
    faults = [
        f"{row}: its repeats are not numbered 0, 1, 2 …"
        for row in uses.filter(
            (pl.col("epochs") != pl.col("uses")) | (pl.col("last") != pl.col("uses") - 1) | (pl.col("keys") != 1)
        )["id"].sort()
    ]
    if manifest["config"]["mix"]["replacement"]:
        return faults
    extremes = (
        uses.group_by("source")
        .agg(pl.len().alias("rows"), pl.col("uses").max().alias("most"), pl.col("uses").min().alias("least"))
        .sort("source")
    )
    for source, rows, most, least in extremes.iter_rows():
        unused = rows < manifest["sources"].get(source, {}).get("available", 0)
        if most - (0 if unused else least) > 1:
            faults.append(f"{source}: some rows are used {most} times, others {0 if unused else least} times")
    return faults


def wrong_quotas(train: pl.DataFrame, manifest: Mapping[str, Any]) -> list[str]:
    """Rows against quotas, quotas against weights, and the manifest's own arithmetic. In: `source`."""
    entries: Entries = manifest["sources"]
    counts: dict[str, int] = dict(train["source"].value_counts().iter_rows())
    faults = [
        f"{name}: {counts.get(name, 0):,} rows, the manifest says {entry['train_rows']:,}"
        for name, entry in entries.items()
        if counts.get(name, 0) != entry["train_rows"]
    ]
    faults += [f"{name} is no source of this bundle" for name in sorted(counts.keys() - entries.keys())]
    got = sum(_got(entry) for entry in entries.values())
    for name, entry in entries.items():
        faults += [f"{name}: {fault}" for fault in _off_quota(entry, got)]
    return faults + _off_weights(manifest) + _off_stages(train, entries)


def _got(entry: Mapping[str, Any]) -> int:
    return entry["size"]["train"] if "size" in entry else entry["train_rows"]


def _off_quota(entry: Mapping[str, Any], whole: int) -> list[str]:
    """What of a source's numbers do not agree with each other. `whole`: what all sources gave, in the mix's unit."""
    size, quota, got = entry.get("size"), entry["quota"], _got(entry)
    available = size["available"] if size else entry["available"]
    near = quota == got
    if size:  # within half a row, or one row where that is more than the quota
        largest = size["largest"]
        near = (quota > 0) == (entry["train_rows"] > 0) and (2 * abs(got - quota) <= largest or quota < got <= largest)
        near = near and got <= entry["train_rows"] * largest
    faults = [] if near else [f"its quota is {quota:,}, it gave {got:,}"]
    for what, right in {"achieved_weight": got / (whole or 1), "epochs": got / (available or 1)}.items():
        if abs(entry[what] - right) > 1e-6:
            faults.append(f"{what} is {right:.6f}, the manifest says {entry[what]}")
    if "stages" in entry and (sum(entry["stages"]), sum(entry["stage_rows"])) != (quota, entry["train_rows"]):
        faults.append("its stages do not sum to its quota and rows")
    return faults


def _off_weights(manifest: Mapping[str, Any]) -> list[str]:
    """Quotas and requested weights that are not those of the configuration."""
    mix, entries = manifest["config"]["mix"], manifest["sources"]
    weights, schedule = _weights(mix), _schedule(mix)
    faults = [
        f"{name}: the configuration asks for {weight:.6f}, the manifest says {entries[name]['requested_weight']}"
        for name, weight in requested(weights, schedule).items()
        if abs(entries[name]["requested_weight"] - weight) > 1e-8
    ]
    if mix["strategy"] != "resample" or (mix["max_epochs"] is not None and mix["on_shortage"] == "renormalize"):
        return faults
    settled, _ = relative_weights(weights)
    left = {name: weight if _available(entries[name]) else 0.0 for name, weight in settled.items()}
    exact = by_stage(sum(entry["quota"] for entry in entries.values()), stretches(left, schedule))
    for k, quotas in enumerate(exact):
        said = {name: entry["stages"][k] if schedule else entry["quota"] for name, entry in entries.items()}
        stage = f" in stage {k + 1}" if schedule else ""
        faults += [
            f"{name}: its quota{stage} is {said[name]:,}, by its weight it is {quota:,}"
            for name, quota in quotas.items()
            if said[name] != quota
        ]
    return faults


def _available(entry: Mapping[str, Any]) -> int:
    return entry["size"]["available"] if "size" in entry else entry["available"]


def _weights(mix: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(weight) for name, weight in mix["weights"].items()}


def _schedule(mix: Mapping[str, Any]) -> list[Stretch]:
    return [Stretch(stage["until"], _weights(stage)) for stage in mix.get("schedule") or []]


def _off_stages(train: pl.DataFrame, entries: Entries) -> list[str]:
    """With a schedule: every stage has as many rows of each source as the manifest says."""
    faults: list[str] = []
    for k, rows in enumerate(_stages(train["source"], entries)):
        counts: dict[str, int] = dict(rows.value_counts().iter_rows())
        faults += [
            f"{name}: {counts.get(name, 0):,} rows in stage {k + 1}, the manifest says {entry['stage_rows'][k]:,}"
            for name, entry in entries.items()
            if "stage_rows" in entry and counts.get(name, 0) != entry["stage_rows"][k]
        ]
    return faults


def _stages(sources: pl.Series, entries: Entries) -> list[pl.Series]:
    """The rows of each stage; all of them without a schedule."""
    lengths = [sum(rows) for rows in zip(*(entry.get("stage_rows", []) for entry in entries.values()), strict=True)]
    starts = np.cumsum([0, *lengths])
    return [sources.slice(start, length) for start, length in zip(starts, lengths, strict=False)] or [sources]


def starved(train: pl.DataFrame, manifest: Mapping[str, Any]) -> list[str]:
    """Stretches from the start of a stage that do not hold its mix. In: `source` of the rows in their order.

    After every row there must be a part *t* of the stage at which all sources stand: within half a row of *t* times
    their quota (times their weight, where weights only order). Where the mix counts tokens the rows' sizes are not
    in the bundle; then it is within what rows up to the largest one can come to.
    """
    entries: Entries = manifest["sources"]
    mix = manifest["config"]["mix"]
    faults: list[str] = []
    for k, sources in enumerate(_stages(train["source"], entries)):
        quotas = {name: entry["stages"][k] if "stages" in entry else entry["quota"] for name, entry in entries.items()}
        pace: Mapping[str, float] = quotas
        if mix["strategy"] == "interleave" and mix["stop"] == "all_exhausted":
            pace = relative_weights(_weights(mix))[0]
        parts = [
            (name, *_between((sources == name).to_numpy(), quotas[name], entry), pace[name])
            for name, entry in entries.items()
            if quotas[name] and len(sources)
        ]
        faults += _apart(parts, len(sources))
    return faults


def _between(own: np.ndarray, quota: int, entry: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """After every row the least and the most that the source's place can be, in units of its quota."""
    before = np.cumsum(own)
    left = before[-1] - before
    if "size" not in entry:
        least = most = before
        slack = 0.5
    else:
        largest = entry["size"]["largest"]
        slack = (1.5 if "stages" in entry else 0.5) * largest  # a stage can begin a row late and half a row early
        least = np.maximum(0, quota - slack - left * largest)
        most = np.minimum(before * largest, quota + largest)
    return least - slack, np.where(left > 0, most + slack, np.inf)  # a source that has run out can be anywhere later


def _apart(parts: Sequence[tuple[str, np.ndarray, np.ndarray, float]], rows: int) -> list[str]:
    """A fault if at some row no part of the stage fits all sources, each given by name, bounds and pace."""
    low, high = np.full(rows, -np.inf), np.full(rows, np.inf)
    ahead, behind = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
    for k, (_, least, most, pace) in enumerate(parts):
        ahead[least / pace > low], behind[most / pace < high] = k, k
        low, high = np.maximum(low, least / pace), np.minimum(high, most / pace)
    wrong = np.flatnonzero(low > high * (1 + _ROUNDING))
    if not len(wrong):
        return []
    n = int(wrong[np.argmax((low - high)[wrong])])
    return [
        f"{parts[ahead[n]][0]} has come too often, {parts[behind[n]][0]} too seldom after {n + 1:,} of {rows:,} rows"
    ]
