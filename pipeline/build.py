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
from pipeline.bundle import Outcome, copy_split, write_split
from pipeline.configuration import Build
from pipeline.dedup.exact import mark_duplicates, preference, prompts_with_several_answers
from pipeline.errors import ConfigError, ConfigErrors, PoolmixError, SourceError, StoreError
from pipeline.folder import DATA, Folder
from pipeline.ingest import make_pool
from pipeline.inputs import Inputs, input_warnings, make_inputs
from pipeline.keys import rank
from pipeline.manifest import bundle_manifest, card, open_bundle
from pipeline.mix.order import order_rows
from pipeline.mix.plan import measure
from pipeline.mix.strategies import plan_mix
from pipeline.places import stack
from pipeline.pool import Pool
from pipeline.schema import REFUSED_COLUMNS
from pipeline.sources.files import find_files
from pipeline.split import choose_validation, reuse_validation, split_warnings
from pipeline.store import lock, new_folder, open_table, require_place, write_pointer, writing
from pipeline.tokens.cutting import EncodedRows
from pipeline.tokens.dataset import tokens_key, write_tokens
from pipeline.tokens.of_bundle import encode_table, renderer_of, rows_in_order
from pipeline.tools import Tools

_LOG = logging.getLogger(__name__)


def build(settings: Build, with_: Tools, command: str, sweep: bool, say: report.Say) -> Path:
    """Run every stage and publish the bundle; returns its folder.

    Raises: PoolmixError for what the user can mend; finished pools stay, nothing else is left behind.
    """
    require_settings(settings)
    with writing(settings.paths.pools):
        pools = make_pools(settings, say)
        inputs = make_inputs(settings.inputs, pools, settings.paths.pools, with_, say)
    outcome = decide(settings, pools, inputs, say)
    for warning in outcome.warnings:
        _LOG.warning("warning: %s", warning)
    with writing(settings.out or settings.paths.bundles):
        return publish(settings, outcome, with_, command, sweep, say)


def decide(settings: Build, pools: Sequence[Pool], inputs: Inputs, say: report.Say) -> Outcome:
    """Deduplicate, split, plan the mix and order its rows."""
    rows = stack(pools, inputs.texts)
    encoded = EncodedRows([kept.table() for kept in inputs.ids], settings.inputs.cutting) if inputs.ids else None
    frame = keys_of(pools)
    copy = mark_duplicates(frame)
    copies = frame.select("source", copy.alias("copy")).filter(pl.col("copy").is_not_null())
    unique = frame.filter(copy.is_null())
    width = max(len(pool.name) for pool in pools)
    say(report.dedup_line(len(frame), copies, len(prompts_with_several_answers(unique)), width))
    unique = unique.with_columns(fates(unique, settings).alias("fate"))
    say(report.split_line(unique, width))
    available = unique.filter(pl.col("fate") == "train")
    sizes = encoded.sizes(settings.mix.unit, available["at"]) if encoded is not None else pl.lit(1, pl.Int64)
    available = available.with_columns(sizes.alias("size"))
    plan = plan_mix(settings.mix, measure(available, [pool.name for pool in pools]))
    train = order_rows(available, plan, settings.seed, settings.mix.replacement)
    for line in report.mix_lines(settings.mix, plan, train):
        say(line)
    return Outcome(
        pools,
        rows,
        copies,
        unique,
        plan,
        train=train,
        validation=validation_order(unique, settings.seed),
        warnings=[*split_warnings(unique, settings.split), *plan.warnings, *input_warnings(pools, inputs)],
        encoded=encoded,
    )


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


def publish(settings: Build, outcome: Outcome, with_: Tools, command: str, sweep: bool, say: report.Say) -> Path:
    """Write the bundle beside its place and show it in one step."""
    name = f"{settings.mix.name}-{address(settings, outcome.pools, with_)[:8]}"
    folder = settings.paths.bundles / name
    if settings.out is not None:
        folder = settings.out / name if sweep else settings.out
    if folder.exists() and not (folder / "manifest.json").is_file() and any(folder.iterdir()):
        raise ConfigError(
            f"out={folder}", "the folder holds something else than a bundle", "name a new or empty folder"
        )
    with lock(settings.paths.pools, folder), new_folder(folder) as target:
        write(target, settings, outcome, with_, command, folder.name, say)
    inside = folder.parent == settings.paths.bundles
    write_pointer(settings.paths.bundles / "latest", folder.name if inside else str(folder.resolve()))
    return folder


def write(
    target: Folder, settings: Build, outcome: Outcome, with_: Tools, command: str, name: str, say: report.Say
) -> None:
    """Every file of the bundle, the manifest last."""
    digests = {"train": write_split(target, "train", outcome.rows, outcome.train)}
    reused = settings.split.validation_from
    if reused is None:
        digests["validation"] = write_split(target, "validation", outcome.rows, outcome.validation)
        validation_rows = len(outcome.validation)
    else:
        other = open_bundle(reused, settings.paths.bundles)
        render = renderer_of(settings.inputs, with_.renderer) if with_.renderer is not None else None
        copy_split(target, "validation", other.folder, render)
        digests["validation"], validation_rows = (
            other.manifest["digest"]["validation"],
            other.manifest["rows"]["validation"],
        )
    tokens = write_inputs(target, settings, outcome, with_, say)
    refused = [pool.refused() for pool in outcome.pools] + [leaked_rows(outcome)]
    target.write_text("quarantine.jsonl", pl.concat(refused).sort("source", "row").write_ndjson())
    manifest = bundle_manifest(settings, outcome, name, command, digests, validation_rows) | tokens
    target.write_text("README.md", card(manifest))
    target.write_json("dataset_dict.json", {"splits": ["train", "validation"]})
    target.write_json("manifest.json", manifest | {"files": dict(sorted(target.files.items()))})


def write_inputs(target: Folder, settings: Build, outcome: Outcome, with_: Tools, say: report.Say) -> dict[str, Any]:
    """`tokens/KEY/`, where the build has a tokenizer; returns what the manifest says of template and tokens."""
    if with_.renderer is None:
        return {}
    template = {"name": with_.renderer.template.name, "key": with_.renderer.template.key()}
    if outcome.encoded is None:
        return {"template": template}
    key = tokens_key(settings.inputs, with_)
    splits = {"train": (outcome.encoded, outcome.train)}
    if settings.split.validation_from is None:
        splits["validation"] = (outcome.encoded, with_source(outcome, outcome.validation))
    else:
        table = open_table(target.path / "validation" / DATA)
        rows = EncodedRows([encode_table(table, settings.inputs, with_, rendered=True)], settings.inputs.cutting)
        splits["validation"] = (rows, rows_in_order(table))
    manifest = write_tokens(target, f"tokens/{key}/", splits, settings.inputs, with_)
    for line in report.token_lines(manifest):
        say(line)
    return {"template": template, "tokens": {"key": key, **{k: v for k, v in manifest.items() if k != "format"}}}


def with_source(outcome: Outcome, order: pl.DataFrame) -> pl.DataFrame:
    """Rows of the pools with their `source`, all in stage 0."""
    names = pl.Series(list(outcome.rows.starts))
    source = names.gather(outcome.rows.source_of(order["at"].to_numpy()))
    return order.with_columns(source.alias("source"), pl.lit(0, pl.UInt8).alias("stage"))


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


def address(settings: Build, pools: Sequence[Pool], with_: Tools) -> str:
    """16 hex digits over everything that decides the bundle's content: equal builds get the same folder."""
    config: dict[str, Any] = {
        name: value for name, value in settings.config.items() if name not in ("out", "paths", "threads")
    }
    what = [config, [(pool.name, pool.manifest["fingerprint"]) for pool in pools]]
    what += [with_.renderer.template.key()] if with_.renderer is not None else []
    what += [with_.codec.file.digest] if with_.codec is not None else []
    return xxhash.xxh3_64_hexdigest(json.dumps(what, sort_keys=True, ensure_ascii=False, default=str).encode())
