"""The build: from raw files to a bundle, stage by stage, as DESIGN section 1 draws it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa

from pipeline import report
from pipeline.bad_rows import require_good_rows
from pipeline.bundle import JSONL, Outcome
from pipeline.configuration import Build
from pipeline.damage import require_whole
from pipeline.decontaminate.found import make_overlaps
from pipeline.decontaminate.sets import evaluation_error, make_sets, set_warnings
from pipeline.dedup.exact import preference
from pipeline.errors import ConfigErrors, PoolmixError, SourceError, StoreError
from pipeline.folder import DATA
from pipeline.ingest import make_pool
from pipeline.inputs import Inputs, input_warnings, make_inputs
from pipeline.kept import Kept
from pipeline.keys import rank
from pipeline.locks import using
from pipeline.manifest import Bundle, open_bundle
from pipeline.mix.order import order_rows
from pipeline.mix.plan import measure
from pipeline.mix.strategies import plan_mix
from pipeline.needs import require_for_inputs, require_for_mix
from pipeline.places import stack
from pipeline.pool import Pool
from pipeline.publish import publish, require_replaceable
from pipeline.room import require_place
from pipeline.selection import select_rows
from pipeline.sources.files import find_files
from pipeline.split import choose_validation, reuse_validation, split_warnings
from pipeline.store import open_table
from pipeline.tokens.cutting import EncodedRows
from pipeline.tools import Tools

_LOG = logging.getLogger(__name__)


def build(settings: Build, with_: Tools, command: str, sweep: bool, say: report.Say) -> Path:
    """Run every stage and publish the bundle; returns its folder.

    Raises: PoolmixError for what the user can mend; finished pools stay, nothing else is left behind.
    """
    require_settings(settings)
    if settings.out is not None and not sweep:  # in a sweep it holds a folder for each job
        require_replaceable(settings.out)
    with using(settings.paths.pools):
        return _build(settings, with_, command, sweep, say)


def _build(settings: Build, with_: Tools, command: str, sweep: bool, say: report.Say) -> Path:
    # Evaluation sets first: they are small, and one that cannot be had is said before the long work.
    sets = make_sets(settings.decontaminate.against, settings.paths.pools, settings.max_chars, say, _width(settings))
    pools = make_pools(settings, say)
    found = make_overlaps(pools, sets, settings.decontaminate, settings.paths.pools)
    require_for_inputs(with_)
    inputs = make_inputs(settings.inputs, pools, settings.paths.pools, with_, say)
    if settings.split.validation_from is None:  # a reused validation split is rendered when it is written
        with_.dismiss()
    require_for_mix(pools, inputs)
    outcome = decide(settings, pools, sets, found, inputs, say)
    for warning in outcome.warnings:
        _LOG.warning("warning: %s", warning)
    return publish(settings, outcome, with_, command, sweep, say)


def decide(
    settings: Build, pools: Sequence[Pool], sets: Sequence[Pool], found: Sequence[Kept], inputs: Inputs, say: report.Say
) -> Outcome:
    """Select rows, split, plan the mix and order its rows.

    `sets` are the pools of the evaluation sets, `found` what these have of each pool.
    """
    rows = stack(pools, inputs.texts)
    encoded = EncodedRows([kept.table() for kept in inputs.ids], settings.inputs.cutting) if inputs.ids else None
    earlier = _validation_from(settings)
    reused = open_table(earlier.folder / "validation" / DATA) if earlier is not None else None
    selection = select_rows(settings, pools, [kept.table() for kept in found], reused, say, _width(settings))
    unique = selection.unique
    unique = unique.with_columns(fates(unique, settings, reused).alias("fate"))
    say(report.split_line(unique, _width(settings)))
    available = unique.filter(pl.col("fate") == "train")
    sizes = encoded.sizes(settings.mix.unit, available["at"]) if encoded is not None else pl.lit(1, pl.Int64)
    available = available.with_columns(sizes.alias("size"))
    plan = plan_mix(settings.mix, measure(available, [pool.name for pool in pools]))
    train = order_rows(available, plan, settings.seed, settings.mix.replacement)
    for line in report.mix_lines(settings.mix, plan, train):
        say(line)
    return Outcome(
        pools,
        sets,
        rows,
        selection,
        unique,
        plan,
        train=train,
        validation=validation_order(unique, settings.seed),
        warnings=[
            *split_warnings(unique, settings.split),
            *plan.warnings,
            *input_warnings(pools, inputs),
            *set_warnings(sets),
        ],
        inputs=inputs,
        encoded=encoded,
        earlier=earlier,
    )


def make_pools(settings: Build, say: report.Say) -> list[Pool]:
    """A pool for each source, in the order in which they keep a row that several have.

    Raises: SourceError if too many rows of a source were refused, by this build or by the one that made its pool.
    """
    pools: list[Pool] = []
    width = _width(settings)
    for name in preference(list(settings.sources), settings.dedup.prefer):
        with report.progress(f"normalize  {name}") as advance:
            pool = make_pool(
                settings.sources[name], settings.paths.pools, settings.max_chars, advance, settings.max_record_bytes
            )
        say(report.pool_line(pool, width))
        require_good_rows(pool, settings.bad_rows)
        pools.append(pool)
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
    for source in settings.decontaminate.against:
        try:
            if source.path is not None:
                find_files(source.name, source.path, source.format)
        except SourceError as error:
            errors.append(evaluation_error(source, error))
    if errors:
        raise ConfigErrors(errors)


def _validation_from(settings: Build) -> Bundle | None:
    """The bundle whose validation split is reused, if one is. Raises: StoreError if that split is damaged."""
    if settings.split.validation_from is None:
        return None
    bundle = open_bundle(settings.split.validation_from, settings.paths.bundles)
    require_whole(bundle, [f"validation/{DATA}", JSONL["validation"]])
    return bundle


def fates(unique: pl.DataFrame, settings: Build, reused: pa.Table | None) -> pl.Series:
    """What becomes of each unique row: `train` (available for it), `validation`, `prompt_in_validation`."""
    if reused is None:
        validation = choose_validation(unique, settings.split, settings.seed)
        return pl.select(pl.when(validation).then(pl.lit("validation")).otherwise(pl.lit("train"))).to_series()
    return reuse_validation(unique, pl.DataFrame(pl.from_arrow(reused.select(["key", "prompt_key"]))))


def validation_order(unique: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The validation rows by their rank, so that the first *n* are a fair sample for every model."""
    rows = unique.filter(pl.col("fate") == "validation").with_columns(rank(seed, "validation", "key").alias("rank"))
    return rows.sort("rank", "key").select("at", pl.lit(0, pl.Int32).alias("epoch"))


def _width(settings: Build) -> int:
    """Of the longest name that is printed."""
    return max(len(source.name) for source in (*settings.sources.values(), *settings.decontaminate.against))
