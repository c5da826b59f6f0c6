"""What training reads of the rows: their texts, and their token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import report
from pipeline.input_settings import InputSettings
from pipeline.kept import Kept
from pipeline.pool import Pool
from pipeline.render.texts import make_texts
from pipeline.tokens.ids import make_ids
from pipeline.tools import Tools


@dataclass(frozen=True)
class Inputs:
    """Texts and ids of the pools, in the order of the pools; empty where they are not asked for."""

    texts: Sequence[Kept]
    ids: Sequence[Kept]


def make_inputs(settings: InputSettings, pools: Sequence[Pool], place: Path, with_: Tools, say: report.Say) -> Inputs:
    """Render and encode what the pools do not have yet; `place` is the folder of all pools."""
    texts: list[Kept] = []
    ids: list[Kept] = []
    if with_.renderer is None:
        return Inputs([], [])
    for pool in pools:
        with report.progress(f"render  {pool.name}") as advance:
            texts.append(make_texts(pool, place, with_.renderer, settings.loss_of(pool.name), advance))
    width = max(len(pool.name) for pool in pools)
    say(report.render_line(texts, width))
    if with_.codec is not None:
        for pool, text in zip(pools, texts, strict=True):
            with report.progress(f"tokenize  {pool.name}") as advance:
                ids.append(make_ids(pool, text, place, with_.codec, with_.renderer, advance))
        say(report.ids_line(ids, width))
    return Inputs(texts, ids)


def input_warnings(pools: Sequence[Pool], inputs: Inputs) -> list[str]:
    """What the user should know: rows without text, and rows without tokens although they have a text."""
    warnings: list[str] = []
    for pool, text in zip(pools, inputs.texts, strict=False):
        if text.manifest["refused"]:
            (row, error), name = text.manifest["first_refused"], text.manifest["template"]
            warnings.append(
                f"{text.manifest['refused']:,} rows of {pool.name} have no text, as {name} cannot render them "
                f"({row}: {error})"
            )
    for pool, ids in zip(pools, inputs.ids, strict=False):
        if ids.manifest["unmarked"]:
            warnings.append(
                f"{ids.manifest['unmarked']:,} rows of {pool.name} have no tokens: special tokens in their text "
                "cannot be told from the template's"
            )
    return warnings
