"""Sequences as written, read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.folder import DATA, Folder
from pipeline.input_settings import ON_LONG, Cutting
from pipeline.pack import fill_rate, pack
from pipeline.schema import ENCODED, SEQUENCES
from pipeline.store import open_table
from pipeline.tokens import sequences
from pipeline.tokens.cutting import EncodedRows
from pipeline.tokens.encode import IGNORED
from pipeline.tokens.sequences import write_sequences

Row = list[bool]
Line = dict[str, Any]
rows_of_a_pool = st.lists(
    st.one_of(st.lists(st.booleans(), max_size=14), st.integers(1, 14).map(lambda n: [True] * n)),
    min_size=1,
    max_size=9,
)
cuttings = st.builds(Cutting, st.integers(2, 9), st.sampled_from(ON_LONG), st.booleans())


def encoded_table(rows: list[Row], first: int) -> pa.Table:
    """Rows as encoded, with ids that stand nowhere else."""
    ids = [[first + 100 * k + j for j in range(len(own))] for k, own in enumerate(rows)]
    labels = [
        [number if on else IGNORED for number, on in zip(own, trained, strict=True)]
        for own, trained in zip(ids, rows, strict=True)
    ]
    return pa.table([pa.array(ids, ENCODED.types[0]), pa.array(labels, ENCODED.types[1])], schema=ENCODED)


@st.composite
def orders(draw: st.DrawFn, rows: int) -> pl.DataFrame:
    at = draw(st.lists(st.integers(0, rows - 1), max_size=25))
    stages = sorted(draw(st.lists(st.integers(0, 2), min_size=len(at), max_size=len(at))))
    return pl.DataFrame(
        {"at": at, "source": [f"s{k % 2}" for k in at], "stage": stages},
        schema={"at": pl.UInt32, "source": pl.Categorical, "stage": pl.UInt8},
    )


def write(
    folder: Path, pools: list[list[Row]], order: pl.DataFrame, cutting: Cutting
) -> tuple[dict[str, Any], list[Line], EncodedRows]:
    tables = [encoded_table(rows, 10_000 * (k + 1)) for k, rows in enumerate(pools)]
    encoded = EncodedRows(tables, cutting)
    folder.mkdir(exist_ok=True)
    found = write_sequences(Folder(folder), "train", encoded.places, encoded.pieces, order, cutting)
    table = open_table(folder / "train" / DATA)
    assert table.schema.remove_metadata() == SEQUENCES
    return found, table.to_pylist(), encoded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sequences")


@given(st.lists(rows_of_a_pool, min_size=1, max_size=3), cuttings, st.data())
@settings(max_examples=80, suppress_health_check=list(HealthCheck))
def test_each_stretch_is_a_piece_of_its_row_and_each_piece_is_there_once(
    folder: Path, pools: list[list[Row]], cutting: Cutting, data: Any
) -> None:
    order = data.draw(orders(sum(map(len, pools))))
    found, lines, encoded = write(folder, pools, order, cutting)
    own = encoded.places.gather(np.arange(sum(map(len, pools))))
    ids, labels = own.column("input_ids").to_pylist(), own.column("labels").to_pylist()
    pieces: list[tuple[int, int, int]] = []
    for line in lines:
        assert len(line["input_ids"]) == len(line["labels"]) == sum(line["seq_lengths"])
        assert 0 < len(line["input_ids"]) <= cutting.max_length
        assert cutting.pack or len(line["rows"]) == 1
        at = 0
        for row, start, length in zip(line["rows"], line["starts"], line["seq_lengths"], strict=True):
            place = order["at"][row]
            assert line["input_ids"][at : at + length] == ids[place][start : start + length]
            stretch = line["labels"][at : at + length]
            assert stretch == [IGNORED, *labels[place][start + 1 : start + length]]
            assert any(label != IGNORED for label in stretch)
            pieces.append((row, start, length))
            at += length
        assert len({order["stage"][row] for row in line["rows"]}) == 1
    expected = [
        (row, int(encoded.pieces.start[k]), int(encoded.pieces.length[k]))
        for row, place in enumerate(order["at"].to_list())
        for k in range(encoded.pieces.bounds[place], encoded.pieces.bounds[place + 1])
    ]
    assert sorted(pieces) == expected
    if not cutting.pack:
        assert pieces == expected
    stages = [order["stage"][line["rows"][0]] for line in lines]
    assert stages == sorted(stages)
    tokens = sum(length for _, _, length in pieces)
    assert found["sequences"] == len(lines)
    assert found["fill"] == (round(tokens / (len(lines) * cutting.max_length), 6) if lines else 1)
    assert found["tokens"] == tokens
    assert found["target_tokens"] == sum(label != IGNORED for line in lines for label in line["labels"])


@given(st.lists(rows_of_a_pool, min_size=1, max_size=3), cuttings, st.data())
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
def test_what_is_kept_and_what_is_lost_add_up_for_each_source(
    folder: Path, pools: list[list[Row]], cutting: Cutting, data: Any
) -> None:
    order = data.draw(orders(sum(map(len, pools))))
    found, _, encoded = write(folder, pools, order, cutting)
    assert set(found["sources"]) == set(order["source"].cast(pl.String))
    for what in ("rows", "tokens", "target_tokens", "lost_tokens", "lost_target_tokens"):
        assert found[what] == sum(own[what] for own in found["sources"].values())
    for name, own in found["sources"].items():
        at = order.filter(pl.col("source").cast(pl.String) == name)["at"].to_numpy()
        assert own["rows"] + sum(own["dropped"].values()) == len(at)
        assert own["tokens"] + own["lost_tokens"] == encoded.pieces.row_tokens[at].sum()
        assert own["target_tokens"] + own["lost_target_tokens"] == encoded.pieces.row_targets[at].sum()


@pytest.mark.parametrize("packed", [True, False])
def test_many_batches_are_written_as_one(packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    rows = [[True] * int(length) for length in random.integers(1, 60, 300)]
    order = pl.DataFrame({"at": random.permutation(300), "source": ["s"] * 300, "stage": [0] * 300})
    cutting = Cutting(40, "split", packed)
    whole, lines, encoded = write(tmp_path / "a", [rows], order, cutting)
    monkeypatch.setattr(sequences, "_BATCH_TOKENS", 100)
    again, same, _ = write(tmp_path / "b", [rows], order, cutting)
    assert (whole, lines) == (again, same)
    if packed:
        counts = np.diff(encoded.pieces.bounds)[order["at"].to_numpy()]
        first = encoded.pieces.bounds[order["at"].to_numpy()]
        lengths = np.concatenate([encoded.pieces.length[a : a + n] for a, n in zip(first, counts, strict=True)])
        assert whole["fill"] == round(fill_rate(lengths, pack(lengths, 40), 40), 6)


def test_datasets_opens_what_was_written(tmp_path: Path) -> None:
    import datasets

    order = pl.DataFrame({"at": [1, 0], "source": ["s", "s"], "stage": [0, 0]})
    _, lines, _ = write(tmp_path, [[[True] * 3, [False, True]]], order, Cutting(8, "truncate", pack=True))
    loaded = datasets.load_from_disk(str(tmp_path / "train"))
    assert loaded.to_list() == lines
    assert json.loads((tmp_path / "train" / "state.json").read_text())["_data_files"] == [{"filename": DATA}]


@pytest.mark.parametrize("cutting", [Cutting(4, "drop", pack=True), Cutting(4, "drop", pack=False)], ids=str)
def test_a_split_of_which_nothing_is_left_is_written_all_the_same(tmp_path: Path, cutting: Cutting) -> None:
    order = pl.DataFrame({"at": [0, 1, 2], "source": ["s"] * 3, "stage": [0] * 3})
    found, lines, _ = write(tmp_path, [[[], [False] * 3, [True] * 5]], order, cutting)
    assert lines == []
    assert found["dropped"] == {"no_text": 1, "too_long": 1, "no_target": 1}
    assert (found["sequences"], found["fill"], found["rows"]) == (0, 1, 0)
    none, empty, _ = write(tmp_path, [[[True] * 3]], order.clear(), cutting)
    assert (none["sequences"], none["sources"], empty) == (0, {}, [])
