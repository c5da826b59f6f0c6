"""The memory of the stages that begin when the pools are made: estimated from what then is known, and refused before
they begin where it is not there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.folder import DATA
from pipeline.inputs import Inputs
from pipeline.memory import MIB, Need, budget, require
from pipeline.pool import LINES, Pool
from pipeline.tools import Tools

_FEWER = "keep fewer rows with filter= or mix.total_rows=, or set threads=1"
# Measured (MiB or bytes): a template in its process; a tokenizer here, and the one that it is compared with.
_RENDERING, _ENCODING = Need(40 * MIB, beside=80 * MIB), Need(90 * MIB, 30 * MIB, beside=200 * MIB)
# Of a row: its keys, hashes and places, in the frames of the stages and while they are sorted.
_ROW_BYTES = 400
# So many rows are gathered at a time, in as many pieces of memory.
_GATHERED_ROWS, _GATHERINGS = 1 << 13, 4.5
_ID_SHARE = 1.3  # of the bytes of token ids, while they are cut and packed
_NEAR, _NEAR_THREAD, _NEAR_SHARE = Need(40 * MIB), Need(20 * MIB, 8 * MIB), 9  # the share: of the texts' bytes


def require_for_inputs(with_: Tools) -> None:
    """Raises: MemoryShortError if there is too little for texts and token ids to be made."""
    need = (_RENDERING if with_.renderer is not None else Need(0)) + (_ENCODING if with_.codec is not None else Need(0))
    require("build", need, "rendering and tokenizing", fix="set template=none and no tokenizer")


def require_for_mix(pools: Sequence[Pool], inputs: Inputs) -> None:
    """Raises: MemoryShortError if there is too little to select, mix and write the rows of these pools."""
    data, lines = (sum(_bytes(pool.folder / name) for pool in pools) for name in (DATA, LINES))
    texts, ids = (sum(_bytes(kept.folder / DATA) for kept in many) for many in (inputs.texts, inputs.ids))
    rows = sum(pool.manifest["rows"] for pool in pools)
    gathered = (data + lines + texts) / max(rows, 1) * min(rows, _GATHERED_ROWS) * _GATHERINGS
    need = Need(rows * _ROW_BYTES + gathered + _ID_SHARE * ids, mapped=2 * data + lines + texts + ids)
    require("build", need, f"a mix of pools with {rows:,} rows", fix=_FEWER)


def require_for_near(texts: int) -> None:
    """Raises: MemoryShortError if there is too little to look for near copies in texts of so many bytes."""
    need = _NEAR + Need(_NEAR_SHARE * texts) + _NEAR_THREAD.times(budget().threads - 1)
    require("dedup=near", need, f"the search for near copies in {texts / MIB:,.0f} MiB of text", fix=_FEWER)


def _bytes(path: Path) -> int:
    return path.stat().st_size
