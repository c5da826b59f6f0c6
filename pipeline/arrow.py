"""Numbers between NumPy and Arrow, by way of Polars.

pyarrow's own ways import pandas, which takes a third of a second.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa


def integers(numbers: np.ndarray) -> pa.Array:
    """NumPy numbers as an Arrow array."""
    return pl.Series(numbers).to_arrow()


def numbers(array: pa.Array) -> np.ndarray:
    """An Arrow array of numbers without nulls as NumPy, not copied where that is possible."""
    return pl.Series(pl.from_arrow(array)).to_numpy()
