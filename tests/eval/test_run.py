"""Whole evaluations of tiny models: what is measured, written, kept, and refused."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from eval.generations import Generations, kept_generations  # noqa: E402
from eval.record import open_result  # noqa: E402
from eval.rows import choose_rows, render_prompts  # noqa: E402
from pipeline.manifest import open_bundle  # noqa: E402
from pipeline.store import damaged_file  # noqa: E402
from tests.train.conftest import Model  # noqa: E402
from tests.train.finished import project_template  # noqa: E402
from train.generate import Reply, replies  # noqa: E402

Trained = Callable[[str, int], Path]
Evaluate = Callable[..., int]
SHORT = ("eval.max_new_tokens=12", "limit=4")


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text("utf-8"))


def value(found: dict[str, Any], model: str, measure: str, bucket: str = "all") -> dict[str, Any]:
    (one,) = [v for v in found["values"] if (v["model"], v["measure"], v["bucket"]) == (model, measure, bucket)]
    return one


def test_a_run_is_measured_beside_its_base(
    evaluate: Evaluate, trained: Trained, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("llama", 1)
    assert evaluate("run", f"run={run}", *SHORT) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == str(run / "eval")
    assert "perplexity" in out
    found = metrics(run / "eval")
    assert damaged_file(run / "eval", found["files"]) is None
    assert set(found["files"]) == {"metrics.csv", "scores.parquet", "rows.parquet", "generations.jsonl", "report.html"}
    assert found["models"] == ["base", "tuned"]
    assert found["bundle"]["digest"] == json.loads((bundle / "manifest.json").read_text())["digest"]
    assert found["rows"] == {"cmath": 4, "emoji": 4}
    tuned, base = value(found, "tuned", "perplexity"), value(found, "base", "perplexity")
    assert tuned["value"] < base["value"]
    assert tuned["n"] == 8
    assert value(found, "tuned", "correct")["n"] == value(found, "tuned", "correct", "cmath")["n"] == 4
    assert value(found, "tuned", "json_valid")["n"] == 0
    assert value(found, "tuned", "json_valid")["value"] is None
    rows = list(csv.DictReader((run / "eval" / "metrics.csv").open(encoding="utf-8")))
    assert len(rows) == len(found["values"])
    lines = [json.loads(line) for line in (run / "eval" / "generations.jsonl").read_text("utf-8").splitlines()]
    assert len(lines) == 16
    assert all(line["gold"] and line["prompt"] and 0 < line["tokens"] <= 12 for line in lines)
    assert all("usable" in line["scores"] for line in lines)


def test_perplexity_is_that_of_transformers_row_by_row(evaluate: Evaluate, trained: Trained, bundle: Path) -> None:
    """In a few lines of its own: each row alone, text and targets from the bundle's rendered columns."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = trained("qwen3", 1)
    assert evaluate("run", f"run={run}", "eval.metrics=[perplexity]", "limit=6") == 0
    found = metrics(run / "eval")
    (adapter,) = run.glob("*_lora_adapter")
    base = json.loads((run / "manifest.json").read_text("utf-8"))["model"]["path"]
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
    import datasets

    rows = datasets.load_from_disk(str(bundle))["validation"]
    kept = set(open_result(run).rows()["id"])
    nats = targets = size = 0.0
    for row in rows:
        if row["id"] not in kept:
            continue
        codes = tokenizer(row["text"], add_special_tokens=False, return_offsets_mapping=True)
        ids = torch.tensor([codes["input_ids"]])[:, :256]  # as `trained` cuts
        spans = [tuple(span.values()) for span in row["targets"]]
        inside = [any(a < end and begin < b for begin, end in spans) for a, b in codes["offset_mapping"]]
        with torch.no_grad():
            logs = model(ids).logits[0, :-1].log_softmax(-1)
        wanted = [at for at in range(1, ids.shape[1]) if inside[at]]
        nats -= sum(float(logs[at - 1, ids[0, at]]) for at in wanted)
        targets += len(wanted)
        text = tokenizer.decode([int(ids[0, at]) for at in wanted], skip_special_tokens=True)
        size += len(text.encode())
    assert value(found, "tuned", "perplexity")["value"] == pytest.approx(math.exp(nats / targets), rel=1e-4)
    assert value(found, "tuned", "bits_per_byte")["value"] == pytest.approx(nats / math.log(2) / size, rel=1e-4)


def test_batched_replies_are_those_of_one_prompt_at_a_time(tiny_model: Model, bundle: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny_model("llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    texts = [
        text or ""
        for text in render_prompts(choose_rows(open_bundle(str(bundle), bundle), None), project_template("chatml"))
    ]
    together = dict(replies(model, tokenizer, texts, 10, [399], at_once=5))
    alone = dict(replies(model, tokenizer, texts, 10, [399], at_once=1))
    assert sorted(together) == list(range(len(texts)))
    assert together == alone
    assert not model.training


def test_an_interrupted_evaluation_goes_on_where_it_stopped(tmp_path: Path) -> None:
    prompts = [f"prompt {k}" for k in range(5)]
    made = [Reply(f"reply {k} \ud83d", k, k % 2 == 0) for k in range(5)]

    def stopping() -> Any:
        yield from list(enumerate(made))[:3]
        raise KeyboardInterrupt

    with kept_generations(tmp_path, "model", "how") as kept, pytest.raises(KeyboardInterrupt):
        list(kept.take(prompts, stopping()))
    (path,) = (tmp_path / "generations").iterdir()
    with path.open("a", encoding="utf-8") as stream:
        stream.write('{"prompt": "half a li')
    with kept_generations(tmp_path, "model", "how") as kept:
        assert kept.of(prompts) == dict(enumerate(made[:3]))
        list(kept.take(prompts[3:], (one for one in enumerate(made[3:]))))
    assert Generations(path).of(prompts) == dict(enumerate(made))


def test_what_was_measured_is_not_measured_again(
    evaluate: Evaluate, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("llama", 1)
    assert evaluate("run", f"run={run}", *SHORT, f"out={tmp_path / 'one'}") == 0
    capsys.readouterr()
    assert evaluate("run", f"run={run}", *SHORT, f"out={tmp_path / 'two'}") == 0
    assert "0 generated, 8 kept from before" in capsys.readouterr().out
    one, two = (open_result(tmp_path / name) for name in ("one", "two"))
    assert one.scores("tuned").equals(two.scores("tuned"))
    assert one.metrics["values"] == two.metrics["values"]


def test_a_model_alone_and_rows_of_each_source_by_rank(
    evaluate: Evaluate, tiny_model: Model, bundle: Path, tmp_path: Path
) -> None:
    told = [f"bundle={bundle}", f"model.path={tiny_model('llama')}", "template=chatml", "eval.max_new_tokens=4"]
    found: dict[int, pl.DataFrame] = {}
    for limit in (2, 5):
        assert evaluate("run", *told, f"limit={limit}", f"out={tmp_path / str(limit)}") == 0
        result = open_result(tmp_path / str(limit))
        assert result.metrics["models"] == ["base"]
        assert result.metrics["run"] is None
        found[limit] = result.rows()
    assert set(found[2]["id"]) < set(found[5]["id"])
    assert found[5]["source"].value_counts().sort("source").rows() == [("cmath", 5), ("emoji", 5)]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["eval.buckets=[all,tag:xh]"], "tag:zh"),
        (["eval.metrics=[perplexty]"], "perplexity"),
        (["eval.metrics=[]"], "at least one measure"),
        (["backend=openai", "base_url=http://localhost:1/v1", "model_name=x", "eval.metrics=[perplexity]"], "server"),
        (["limit=0"], "limit"),
        (["backend=openai"], "base_url"),
        (["base_url=http://localhost:1/v1"], "backend"),
        (["eval.batch=4"], "batch_size"),
    ],
)
def test_wrong_input_is_said_before_anything_is_measured(
    overrides: list[str],
    said: str,
    evaluate: Evaluate,
    tiny_model: Model,
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = [f"bundle={bundle}", f"model.path={tiny_model('llama')}", "template=chatml", f"out={tmp_path / 'out'}"]
    assert evaluate("run", *told, *overrides) == 2
    out, error = capsys.readouterr()
    assert said in error
    assert "fix:" in error
    assert not {"perplexity", "replies"} & {line.split()[0] for line in out.splitlines()}
    assert not (tmp_path / "out").exists()


def test_a_run_is_not_measured_on_rows_that_it_may_have_seen(
    evaluate: Evaluate, trained: Trained, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.__main__ import PROGRAM
    from pipeline.cli.front import main

    other = tmp_path / "other"
    weights = ["mix=custom", "+mix.weights.cmath=1", "+mix.weights.emoji=1", "template=chatml", "seed=7"]
    place = [f"paths.pools={bundle.parent / 'pools'}", f"out={other}"]
    assert main(PROGRAM, ["build", *weights, *place, "split.min_validation=12", "split.min_per_source=6"]) == 0
    run = trained("llama", 1)
    told = [f"run={run}", f"bundle={other}", f"out={tmp_path / 'out'}", "eval.metrics=[perplexity]"]
    assert evaluate("run", *told) == 2
    assert "allow_other_bundle=true" in capsys.readouterr().err
    assert evaluate("run", *told, "allow_other_bundle=true") == 0
    assert metrics(tmp_path / "out")["bundle"]["other"] is True
    assert "other validation rows" in (tmp_path / "out" / "report.html").read_text("utf-8")
