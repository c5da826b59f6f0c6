"""The build: from raw files to a bundle, stage by stage, as DESIGN section 1 draws it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import xxhash

from pipeline import report
from pipeline.bundle import Outcome, copy_split, stack, write_split
from pipeline.configuration import Build
from pipeline.dedup.exact import mark_duplicates, preference, prompts_with_several_answers
from pipeline.errors import ConfigError, ConfigErrors, PoolmixError, SourceError, StoreError
from pipeline.folder import DATA, Folder
from pipeline.ingest import make_pool
from pipeline.keys import rank
from pipeline.manifest import bundle_manifest, card, open_bundle
from pipeline.mix.strategies import order_rows, plan_mix
from pipeline.pool import Pool
from pipeline.schema import REFUSED_COLUMNS
from pipeline.sources.files import find_files
from pipeline.split import choose_validation, reuse_validation, split_warnings
from pipeline.store import lock, new_folder, open_table, require_place, write_pointer, writing

_LOG = logging.getLogger(__name__)


def build(settings: Build, command: str, sweep: bool, say: report.Say) -> Path:
    """Run every stage and publish the bundle; returns its folder.

    Raises: PoolmixError for what the user can mend; finished pools stay, nothing else is left behind.
    """
    require_settings(settings)
    with writing(settings.paths.pools):
        pools = make_pools(settings, say)
    rows = stack(pools)
    frame = keys_of(pools)
    copy = mark_duplicates(frame)
    copies = frame.select("source", copy.alias("copy")).filter(pl.col("copy").is_not_null())
    unique = frame.filter(copy.is_null())
    width = max(len(pool.name) for pool in pools)
    say(report.dedup_line(len(frame), copies, len(prompts_with_several_answers(unique)), width))
    unique = unique.with_columns(fates(unique, settings).alias("fate"))
    say(report.split_line(unique, width))
    available = unique.filter(pl.col("fate") == "train")
    sizes = {pool.name: 0 for pool in pools} | dict(available["source"].value_counts().iter_rows())
    plan = plan_mix(settings.mix, sizes)
    for line in report.mix_lines(settings.mix, plan, sizes):
        say(line)
    outcome = Outcome(
        pools,
        rows,
        copies,
        unique,
        plan,
        train=order_rows(available, plan, settings.seed, settings.mix.replacement),
        validation=validation_order(unique, settings.seed),
        warnings=[*split_warnings(unique, settings.split), *plan.warnings],
    )
    for warning in outcome.warnings:
        _LOG.warning("warning: %s", warning)
    with writing(settings.out or settings.paths.bundles):
        return publish(settings, outcome, command, sweep)


def make_pools(settings: Build, say: report.Say) -> list[Pool]:
    """A pool for each source, in the order in which they keep a row that several have."""
    pools: list[Pool] = []
    width = max(len(name) for name in settings.sources)
    for name in preference(list(settings.sources), settings.prefer):
        with report.progress(f"normalize  {name}") as advance:
            pools.append(make_pool(settings.sources[name], settings.paths.pools, settings.max_chars, advance))
        say(report.pool_line(pools[-1], width))
    return pools


def require_settings(settings: Build) -> None:
    """Raises: ConfigErrors with all that is not there or cannot be written, before any long work begins."""
    errors: list[PoolmixError] = []
    places = {"paths.pools": settings.paths.pools, "paths.bundles": settings.paths.bundles, "out": settings.out}
    for setting, place in places.items():
        try:
            if place is not None:
                require_place(setting, place)
        except StoreError as error:
            errors.append(error)
    try:
        if settings.split.validation_from is not None:
            open_bundle(settings.split.validation_from, settings.paths.bundles)
    except StoreError as error:
        errors.append(error)
    for source in settings.sources.values():
        try:
            if source.path is not None:
                find_files(source.name, source.path, source.format)
        except SourceError as error:
            errors.append(error)
    if errors:
        raise ConfigErrors(errors)


def keys_of(pools: Sequence[Pool]) -> pl.DataFrame:
    """`at`, `source`, `key`, `prompt_key` of all rows of the pools, end to end."""
    tables = [pl.from_arrow(pool.rows().select(["source", "key", "prompt_key"])) for pool in pools]
    return pl.concat(pl.DataFrame(table) for table in tables).with_row_index("at")


def fates(unique: pl.DataFrame, settings: Build) -> pl.Series:
    """What becomes of each unique row: `train` (available for it), `validation`, `prompt_in_validation`."""
    if settings.split.validation_from is None:
        validation = choose_validation(unique, settings.split, settings.seed)
        return pl.select(pl.when(validation).then(pl.lit("validation")).otherwise(pl.lit("train"))).to_series()
    reused = open_bundle(settings.split.validation_from, settings.paths.bundles)
    table = open_table(reused.folder / "validation" / DATA).select(["key", "prompt_key"])
    return reuse_validation(unique, pl.DataFrame(pl.from_arrow(table)))


def validation_order(unique: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The validation rows by their rank, so that the first *n* are a fair sample for every model."""
    rows = unique.filter(pl.col("fate") == "validation").with_columns(rank(seed, "validation", "key").alias("rank"))
    return rows.sort("rank", "key").select("at", pl.lit(0, pl.Int32).alias("epoch"))


def publish(settings: Build, outcome: Outcome, command: str, sweep: bool) -> Path:
    """Write the bundle beside its place and show it in one step."""
    name = f"{settings.mix.name}-{address(settings, outcome.pools)[:8]}"
    folder = settings.paths.bundles / name
    if settings.out is not None:
        folder = settings.out / name if sweep else settings.out
    if folder.exists() and not (folder / "manifest.json").is_file() and any(folder.iterdir()):
        raise ConfigError(
            f"out={folder}", "the folder holds something else than a bundle", "name a new or empty folder"
        )
    with lock(settings.paths.pools, folder), new_folder(folder) as target:
        write(target, settings, outcome, command, folder.name)
    inside = folder.parent == settings.paths.bundles
    write_pointer(settings.paths.bundles / "latest", folder.name if inside else str(folder.resolve()))
    return folder


def write(target: Folder, settings: Build, outcome: Outcome, command: str, name: str) -> None:
    """Every file of the bundle, the manifest last."""
    digests = {"train": write_split(target, "train", outcome.rows, outcome.train)}
    reused = settings.split.validation_from
    if reused is None:
        digests["validation"] = write_split(target, "validation", outcome.rows, outcome.validation)
        validation_rows = len(outcome.validation)
    else:
        other = open_bundle(reused, settings.paths.bundles)
        copy_split(target, "validation", other.folder)
        digests["validation"], validation_rows = (
            other.manifest["digest"]["validation"],
            other.manifest["rows"]["validation"],
        )
    refused = [pool.refused() for pool in outcome.pools] + [leaked_rows(outcome)]
    target.write_text("quarantine.jsonl", pl.concat(refused).sort("source", "row").write_ndjson())
    manifest = bundle_manifest(settings, outcome, name, command, digests, validation_rows)
    target.write_text("README.md", card(manifest))
    target.write_json("dataset_dict.json", {"splits": ["train", "validation"]})
    target.write_json("manifest.json", manifest | {"files": dict(sorted(target.files.items()))})


def leaked_rows(outcome: Outcome) -> pl.DataFrame:
    """The rows kept out because a reused validation split has their prompt, as quarantine rows."""
    at = outcome.unique.filter(pl.col("fate") == "prompt_in_validation")["at"].to_numpy().astype("int64")
    rows, lines = outcome.rows.rows.gather(at), outcome.rows.lines.gather(at)
    leaked = pl.DataFrame({"id": pl.Series(pl.from_arrow(rows["id"])), "text": pl.Series(pl.from_arrow(lines["line"]))})
    return leaked.select(
        pl.col("id").str.replace(r":\d+$", "").alias("source"),
        pl.col("id").str.extract(r":(\d+)$").cast(pl.Int64).alias("row"),
        pl.lit(None, pl.String).alias("file"),
        pl.lit(None, pl.Int64).alias("line"),
        pl.lit("prompt_in_validation").alias("reason"),
        pl.lit("the reused validation split has this prompt").alias("detail"),
        pl.col("text").str.head(200),
    ).cast(REFUSED_COLUMNS)


def address(settings: Build, pools: Sequence[Pool]) -> str:
    """16 hex digits over everything that decides the bundle's content: equal builds get the same folder."""
    config: dict[str, Any] = {
        name: value for name, value in settings.config.items() if name not in ("out", "paths", "threads")
    }
    what = [config, [(pool.name, pool.manifest["fingerprint"]) for pool in pools]]
    return xxhash.xxh3_64_hexdigest(json.dumps(what, sort_keys=True, ensure_ascii=False, default=str).encode())
