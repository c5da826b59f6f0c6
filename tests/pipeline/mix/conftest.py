"""A mix laid out over sources whose rows are given by their sizes."""

from collections.abc import Callable, Mapping, Sequence

import polars as pl
import pytest

from pipeline.mix.order import order_rows
from pipeline.mix.plan import Mix, Plan, measure
from pipeline.mix.strategies import plan_mix

Lay = Callable[..., tuple[Plan, pl.DataFrame]]


@pytest.fixture(scope="session")
def lay() -> Lay:
    """lay(mix, {"a": [3, 1, 4]}) → the plan, and the training rows in their order with `key`."""

    def call(mix: Mix, pools: Mapping[str, Sequence[int]], seed: int = 42) -> tuple[Plan, pl.DataFrame]:
        rows = pl.DataFrame(
            [(name, f"{name}{k:06}", size) for name, sizes in pools.items() for k, size in enumerate(sizes)],
            schema={"source": pl.String, "key": pl.String, "size": pl.Int64},
            orient="row",
        ).with_row_index("at")
        plan = plan_mix(mix, measure(rows, pools))
        train = order_rows(rows, plan, seed, mix.replacement)
        return plan, train.join(rows.select("at", "key"), on="at", maintain_order="left")

    return call
