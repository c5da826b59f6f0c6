"""When too many rows of a source are refused to go on without a word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline.errors import PoolmixError, SourceError
from pipeline.pool import Pool
from pipeline.settings import Settings, is_number

# Of fewer rows a share says little: such a source stops a build only if no row of it is left.
_FEW_ROWS = 20
_SHOWN = 3  # reasons
_SHOWN_CHARS = 80


@dataclass(frozen=True)
class BadRows:
    """What is done about refused rows: `quarantine` keeps them out, up to `max_share` of a source's raw rows;
    `fail` stops at the first."""

    on_bad_rows: str
    max_share: float


def read_bad_rows(config: Mapping[str, Any], errors: list[PoolmixError]) -> BadRows:
    """`normalize.on_bad_rows` and `normalize.max_bad_share`."""
    node = Settings(config.get("normalize"), "normalize", errors)
    return BadRows(
        node.one_of("on_bad_rows", ("quarantine", "fail")),
        node.required("max_bad_share", is_number(0, 1), "a share from 0 to 1", "0.2", 1.0),
    )


def require_good_rows(pool: Pool, rule: BadRows) -> None:
    """Raises: SourceError if more rows of a pool's source were refused than there may be."""
    refused, rows = sum(pool.manifest["quarantined"].values()), pool.manifest["raw_rows"]
    where = f"source {pool.name}"
    if refused and rule.on_bad_rows == "fail":
        first = pool.refused().row(0, named=True)
        raise SourceError(
            where,
            f"{refused:,} of {rows:,} rows cannot be used; the first: {_example(first)}",
            "mend it, or set normalize.on_bad_rows=quarantine",
        )
    if refused <= rule.max_share * rows or (rows < _FEW_ROWS and refused < rows):
        return
    found = pool.refused()
    reasons = found.group_by("reason").agg(pl.len(), pl.all().first()).sort(["len", "reason"], descending=[True, False])
    examples = [
        f"\n  {reason['reason']} {reason['len']:,}, the first: {_example(reason)}"
        for reason in reasons.head(_SHOWN).iter_rows(named=True)
    ]
    raise SourceError(
        where,
        f"{refused:,} of {rows:,} rows ({refused / rows:.1%}) cannot be used, at most {rule.max_share:.1%} may be"
        f"{''.join(examples)}",
        f"look at them (python -m pipeline show pool={pool.name} quarantine=true), mend the data or its settings, "
        "or raise normalize.max_bad_share",
    )


def _example(row: Mapping[str, Any]) -> str:
    line = f", line {row['line']:,}" if row["line"] is not None else f", row {row['row']:,}"
    text = " ".join((row["text"] or "").split())
    shown = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
    return f"{row['file']}{line}: {row['reason']} ({row['detail']}): {shown}"
