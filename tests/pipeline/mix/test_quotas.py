from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pipeline.mix.quotas import largest_remainder, renormalized, total_within

names = st.text("abcdef", min_size=1, max_size=3)
weights = st.dictionaries(names, st.floats(0, 1e6, allow_nan=False).map(lambda x: round(x, 6)), min_size=1, max_size=6)


@given(st.integers(0, 10**7), weights)
def test_quotas_sum_to_the_total_and_are_less_than_one_from_their_share(total: int, shares: dict[str, float]) -> None:
    quotas = largest_remainder(total, shares)
    whole = math.fsum(shares.values())
    assert sum(quotas.values()) == (total if whole else 0)
    for name, weight in shares.items():
        assert quotas[name] >= 0
        if whole:
            assert abs(quotas[name] - total * weight / whole) < 1 + 1e-6 * total
        if weight == 0:
            assert quotas[name] == 0


def test_weights_are_the_decimals_they_are_written_as() -> None:
    quotas = largest_remainder(30_000, {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1})
    assert quotas == {"a": 12_000, "b": 9_000, "c": 6_000, "d": 3_000}


def test_equal_remainders_go_by_name() -> None:
    assert largest_remainder(1, {"b": 1, "a": 1}) == {"b": 0, "a": 1}


@given(st.dictionaries(names, st.tuples(st.integers(1, 500), st.floats(0.001, 100)), min_size=1, max_size=5))
def test_the_scarcest_source_is_used_up_and_none_is_overdrawn(sources: dict[str, tuple[int, float]]) -> None:
    limits = {name: limit for name, (limit, _) in sources.items()}
    shares = {name: weight for name, (_, weight) in sources.items()}
    total = total_within(limits, shares)
    assert all(quota <= limits[name] for name, quota in largest_remainder(total, shares).items())
    more = total + len(sources) + math.ceil(math.fsum(shares.values()) / min(shares.values()))
    assert any(quota > limits[name] for name, quota in largest_remainder(more, shares).items())


@given(st.integers(1, 2000), st.dictionaries(names, st.tuples(st.integers(1, 500), st.floats(0.001, 100)), min_size=1))
def test_renormalizing_fills_the_total_as_far_as_the_limits_allow(
    total: int, sources: dict[str, tuple[int, float]]
) -> None:
    limits = {name: limit for name, (limit, _) in sources.items()}
    quotas = renormalized(total, limits, {name: weight for name, (_, weight) in sources.items()})
    assert sum(quotas.values()) == min(total, sum(limits.values()))
    assert all(quota <= limits[name] for name, quota in quotas.items())
