"""Arrow and Parquet whose columns name a type of Python's as a pickle: read as what they store, or refused."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main


class Touch:
    """What a pickle of this makes when it is read is a folder."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.makedirs, (self.place, 0o777, True)


def hostile_table(canary: Path) -> pa.Table:
    """Columns `q` and `a`; old releases of pyarrow unpickle such a type as soon as they see it."""
    payload = pickle.dumps(Touch(canary))
    names = ["arrow.py_extension_type", "datasets.features.features.Evil", "pickle"]
    about = [{"ARROW:extension:name": name, "ARROW:extension:metadata": payload} for name in names]
    fields = [pa.field("question", pa.string(), metadata=about[0]), pa.field("answer", pa.string(), metadata=about[1])]
    pandas = json.dumps({"columns": [{"name": "question", "pandas_type": "object", "numpy_type": "evil.Evil"}]})
    features = {"info": {"features": {"q": {"_type": "__reduce__"}, "a": {"_type": "os.system", "dtype": "evil"}}}}
    more = {"pandas": pandas, "huggingface": json.dumps(features), "pickle": payload}
    columns = [[f"question {k}" for k in range(20)], [f"answer {k}" for k in range(20)]]
    return pa.table([pa.array(column) for column in columns], schema=pa.schema(fields, metadata=more))


@pytest.mark.parametrize("name", ["rows.arrow", "rows.parquet"])
def test_a_type_that_is_a_pickle_is_not_unpickled(
    name: str, tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table = hostile_table(canary)
    if name.endswith("parquet"):
        pq.write_table(table, name)
    else:
        with pa.OSFile(name, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    source = f"+sources.mine={{path: {name}, shape: columns, columns: {{user: question, assistant: answer}}}}"
    settings = ["mix=custom", "+mix.weights.mine=1", source, "template=none", "out=bundle"]
    assert main(PROGRAM, ["sniff", f"path={name}"]) == 0
    assert main(PROGRAM, ["build", *settings]) == 0, capsys.readouterr().err
    assert "question 7" in Path("bundle/train.jsonl").read_text() + Path("bundle/val.jsonl").read_text()


def test_a_bundle_with_such_types_and_scripts_is_refused_as_data(
    tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [json.dumps({"q": f"question {k}", "a": f"answer {k}"}) for k in range(20)]
    Path("rows.jsonl").write_text("\n".join(rows))
    source = "+sources.mine={path: rows.jsonl, shape: columns, columns: {user: q, assistant: a}}"
    built = ["build", "mix=custom", "+mix.weights.mine=1", source, "template=none", "out=bundle"]
    assert main(PROGRAM, built) == 0
    code = f"import os\nos.makedirs({str(canary)!r}, exist_ok=True)\n"
    for name in ("bundle.py", "train.py", "__init__.py", "dataset.py"):
        (Path("bundle") / name).write_text(code)
    [data] = sorted(Path("bundle/train").glob("*.arrow"))
    table = hostile_table(canary)
    with pa.OSFile(str(data), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    (Path("bundle/train") / "state.json").write_text(
        '{"_data_files": [{"filename": "data.arrow"}], "_format_type": "evil"}'
    )
    features = {"q": {"_type": "os.system"}, "a": {"_type": "__import__", "dtype": "evil"}}
    (Path("bundle/train") / "dataset_info.json").write_text(json.dumps({"features": features}))
    assert main(PROGRAM, ["verify", "bundle=bundle"]) == 3
