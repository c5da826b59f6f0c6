"""The texts of a pool under one template and loss: rendered once, kept beside the pool's rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.folder import DATA, Folder
from pipeline.kept import Kept, keep
from pipeline.pool import LINES, Pool
from pipeline.render.loss import Loss
from pipeline.render.render import Rendering, render
from pipeline.render.renderer import Renderer
from pipeline.schema import RENDERED
from pipeline.tools import texts_folder
from pipeline.workers import in_order

FORMAT = "poolmix texts 1"


class _Differs(Exception):
    """An outline did not give what the template gives."""


def make_texts(
    pool: Pool, pools: Path, renderer: Renderer, loss: Loss, progress: Callable[[int], None] = lambda _: None
) -> Kept:
    """The columns RENDERED for each row of a pool: found if they are there and whole, rendered otherwise.

    A row that the template refuses has a null and no targets; the manifest counts them as `refused`.
    Raises: TemplateError if the template is not valid, or takes more time or memory than it may.
    """

    def make(outlines: bool) -> Kept:
        rendering = Rendering(renderer, loss, outlines)
        folder = texts_folder(pool.folder, renderer, loss)
        size = pool.manifest["files"][LINES]["bytes"]  # texts take 0.8 to 1.2 times as much
        return keep(pools, folder, FORMAT, lambda target: _write(target, pool, rendering, progress), size)

    try:
        return make(outlines=True)
    except _Differs:
        return make(outlines=False)


def _write(target: Folder, pool: Pool, rendering: Rendering, progress: Callable[[int], None]) -> dict[str, Any]:
    refused: list[tuple[str, str]] = []
    rows = 0
    with target.table(DATA, RENDERED) as writer:
        batches = pool.rows().select(["id", "messages", "tools", "meta"]).to_batches()
        done = in_order(lambda batch: render(batch, rendering), batches)
        for batch, rendered in zip(batches, done, strict=True):
            if rendering.differing is not None:
                raise _Differs(rendering.differing)
            writer.write_batch(rendered.columns)
            refused += [(batch.column("id")[at].as_py(), error) for at, error in rendered.refused]
            rows += batch.num_rows
            progress(batch.num_rows)
    return {
        "template": rendering.renderer.template.name,
        "loss": rendering.loss.settings(),
        "outlines": rendering.outlines,
        "rows": rows,
        "refused": len(refused),
        "first_refused": list(refused[0]) if refused else None,
    }
